"""Figures of a state on a split: exact AUC and logloss from logits in one pass.

Where processes share the batches, each reads and forwards its share, and all get all logits: 16
bytes a row, for figures that are exact.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from autoloss_jax.algorithm import autoloss
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.networks import mean_policy
from autoloss_jax.algorithm.state import Batch, TrainState
from autoloss_jax.data.load import host
from autoloss_jax.distributed import sharding
from autoloss_jax.training import metrics

CALIBRATING_ROWS = 200_000
Evaluate = Callable[[TrainState, dict[str, jax.Array]], tuple[jax.Array, jax.Array]]


def step(al: AutoLoss, state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """(Logits [B, C], mixed loss [B]) in evaluation mode; the loss is the recommender's under the
    mean policy alpha, without noise or L2, and the logits are those of the prediction.
    """
    output, _ = al.recommender(state.drs.params, state.drs.stats, batch)
    V, stats = state.controller.params, state.controller.stats
    alpha = mean_policy(al, V, stats, output.logits, batch)
    loss = autoloss.mixed_loss(alpha, al.candidates(output, batch, V))
    beside = state.regression
    return beside.blended(output.logits, batch) if beside else output.logits, loss


def program(al: AutoLoss, mesh: jax.sharding.Mesh) -> Evaluate:
    """`step`, compiled; every device has the logits and losses of the whole batch."""
    return jax.jit(functools.partial(step, al), out_shardings=NamedSharding(mesh, PartitionSpec()))


def predictions(
    evaluate_step: Evaluate,
    mesh: jax.sharding.Mesh,
    state: TrainState,
    split: host.Split,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(Logits float64[n, C], mixed losses float64[n]) of a split, in its order."""
    parts = list(
        _forward(evaluate_step, mesh, state, split, batch_size)
    )  # dispatched ahead of being fetched
    logits = np.concatenate([np.asarray(z, np.float64)[:n] for z, _, n in parts])
    return logits, np.concatenate([np.asarray(loss, np.float64)[:n] for _, loss, n in parts])


def _forward(
    evaluate_step, mesh, state, split, batch_size
) -> Iterator[tuple[jax.Array, jax.Array, int]]:
    size = _fitting(len(split["y"]), batch_size, mesh.shape["data"])
    for batch, real in host.padded(split, size, sharding.share(mesh, size)):
        yield *evaluate_step(state, sharding.put(mesh, "batch", batch)), real


def _fitting(rows: int, batch_size: int, parts: int) -> int:
    """A batch's size, halved while it holds all rows and devices share it evenly: what is beyond
    the rows costs as much as they do.
    """
    while batch_size % (2 * parts) == 0 and batch_size // 2 >= rows:
        batch_size //= 2
    return batch_size


def calibration(rows: host.Split, logits: np.ndarray) -> metrics.Calibration:
    """That of these rows' labels and weights; nearly none where the rows are few."""
    labels = np.asarray(rows["y"])
    return metrics.calibrate(logits, labels, metrics.IDENTITY, rows.get("weight"))


def calibrated(rows: host.Split, logits: np.ndarray) -> float:
    """Logloss after a calibration on the same rows; where they are many, some of them tell it."""
    every = max(len(rows["y"]) // CALIBRATING_ROWS, 1)
    some = {name: rows[name][::every] for name in ("y", "weight") if name in rows}
    return logloss(rows, metrics.apply(calibration(some, logits[::every]), logits))


def logloss(rows: host.Split, logits: np.ndarray) -> float:
    """The mean over the rows, by their weights if they have any."""
    return metrics.logloss(np.asarray(rows["y"]), logits, rows.get("weight"))


def figures(rows: host.Split, logits: np.ndarray) -> dict[str, Any]:
    """{"auc", "logloss"} of the rows' labels "y" by their "weight", if they have any; AUC is
    one-vs-rest, macro, for several classes, and None where it is undefined.
    """
    labels, weight, num_classes = np.asarray(rows["y"]), rows.get("weight"), logits.shape[-1]
    there = labels if weight is None else labels[np.asarray(weight) > 0]
    undefined = metrics.undefined_reason(there, max(num_classes, 2))
    if undefined:
        auc = None
    elif num_classes == 1:
        auc = metrics.auc(labels, logits[:, 0], weight)
    else:
        auc = metrics.ovr_auc(labels, np.exp(metrics.log_probabilities(logits)), weight)
    return {"auc": auc, "logloss": logloss(rows, logits)} | (
        {"auc_undefined": undefined} if undefined else {}
    )


def of_levels(rows: host.Split, logits: np.ndarray, levels: tuple[float, ...]) -> dict[str, float]:
    """{"rmse", "mae"} of the mean of the `levels` [C] that the classes stand for; nothing where
    they stand for none.
    """
    if not levels:
        return {}
    gap = np.exp(metrics.log_probabilities(logits)) @ levels - np.asarray(levels)[rows["y"]]
    of_row = {"rmse": gap**2, "mae": np.abs(gap)}
    mean = {n: float(np.average(v, weights=rows.get("weight"))) for n, v in of_row.items()}
    return mean | {"rmse": mean["rmse"] ** 0.5}


def calibrated_figures(
    rows: host.Split, logits: np.ndarray, known: metrics.Calibration
) -> dict[str, Any]:
    """The same and "logloss_calibrated", with a calibration from other rows."""
    after = logloss(rows, metrics.apply(known, logits))
    return figures(rows, logits) | {"logloss_calibrated": after}


NO_TEST = {
    "auc": None,
    "logloss": None,
    "logloss_calibrated": None,
    "auc_undefined": "no test rows",
}  # figures of a run without such
