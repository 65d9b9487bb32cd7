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
    """<e_i, e_j> for i < j, Eq. (3), in the order (0, 1), (0, 2), ... (F-2, F-1). [B, F, D] -> [B, P]."""
    i, j = np.triu_indices(e.shape[1], k=1)
    return jnp.einsum("bfd,bgd->bfg", e, e)[:, i, j]


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Softmax over the second field of <q_i, k_j>, times v_j, a head at a time (Vaswani et al., 2017).

    Three [B, F, H, any], H heads -> [B, F, H, any].
    """
    scores = jax.nn.softmax(jnp.einsum("bihd,bjhd->bhij", q, k), axis=-1)
    return jnp.einsum("bhij,bjhd->bihd", scores, v)
