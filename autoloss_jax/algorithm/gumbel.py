"""From alpha to weights p over the candidate losses: which losses an example is trained on, Section
3.3.

Shapes: B batch, N candidate losses.
"""

import jax
import jax.numpy as jnp


def annealed_temperature(
    step: jax.Array, *, floor: float = 0.01, horizon: int = 19_800
) -> jax.Array:
    """Tau = max(floor, 1 - (1 - floor) t / horizon); the defaults are max(0.01, 1 - 0.00005 t),
    Section 3.3.
    """
    return jnp.maximum(floor, 1.0 - (1.0 - floor) / horizon * step)


def alpha_weights(key: jax.Array, log_alpha: jax.Array, tau: jax.Array) -> jax.Array:
    """P = alpha, Eq. (8): no selection (AL-1, AL-2, DARTS). [B, N] -> [B, N]."""
    del key, tau
    return jnp.exp(log_alpha)


def gumbel_softmax(
    key: jax.Array, log_alpha: jax.Array, tau: jax.Array, *, hard: bool = False
) -> jax.Array:
    """A relaxed one-hot choice of a loss per example, Eq. (10); straight-through if `hard`, Eq.
    (9). [B, N] -> [B, N].
    """
    noise = jax.random.gumbel(key, log_alpha.shape, log_alpha.dtype)
    p = jax.nn.softmax((log_alpha + noise) / tau, axis=-1)
    if not hard:
        return p
    z = jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
    return z + p - jax.lax.stop_gradient(p)
