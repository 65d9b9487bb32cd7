"""From alpha to weights p over the candidate losses, Section 3.3 of the paper.

Shapes: B batch, N candidate losses.
"""

import jax
import jax.numpy as jnp


def annealed_temperature(
    step: jax.Array, *, floor: float = 0.01, horizon: int = 19_800
) -> jax.Array:
    """Tau at a step: max(floor, 1 - (1 - floor) t / horizon).

    Args:
        step: t, int32[], steps of W so far.
        floor: the lowest tau.
        horizon: the step at which tau reaches it.

    Returns:
        float32[]. The defaults are the paper's max(0.01, 1 - 0.00005 t), Section 3.3.

    Example:
        >>> from autoloss_jax import annealed_temperature
        >>> [round(float(annealed_temperature(t)), 3) for t in (0, 9900, 50_000)]
        [1.0, 0.505, 0.01]
    """
    return jnp.maximum(floor, 1.0 - (1.0 - floor) / horizon * step)


def alpha_weights(key: jax.Array, log_alpha: jax.Array, tau: jax.Array) -> jax.Array:
    """P = alpha, Eq. (8): no selection (AL-1, AL-2, DARTS). [B, N] -> [B, N]."""
    del key, tau
    return jnp.exp(log_alpha)


def gumbel_softmax(
    key: jax.Array, log_alpha: jax.Array, tau: jax.Array, *, hard: bool = False
) -> jax.Array:
    """A relaxed one-hot choice of a loss for each example.

    Args:
        key: a PRNG key.
        log_alpha: float[B, N], log-probabilities of the candidates.
        tau: float[], the temperature; the lower, the nearer to one-hot.
        hard: one-hot values with the gradient of the soft ones (straight-through).

    Returns:
        p, float[B, N]; each row sums to 1. Eq. (10), or Eq. (9) if `hard` (Jang et al., ICLR 2017).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from autoloss_jax import gumbel_softmax
        >>> p = gumbel_softmax(jax.random.key(0), jnp.log(jnp.ones((4, 3)) / 3), 0.5)
        >>> p.shape, bool(jnp.allclose(p.sum(axis=1), 1))
        ((4, 3), True)
    """
    noise = jax.random.gumbel(key, log_alpha.shape, log_alpha.dtype)
    p = jax.nn.softmax((log_alpha + noise) / tau, axis=-1)
    if not hard:
        return p
    z = jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
    return z + p - jax.lax.stop_gradient(p)
