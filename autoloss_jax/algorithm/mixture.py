"""A mixture of losses at given predictions: what the recommender descends, and what a Newton step
on it needs.

Shapes: K predictions, C logits, N candidate losses.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from autoloss_jax.algorithm import autoloss, networks
from autoloss_jax.algorithm.autoloss import AutoLoss, Loss
from autoloss_jax.algorithm.state import Batch, Params

LEAST = 1e-6  # curvature


class Mixture(NamedTuple):
    """What the recommender descends, example by example; alpha is held fixed in the gradient, as
    with method.detach.
    """

    weights: Any  # [K, N], alpha
    value: Any  # [K], sum_i alpha_i l_i
    gradient: Any  # [K, C], sum_i alpha_i dl_i/dz


def of(pool: Sequence[Loss], alpha: Any, logits: Any, labels: Any) -> Mixture:
    """The mixture of losses at weights alpha [K, N]; its gradient is not that of its value,
    where alpha moves with z.
    """
    alpha, logits, labels = (jnp.asarray(a) for a in (alpha, logits, labels))
    candidates, pull = jax.vjp(
        lambda z: jnp.stack([loss(z, labels) for loss in pool], axis=-1), logits
    )
    alpha = alpha.astype(candidates.dtype)
    return Mixture(alpha, autoloss.mixed_loss(alpha, candidates), pull(alpha)[0])


def hessian(pool: Sequence[Loss], alpha: Any, logits: Any, labels: Any) -> jax.Array:
    """sum_i alpha_i d2l_i/dz2 of one logit, alpha held fixed, [K]; it may be negative."""

    def slope(z: jax.Array) -> jax.Array:
        return of(pool, alpha, z, labels).gradient

    return jax.jvp(slope, (logits,), (jnp.ones_like(logits),))[1][:, 0]


def searched(al: AutoLoss, V: Params, stats: Params, logits: Any, batch: Batch) -> Mixture:
    """What a controller makes of the candidates, in evaluation mode, at these logits of a batch."""
    alpha = networks.mean_policy(al, V, stats, logits, batch)
    return of(al.candidates.of(batch, V), alpha, logits, batch["y"])


def curvature(gradients: tuple[Any, Any], hessians: tuple[Any, Any]) -> jax.Array:
    """What a Newton step divides by, positive: the mean hessian over labels whose share of ones,
    q, is the one at which the loss would stay at z, q g(1, z) + (1 - q) g(0, z) = 0.

    Of cross-entropy q is sigmoid z, and this is q (1 - q); of cross-entropy corrected for label
    noise it is the Fisher information of the label that is read.

    Args:
        gradients, hessians: of labels 0 and 1, each [K].
    """
    (down, up), (at_zero, at_one) = gradients, hessians
    q = jnp.clip(down / jnp.maximum(down - up, LEAST), 0, 1)
    return jnp.maximum(q * at_one + (1 - q) * at_zero, LEAST)
