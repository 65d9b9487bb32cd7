"""What a controller makes of its candidates: weights, loss and gradient as curves over the
prediction.

Shapes: K points, C logits, N candidate losses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from autoloss_jax.algorithm import losses, mixture, networks
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.mixture import Mixture
from autoloss_jax.algorithm.state import Params


class Path(NamedTuple):
    """A way through predictions, for examples of one label."""

    label: int
    z: (
        np.ndarray
    )  # [K], the logit; for several classes, the label's above the others', which are equal
    probability: np.ndarray  # [K], y_hat; for several classes, p_y
    logits: np.ndarray  # [K, C]


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


def program(al: AutoLoss) -> Callable[[Params, Params, Path], Mixture]:
    """(V, its statistics, a path) -> what the controller makes of the path, compiled once.

    Fields that it sees have a value that it does not know, and rates of label noise are those of
    such a row.
    """

    @jax.jit
    def compiled(V, stats, logits, labels):
        return mixture.searched(al, V, stats, logits, unknown(al, labels))

    return lambda V, stats, path: compiled(V, stats, path.logits, _labels(path))


def cross_entropy(path: Path) -> Mixture:
    """The same of cross-entropy."""
    labels = _labels(path)
    return mixture.of([losses.ce], np.ones((len(labels), 1)), path.logits, labels)


def _labels(path: Path) -> np.ndarray:
    return np.full(len(path.z), path.label)


def by_value(al: AutoLoss, V: Params, stats: Params, path: Path, field: int) -> np.ndarray:
    """Weights [values, N] at the middle of a path, by the value of a field that the controller
    sees; the others are unknown.
    """
    size = al.controller.context[field]
    batch = unknown(al, np.full(size, path.label))
    batch["seen"][:, field] = np.arange(size)
    middle = jnp.asarray(path.logits[[len(path.z) // 2] * size])
    return np.asarray(networks.mean_policy(al, V, stats, middle, batch))


def unknown(al: AutoLoss, labels: Any) -> dict[str, Any]:
    """A batch for a controller and candidates: these labels, in a context that is not known."""
    seen = np.zeros((len(labels), len(al.controller.context)), np.int32)
    return {"y": labels, "seen": seen, "cell": np.zeros(len(labels), np.int32)}


def ranks(al: AutoLoss) -> bool:
    """Whether some candidate looks at a whole batch: then no loss is a function of a prediction."""
    outputs = al.recommender.module.num_outputs
    return any(losses.ranks(loss, outputs) for loss in al.candidates.losses)
