"""Feature interactions as pure functions of embeddings e: [B, F, D]; P = F (F - 1) / 2 pairs."""

import jax
import jax.numpy as jnp
import numpy as np


def bi_interaction(e: jax.Array) -> jax.Array:
    """sum_{i<j} e_i * e_j. [B, F, D] -> [B, D].

    Half of square-of-sum minus sum-of-squares (Rendle, 2010): O(F), where the pairs are O(F^2).
    """
    return 0.5 * (jnp.square(jnp.sum(e, axis=1)) - jnp.sum(jnp.square(e), axis=1))


def fm(e: jax.Array) -> jax.Array:
    """sum_{i<j} <e_i, e_j>, the second term of Eq. (4). [B, F, D] -> [B]."""
    return jnp.sum(bi_interaction(e), axis=-1)


def inner_products(e: jax.Array) -> jax.Array:
    """<e_i, e_j> for i < j, Eq. (3), in the order (0, 1), (0, 2), ... (F-2, F-1). [B, F, D] ->
    [B, P].
    """
    i, j = np.triu_indices(e.shape[1], k=1)
    return jnp.einsum("bfd,bgd->bfg", e, e)[:, i, j]


def pairs(e: jax.Array, f: jax.Array | None = None) -> jax.Array:
    """e_i * f_j for i < j; f is e unless it is given. [B, F, D] -> [B, P, D]."""
    i, j = np.triu_indices(e.shape[1], k=1)
    return e[:, i] * (e if f is None else f)[:, j]


def bilinear(e: jax.Array, kernel: jax.Array) -> jax.Array:
    """e_i W_ij * e_j for i < j, a matrix a pair (Huang et al., 2019). [B, F, D], [P, D, D] ->
    [B, P, D].

    Its sum over D is the generalised inner product of Qu et al., 2018.
    """
    i, j = np.triu_indices(e.shape[1], k=1)
    return jnp.einsum("bpd,pde->bpe", e[:, i], kernel) * e[:, j]


def outer_of_sum(e: jax.Array) -> jax.Array:
    """S s' for s = sum_i e_i, every outer product of two fields superposed (Qu et al., 2016).
    [B, F, D] -> [B, D D].
    """
    s = jnp.sum(e, axis=1)
    return (s[:, :, None] * s[:, None]).reshape(s.shape[0], -1)


def field_aware_pairs(v: jax.Array) -> jax.Array:
    """v_ij * v_ji for i < j, v_ij what field i has for field j (Juan et al., 2016). [B, F, F, D]
    -> [B, P, D].
    """
    i, j = np.triu_indices(v.shape[1], k=1)
    return v[:, i, j] * v[:, j, i]


def field_aware(v: jax.Array) -> jax.Array:
    """sum_{i<j} v_ij * v_ji. [B, F, F, D] -> [B, D].

    Masked, in one pass: half of the whole sum less the diagonal takes twice as long, for it
    moves v around in memory first.
    """
    before = np.triu(np.ones(v.shape[1:3], bool), k=1)[..., None]
    return jnp.sum(v * jnp.swapaxes(v, 1, 2), axis=(1, 2), where=before)


def anova(e: jax.Array, order: int) -> jax.Array:
    """sum_{i1 < ... < i_order} e_i1 * ... * e_i_order, the ANOVA kernel (Blondel et al., 2016).
    [B, F, D] -> [B, D].

    By dynamic programming: with a_t,j the kernel of order t over the first j fields, a_t,j =
    a_t,j-1 + e_j a_t-1,j-1.
    """
    a = jnp.cumsum(e, axis=1)
    for _ in range(order - 1):
        before = jnp.pad(a[:, :-1], ((0, 0), (1, 0), (0, 0)))
        a = jnp.cumsum(e * before, axis=1)
    return a[:, -1]


def compressed(e: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A layer of xDeepFM's compressed interaction network, Eq. (6) there: sum_hm W_nhm e_h *
    x_m.

    [B, F, D], [B, M, D], [N, F, M] -> [B, N, D].
    """
    return jnp.einsum("bhd,bmd,nhm->bnd", e, x, kernel)


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Softmax over the second field of <q_i, k_j>, times v_j, a head at a time (Vaswani et al.,
    2017).

    Three [B, F, H, any], H heads -> [B, F, H, any].
    """
    scores = jax.nn.softmax(jnp.einsum("bihd,bjhd->bhij", q, k), axis=-1)
    return jnp.einsum("bhij,bjhd->bihd", scores, v)
