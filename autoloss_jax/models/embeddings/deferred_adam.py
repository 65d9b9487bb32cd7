"""The steps of Adam that a row missed while no batch touched it, in closed form.

Dense Adam moves a row even when its gradient is zero, because its moments decay. For a row last
touched at step t with moments m and v, the k steps that followed add

    sum_{j=1..k} m b1^j / (1 - b1^(t+j)) / (sqrt(v b2^j / (1 - b2^(t+j))) + eps)

to its displacement. While bias correction changes fast, in the first EARLY steps of a training,
the sum is taken as it stands. From then on everything but b1^j is a smooth function of j, and
the sum is a Gauss quadrature for the weights b1^j on 1..k: a handful of terms, exact to the
rounding of the dtype.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

EARLY = 128  # no row may be behind from before this step once the training is past it
NODES = {4: 3, 8: 12}  # bytes of a float -> nodes of the quadrature
HORIZON = {4: 200, 8: 360}  # ... -> steps after which b1^j no longer counts


@functools.cache
def quadrature(nodes: int, horizon: int, b1: float) -> tuple[np.ndarray, np.ndarray]:
    """(x, w), both [horizon + 1, nodes]: sum_i w[k, i] f(x[k, i]) = sum_{j=1..k} b1^j f(j) for
    polynomials f of degree < 2 nodes.

    Nodes and weights come from the Jacobi matrix of the weights' orthogonal polynomials (Golub
    and Welsch, 1969), which is found by Lanczos iteration on diag(1..k). Up to k = nodes the sum
    itself is its rule.
    """
    x, w = np.ones((horizon + 1, nodes)), np.zeros((horizon + 1, nodes))
    for k in range(1, horizon + 1):
        j = np.arange(1.0, k + 1)
        if k <= nodes:
            x[k, :k], w[k, :k] = j, b1**j
        else:
            x[k], vectors = np.linalg.eigh(_jacobi_matrix(j, b1**j, nodes))
            w[k] = vectors[0] ** 2 * np.sum(b1**j)
    return x, w


def _jacobi_matrix(points: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    basis = [np.sqrt(weights / weights.sum())]
    matrix = np.zeros((size + 1, size + 1))
    for n in range(size):
        residual = points * basis[-1]
        matrix[n, n] = residual @ basis[-1]
        for _ in range(2):  # twice is enough (Kahan): the basis stays orthogonal to rounding
            residual -= np.array(basis).T @ (np.array(basis) @ residual)
        matrix[n, n + 1] = matrix[n + 1, n] = np.linalg.norm(residual)
        basis.append(residual / matrix[n, n + 1])
    return matrix[:size, :size]


def missed_steps(
    mu: jax.Array,
    nu: jax.Array,
    last: jax.Array,
    now: jax.Array,
    *,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(Displacement in units of the learning rate [K, R], mu, nu) after the steps last+1 .. now
    without gradient.

    `last` int32[K] is the step until which each row is up to date; past EARLY, none may be
    smaller than EARLY. With decoupled weight decay, a step multiplies the row by 1 -
    weight_decay before it adds its own share, so that what step j adds shrinks for k - j steps
    more; the row's own factor (1 - weight_decay)^k is the caller's.
    """
    dtype, missed, root = mu.dtype, now - last, jnp.sqrt(nu)
    t, k = last.astype(dtype), missed.astype(dtype)

    def share(j, weight):
        """(a, s) [K], by which the j-th missed step adds mu a / (s sqrt(nu) + eps)."""
        a = weight / -jnp.expm1(np.log(b1) * (t + j))
        if weight_decay is not None:
            a *= jnp.exp(jnp.log1p(-weight_decay) * (k - j))
        return a, jnp.exp(0.5 * np.log(b2) * j) * lax.rsqrt(-jnp.expm1(np.log(b2) * (t + j)))

    def added(a, s):
        return a[:, None] / (root * s[:, None] + eps)

    def summed():
        def add(j, total):
            return total + added(*share(j, jnp.where(missed >= j, jnp.exp(np.log(b1) * j), 0)))

        return lax.fori_loop(1, now + 1, add, jnp.zeros_like(mu))

    def integrated():
        nodes, horizon = NODES[dtype.itemsize], HORIZON[dtype.itemsize]
        x, w = (
            jnp.asarray(rule, dtype)[jnp.minimum(missed, horizon)]
            for rule in quadrature(nodes, horizon, b1)
        )
        shares = _once([share(x[:, i], w[:, i]) for i in range(nodes)])
        return sum(added(a, s) for a, s in shares)

    mu_decay, nu_decay = _once((jnp.exp(np.log(b1) * k), jnp.exp(np.log(b2) * k)))
    total = lax.cond(now <= EARLY, summed, integrated)
    return mu * total, mu * mu_decay[:, None], nu * nu_decay[:, None]


def _once(per_row):
    """Computed once a row: the compiler would repeat it in each of the row's R elements."""
    return lax.optimization_barrier(per_row)
