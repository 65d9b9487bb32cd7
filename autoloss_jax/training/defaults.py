"""What a config leaves to the data: batch, length, patience, L2 and members, each by a rule.

The rules were found on MovieLens 1M cut to 2,000 to 100,000 rows and on made-up sets
(docs/research.md, "Defaults by rule"). They are for tables that nobody has tuned.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.config import Config, settings
from autoloss_jax.data import source
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.schema import Schema
from autoloss_jax.models import registry
from autoloss_jax.training import interactions, splits
from autoloss_jax.training.run import Run

STEPS_AN_EPOCH = 100
CROSSES = "data.crosses"
LEAST_BATCH, MOST_BATCH = 32, 4096
LEAST_STEPS = 6000  # of a whole training, if it is not stopped before
PATIENCE_STEPS, PATIENCE = 300, 4  # steps, and evaluations, without improvement, at least
L2_ROWS, MOST_L2 = 100, 0.01
MOST_CROSSED_ROWS = 100_000  # from more, a network finds by itself which fields act together
MANY_ROWS = 50_000  # fewer are learned by more members, as each costs little


def resolved(cfg: Config, folder: Path, say: Callable[[str], None]) -> Config:
    """`cfg` with its data on disk, the columns of its table, and a value for every key that it
    leaves to a rule; `say` is told them.
    """
    cfg = source.resolved(cfg, folder, say)
    if not (left := _left(cfg)):
        return cfg
    plain = settings.with_keys(cfg, {CROSSES: ()} if CROSSES in left else {})
    run = Run.of(plain)
    data = pipeline.prepare(run.data, say)
    rows = max(round(data.schema.num_examples["train"] * cfg.data.train_share), 2)
    keys = by_rows(cfg, rows, embeds=_embeds(cfg, data.schema))
    if CROSSES in left:
        few = rows <= MOST_CROSSED_ROWS
        keys[CROSSES] = interactions.found((splits.train_rows(run, data),), data) if few else ()
    said = ", ".join(f"{name} {_said(value)}" for name, value in keys.items())
    say(f"from {rows:,} rows: {said}")
    return settings.with_keys(cfg, keys)


def _embeds(cfg: Config, schema: Schema) -> bool:
    """Whether the recommender has embeddings."""
    one = dataclasses.replace(cfg.model, members=1, shared=False)
    module = registry.make(one, schema.num_classes, schema.num_inputs)
    return bool(module.columns(schema.num_inputs)[0])


def _said(value: Any) -> str:
    return (" ".join(value) or "none") if isinstance(value, tuple) else str(value)


def by_rows(cfg: Config, rows: int, *, embeds: bool = True) -> dict[str, Any]:
    """Config keys that `cfg` leaves to a rule -> their values for so many rows of train.

    - train.batch_size: a hundredth of the rows, from 32 to 4096.
    - train.epochs: at least 20, and 6,000 steps.
    - train.patience: at least four evaluations, and 300 steps.
    - optimizer.l2: 100 / rows, at most .01: as a prior, its weight falls as rows speak. Without
      embeddings 1 / rows, which is what scikit-learn's logistic regression has.
    - model.members: 8, and of more than 50,000 rows 4. Without embeddings all would be alike: 1.
    """
    batch = max(min(max(rows // STEPS_AN_EPOCH, LEAST_BATCH), MOST_BATCH, rows), 2)
    steps = max(rows // (cfg.train.batch_size or batch), 1)
    between = cfg.train.evaluate_every or steps
    l2 = min(L2_ROWS / rows, MOST_L2) if embeds else 1 / rows
    found = {
        "model.members": (8 if rows <= MANY_ROWS else 4) if embeds else 1,
        "optimizer.l2": float(f"{l2:.2g}"),
        "train.batch_size": batch,
        "train.epochs": max(20, math.ceil(LEAST_STEPS / steps)),
        "train.patience": max(PATIENCE, math.ceil(PATIENCE_STEPS / between)),
    }
    left = _left(cfg)
    return {name: value for name, value in found.items() if name in left}


def _left(cfg: Config) -> list[str]:
    """The keys of `cfg` that are left to a rule."""
    return [
        name
        for name, value, field in settings.keys(cfg)
        if field.metadata["by_rule"] is not None and value == field.metadata["by_rule"]
    ]
