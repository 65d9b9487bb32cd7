"""The loss of a finished run as gradient boosting takes it: a gradient and a curvature of every
row at its raw score.
"""

from collections.abc import Callable

import jax
import numpy as np

from autoloss_jax.algorithm import mixture
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import host
from autoloss_jax.training.checkpoint import Loaded

SEEN_BY_A_LOSS = ("y", "seen", "cell", "transition")
# Raw scores float[n] -> the gradient and the curvature of each row, float64[n]
Objective = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def of_run(loaded: Loaded, rows: host.Split) -> Objective:
    """Of these rows, as `divide` has them for that run; UserError for several classes."""
    al, controller = loaded.al, loaded.state.controller
    if loaded.schema.num_classes != 2:
        raise UserError(
            f"--config.method.transfer_from: a run of {loaded.schema.num_classes} classes; as an "
            "objective its loss must be of two"
        )
    batch = {name: np.asarray(rows[name]) for name in SEEN_BY_A_LOSS if name in rows}

    @jax.jit
    def found(V, stats, batch, raw):
        logits, of_label = raw[:, None], []
        for label in (0, 1):
            case = {**batch, "y": jax.numpy.full_like(batch["y"], label)}
            at = mixture.searched(al, V, stats, logits, case)
            hessian = mixture.hessian(al.candidates.of(case, V), at.weights, logits, case["y"])
            of_label.append((at.gradient[:, 0], hessian))
        gradients, hessians = zip(*of_label, strict=True)
        mine = jax.numpy.where(batch["y"] == 1, gradients[1], gradients[0])
        return mine, mixture.curvature(gradients, hessians)

    def objective(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = found(controller.params, controller.stats, batch, raw.astype(np.float32))
        gradient, curvature = (np.asarray(part, np.float64) for part in parts)
        return gradient, curvature

    return objective
