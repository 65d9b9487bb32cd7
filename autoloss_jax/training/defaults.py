"""What a config leaves to the data: batch, length, patience, L2, members, and inputs that are made
of its fields, each by a rule.

The rules were found on MovieLens 1M cut to 2,000 to 100,000 rows and on made-up sets
(docs/research.md, "Defaults by rule"). They are for tables that nobody has tuned.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.data import source
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.schema import Schema
from autoloss_jax.distributed import processes
from autoloss_jax.models import registry
from autoloss_jax.training import splits
from autoloss_jax.training.interactions import Interactions
from autoloss_jax.training.run import Run

STEPS_AN_EPOCH = 100
CROSSES, TARGETS, BESIDE = "data.crosses", "data.target_encoding", "model.regression"
SMOOTH, SMOOTHED = "train.smooth", 3
FEW_OF_A_CLASS = 100  # rows of validation, by which one evaluation is mostly chance
LEAST_BATCH, MOST_BATCH = 32, 4096
LEAST_STEPS = 6000  # of a whole training, if it is not stopped before
PATIENCE_STEPS = 300  # without improvement, at least
MANY_ROWS = 50_000
ROWS_A_VALUE = 20  # on average: of more, a network learns each value's embedding
LEAST_GAIN = 0.1  # nats a row, of a pair: what acts together more evenly, embeddings learn better
MOST_ENCODED_ROWS = 1_000_000
MOST_CROSSED_ROWS = 100_000  # from more, a network finds by itself which fields act together
MOST_REGRESSED_ROWS = 100_000  # of more, a network has learned what is linear


def resolved(cfg: Config, folder: Path, say: Callable[[str], None]) -> Config:
    """`cfg` with its data on disk, the columns of its table, and a value for every key that it
    leaves to a rule; `say` is told them.
    """
    cfg = source.resolved(cfg, folder, say)
    if not (left := settings.left_to_rule(cfg)):
        return cfg
    nothing = {CROSSES: (), TARGETS: (), BESIDE: False}
    plain: dict[str, Any] = {name: nothing[name] for name in nothing if name in left}
    if methods.row(cfg.method).contenders or methods.must_search(cfg.method):
        plain["method.name"] = "ce"  # it is none by itself yet, and this one has the same rows
    run = Run.of(settings.with_keys(cfg, plain))
    data = pipeline.prepare(run.data, say)
    rows = max(round(data.schema.num_examples["train"] * cfg.data.train_share), 2)
    embeds = _embeds(cfg, data.schema)
    keys = by_rows(cfg, rows, embeds=embeds)
    learned = splits.train_rows(run, data)
    if SMOOTH in left:
        few = _fewest(splits.val_rows(run, data), data.schema)
        keys[SMOOTH] = SMOOTHED if few < FEW_OF_A_CLASS else 1
    if BESIDE in left:
        keys[BESIDE] = embeds and _regression(run, data.schema, learned, rows)
    pairs = Interactions((learned,), data)
    if CROSSES in left:
        keys[CROSSES] = pairs.found() if rows <= MOST_CROSSED_ROWS else ()
    if TARGETS in left:
        keys[TARGETS] = _encoded(cfg, pairs)
    said = ", ".join(f"{name} {_said(value)}" for name, value in keys.items())
    say(f"from {rows:,} rows: {said}")
    return settings.with_keys(cfg, keys)


def _fewest(split: host.Split, schema: Schema) -> int:
    """Rows of the rarest class."""
    return int(np.bincount(split["y"], minlength=schema.num_classes).min())


def _regression(run: Run, schema: Schema, learned: host.Split, rows: int) -> bool:
    """Whether a regression stands beside the recommender: of few rows, with labels of all classes
    that are not doubted.
    """
    usable = rows <= MOST_REGRESSED_ROWS and _fewest(learned, schema) > 0
    doubted = _doubted(run.cfg) or any(run.noise_kinds)
    return usable and not doubted and processes.count() == 1


def _doubted(cfg: Config) -> bool:
    """Whether the labels of train are."""
    asked = cfg.data
    return bool(asked.context or asked.trusted or asked.missing or asked.flipped)


def _encoded(cfg: Config, pairs: Interactions) -> tuple[str, ...]:
    """The fields whose values have few rows each, so that their embeddings learn little; and the
    two with the most values and their pair, if rows of one pair tell much of each other.

    None where labels are doubted, or rows so many that this takes long.
    """
    asked, schema = cfg.data, pairs.data.schema
    rows = schema.num_examples["train"]
    if _doubted(cfg) or rows > MOST_ENCODED_ROWS:
        return ()
    others = {*asked.numeric, *asked.values, *asked.bags, *asked.crosses}
    sizes = dict(zip(schema.fields[: schema.num_inputs], schema.vocab_sizes, strict=False))
    sizes = {name: size for name, size in sizes.items() if name not in others}
    few = {name for name, size in sizes.items() if rows < ROWS_A_VALUE * size}
    first = sorted(sizes, key=lambda name: -sizes[name])[:2]
    pair = tuple(name for name in sizes if name in first)
    both = len(pair) == 2 and pairs.told_by_others(pair) > LEAST_GAIN
    found = tuple(name for name in sizes if name in few or (both and name in pair))
    return (*found, "*".join(pair)) if both else found


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
    - train.patience: at least 10 evaluations, of many rows 4, and 300 steps.
    - optimizer.decay: .7, of many rows .1. Few rows have noisy evaluations, and products of
      embeddings take hundreds of steps to begin.
    - model.members: 8, of many rows 4.
    - optimizer.l2, embed_init_std, batch_norm: as a prior, L2 falls as rows speak. Of at most
      MANY_ROWS it is 100 / rows, at most .01, embeddings begin at .1, and there is no batch
      normalisation. Of more there is, the embeddings begin at .01, and L2 is 8,000 / rows: as
      the network then sees little of their scale, it takes that much more to bind them.

    Without embeddings all members would be alike: one. L2 is 1 / rows, which is what
    scikit-learn's logistic regression has.
    """
    batch = max(min(max(rows // STEPS_AN_EPOCH, LEAST_BATCH), MOST_BATCH, rows), 2)
    steps = max(rows // (cfg.train.batch_size or batch), 1)
    between, many = cfg.train.evaluate_every or steps, rows > MANY_ROWS
    l2 = 8000 / rows if many else min(100 / rows, 0.01)
    found = {
        "model.members": (4 if many else 8) if embeds else 1,
        "model.embed_init_std": 0.01 if many else 0.1,
        "model.batch_norm": many,
        "optimizer.decay": 0.1 if many else 0.7,
        "optimizer.l2": float(f"{l2 if embeds else 1 / rows:.2g}"),
        "train.batch_size": batch,
        "train.epochs": max(20, math.ceil(LEAST_STEPS / steps)),
        "train.patience": max(4 if many else 10, math.ceil(PATIENCE_STEPS / between)),
    }
    left = settings.left_to_rule(cfg)
    return {name: value for name, value in found.items() if name in left}
