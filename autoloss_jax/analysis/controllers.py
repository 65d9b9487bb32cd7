"""What the controllers of several runs say of the same rows, and whether they say more than the
mixture that they began with.

What one controller came to prefer is one draw: another seed may prefer another loss. Shapes: D
draws, n rows, N candidate losses.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from autoloss_jax.algorithm import networks
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.controller import Ensemble
from autoloss_jax.algorithm.networks import ControllerFn
from autoloss_jax.algorithm.state import Params
from autoloss_jax.analysis import curves, significance
from autoloss_jax.data.load import host
from autoloss_jax.training.checkpoint import Loaded

LEVEL = 0.05  # of p
REFERENCE = "cross-entropy"
DIGITS = 4  # of a mean weight: a smaller difference is rounding


class Draw(NamedTuple):
    """One controller."""

    name: str
    V: Params
    stats: Params


def draws(loaded: Loaded, name: str) -> list[Draw]:
    """The controller of a run, or, of one that has the mean of several, each of them."""
    module, controller = loaded.al.controller.module, loaded.state.controller
    if not isinstance(module, Ensemble):
        return [Draw(name, controller.params, controller.stats)]
    members = [tree.get("member", {}) for tree in (controller.params, controller.stats)]
    return [
        Draw(f"{name}, search {k + 1}", *jax.tree.map(lambda leaf, k=k: leaf[k], members))
        for k in range(module.size)
    ]


def alone(al: AutoLoss) -> AutoLoss:
    """What one of these draws belongs to."""
    module = al.controller.module
    if not isinstance(module, Ensemble):
        return al
    return dataclasses.replace(al, controller=ControllerFn(module.member, al.controller.context))


def over_paths(
    al: AutoLoss, drawn: Sequence[Draw], pool: Sequence[str], classes: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(Columns "draw", "label", "prediction", "loss" and its "weight"; columns "draw",
    cross-entropy among them, "label", "logit", and "value" and "gradient" of the loss there).

    The second is empty where a candidate looks at a whole batch.
    """
    made, weights, losses = curves.program(al), [], []
    for path in curves.paths(classes, num_points=101):
        mixtures = {draw.name: made(draw.V, draw.stats, path) for draw in drawn}
        for name, mixture in mixtures.items():
            for loss, of_loss in zip(pool, np.asarray(mixture.weights).T, strict=True):
                columns = {"prediction": path.probability, "weight": of_loss}
                weights.append(_frame(columns, draw=name, label=path.label, loss=loss))
        column = 0 if classes == 2 else path.label
        for name, mixture in (mixtures | {REFERENCE: curves.cross_entropy(path)}).items():
            gradient = np.asarray(mixture.gradient)[:, column]
            columns = {"logit": path.z, "value": mixture.value, "gradient": gradient}
            losses.append(_frame(columns, draw=name, label=path.label))
    return pl.concat(weights), pl.DataFrame() if curves.ranks(al) else pl.concat(losses)


def by_value(
    al: AutoLoss,
    drawn: Sequence[Draw],
    pool: Sequence[str],
    classes: int,
    words: Mapping[str, Sequence[str]],
) -> dict[str, pl.DataFrame]:
    """Field that the controllers see -> columns "draw", "label", "value", "loss", "weight", at a
    prediction of one half. `words` are what the values of each field are called.
    """
    found = {}
    for k, (field, called) in enumerate(words.items()):
        frames = []
        for draw, path in itertools.product(drawn, curves.paths(classes)):
            weights = curves.by_value(al, draw.V, draw.stats, path, k)
            for loss, of_loss in zip(pool, weights.T, strict=True):
                columns = {"value": list(called), "weight": of_loss}
                frames.append(_frame(columns, draw=draw.name, label=path.label, loss=loss))
        found[field] = pl.concat(frames)
    return found


