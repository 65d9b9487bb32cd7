"""Permutation importance (Breiman, 2001): how far AUC falls once a field's values are shuffled
among the rows.

Shapes: n rows, S slots, C classes.
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import host
from autoloss_jax.data.schema import Schema
from autoloss_jax.training import evaluation

REPEATS = 5
BUDGET = 2_000_000  # rows forwarded, over all fields and repeats
FEWEST, MOST = 2_000, 20_000  # rows of the sample

Forward = Callable[[host.Split], np.ndarray]  # rows -> logits [n, 1] or [n, C]


def sample_size(num_fields: int) -> int:
    """How many rows `by_field` should be given, so that it takes no more than a minute or so."""
    return int(np.clip(BUDGET // (num_fields * REPEATS), FEWEST, MOST))


def by_field(forward: Forward, rows: host.Split, schema: Schema, seed: int = 0) -> pl.DataFrame:
    """Columns "field", "drop" and "deviation": mean and standard deviation over REPEATS shuffles
    of AUC lost, the greatest first.

    A field's slots are shuffled together. UserError where AUC is undefined on these rows.
    """
    intact = _auc(forward, rows)
    random, found = np.random.default_rng(seed), []
    ends = np.cumsum(schema.slots[: schema.num_inputs])
    for name, end, width in zip(schema.fields, ends, schema.slots, strict=False):
        drops = [
            intact - _auc(forward, _shuffled(rows, slice(end - width, end), random))
            for _ in range(REPEATS)
        ]
        found.append((name, float(np.mean(drops)), float(np.std(drops, ddof=1))))
    frame = pl.DataFrame(found, schema=["field", "drop", "deviation"], orient="row")
    return frame.sort("drop", descending=True, maintain_order=True)


def _shuffled(rows: host.Split, slots: slice, random: np.random.Generator) -> host.Split:
    order, shuffled = random.permutation(len(rows["y"])), {}
    for name in ("x", "v"):
        if name in rows:
            shuffled[name] = np.array(rows[name])
            shuffled[name][:, slots] = rows[name][order, slots]
    return rows | shuffled


def _auc(forward: Forward, rows: host.Split) -> float:
    figures = evaluation.figures(rows, forward(rows))
    if figures["auc"] is None:
        raise UserError(f"AUC is undefined on a sample of the rows: {figures['auc_undefined']}")
    return figures["auc"]
