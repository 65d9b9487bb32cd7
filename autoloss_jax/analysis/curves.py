"""What a controller makes of its candidates: weights, loss and gradient as curves over the
prediction.

Shapes: K points, C logits, N candidate losses.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from autoloss_jax.algorithm import autoloss
from autoloss_jax.algorithm.autoloss import Loss


class Path(NamedTuple):
    """A way through predictions, for examples of one label."""

    label: int
    z: (
        np.ndarray
    )  # [K], the logit; for several classes, the label's above the others', which are equal
    probability: np.ndarray  # [K], y_hat; for several classes, p_y
    logits: np.ndarray  # [K, C]


class Mixture(NamedTuple):
    """What the recommender descends, example by example; alpha is held fixed in the gradient, as
    with method.detach.
    """

    weights: Any  # [K, N], alpha
    value: Any  # [K], sum_i alpha_i l_i
    gradient: Any  # [K, C], sum_i alpha_i dl_i/dz


def mixture(losses: Sequence[Loss], alpha: Any, logits: Any, labels: Any) -> Mixture:
    """The mixture of losses at weights alpha [K, N]; its gradient is not that of its value,
    where alpha moves with z.
    """
    alpha, logits, labels = (jnp.asarray(a) for a in (alpha, logits, labels))
    candidates, pull = jax.vjp(
        lambda z: jnp.stack([loss(z, labels) for loss in losses], axis=-1), logits
    )
    alpha = alpha.astype(candidates.dtype)
    return Mixture(alpha, autoloss.mixed_loss(alpha, candidates), pull(alpha)[0])


def paths(num_classes: int, num_points: int = 401, reach: float = 6.0) -> tuple[Path, ...]:
    """For labels 0 and 1, y_hat from near 0 to near 1; of C classes, for the lowest, middle and
    highest label, p_y so.

    The other classes share the rest evenly.
    """
    z = np.linspace(-reach, reach, num_points)
    if num_classes == 2:
        return tuple(Path(label, z, expit(z), z[:, None]) for label in (0, 1))
    above = z + np.log(num_classes - 1)
    return tuple(
        Path(label, above, expit(z), above[:, None] * (np.arange(num_classes) == label))
        for label in (0, (num_classes - 1) // 2, num_classes - 1)
    )