def means(
    al: AutoLoss, drawn: Sequence[Draw], pool: Sequence[str], logits: np.ndarray, rows: host.Split
) -> pl.DataFrame:
    """Columns "draw", "label", "loss" and its mean "weight" over the rows of a label, at these
    logits of them, [n, 1] or [n, C].
    """
    lines, labels = [], np.asarray(rows["y"])
    batch = {name: jax.numpy.asarray(rows[name]) for name in ("y", "seen") if name in rows}
    z = jax.numpy.asarray(logits, jax.numpy.float32)
    for draw in drawn:
        alpha = networks.mean_policy(al, draw.V, draw.stats, z, batch)
        for label in np.unique(labels).tolist():
            of_label = np.asarray(alpha, np.float64)[labels == label].mean(axis=0)
            lines += [(draw.name, label, *pair) for pair in zip(pool, of_label, strict=True)]
    return pl.DataFrame(lines, schema=["draw", "label", "loss", "weight"], orient="row")


def spread(weights: pl.DataFrame, start: float) -> pl.DataFrame:
    """Of `means`, over draws: columns "label", "loss", "mean", "deviation" (null of one draw),
    "least", "greatest", the weight at the "start" of a search, and "p".

    p is that of a t-test of the draws against the start, corrected for how many there are (Holm).
    """
    grouped = weights.group_by("label", "loss", maintain_order=True)
    lines, p_values = [], {}
    pool = weights["loss"].unique(maintain_order=True).to_list()
    began = beginning(start, pool)
    for (label, loss), part in grouped:
        values = part["weight"].round(DIGITS).to_list()
        p_values[label, loss] = significance.paired_t(
            values, [round(began[str(loss)], DIGITS)] * len(values)
        )
        deviation = part["weight"].std() if len(values) > 1 else None
        figures = (part["weight"].mean(), deviation, part["weight"].min(), part["weight"].max())
        lines.append((label, loss, *figures, began[str(loss)]))
    known = significance.holm({key: p for key, p in p_values.items() if p is not None})
    names = ["label", "loss", "mean", "deviation", "least", "greatest", "start"]
    frame = pl.DataFrame(lines, schema=names, orient="row")
    p = pl.Series("p", [known.get(line[:2]) for line in lines], dtype=pl.Float64)
    return frame.with_columns(p)


def beginning(start: float, pool: list[str]) -> dict[str, float]:
    """The weights with which a search begins (`method.start`)."""
    if not start or len(pool) == 1:
        return dict.fromkeys(pool, 1 / len(pool))
    return {name: start if k == 0 else (1 - start) / (len(pool) - 1) for k, name in enumerate(pool)}


def verdict(found: pl.DataFrame, number: int, even: bool) -> str:
    """In words, whether `number` draws differ from the mixture that they began with by more than
    they differ among themselves.
    """
    mixture = "the even mixture" if even else "the mixture that its search began with"
    if number == 1:
        return (
            f"One run cannot tell whether its learned loss differs from {mixture} by more than "
            "chance: with another seed the controller may prefer other losses. Train the same "
            "config with other seeds (--config.run.seed=1, 2, ...), and name all of the runs: "
            "autoloss report RUN1 RUN2 RUN3."
        )
    surprising = found.filter(pl.col("p") < LEVEL).sort("p")
    if surprising.is_empty():
        return (
            f"Over {number} controllers, the learned loss cannot be told from {mixture}: no mean "
            "weight is farther from it than the controllers are from one another (t-tests with "
            f"Holm's correction, smallest p = {found['p'].min():.2g})."
        )
    told = "; ".join(
        f"label {line['label']}: {line['loss']} has {line['mean']:.2f} instead of "
        f"{line['start']:.2f} (p = {line['p']:.2g})"
        for line in surprising.head(3).iter_rows(named=True)
    )
    return (
        f"Over {number} controllers, the learned loss differs from {mixture} by more than chance. "
        f"{told[0].upper()}{told[1:]}."
    )


def _frame(columns: Mapping[str, Any], **same: str | int) -> pl.DataFrame:
    """Columns of numbers or words, and what is the same in all rows."""
    arrays = {
        name: a if isinstance(a, list) else np.asarray(a, float) for name, a in columns.items()
    }
    return pl.DataFrame(arrays).with_columns(**{name: pl.lit(a) for name, a in same.items()})
