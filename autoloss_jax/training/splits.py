"""Who learns from which rows of a prepared dataset."""

import dataclasses
import math

import numpy as np

from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.split import corrupted, shares
from autoloss_jax.training import label_noise
from autoloss_jax.training.label_noise import NoiseRates
from autoloss_jax.training.run import Run


@dataclasses.dataclass(frozen=True)
class Splits:
    """The rows of a run."""

    train: tuple[host.Split, ...]  # W
    controller: tuple[host.Split, ...]  # V; empty for methods that do not search
    val: host.Split  # early stopping and calibration
    test: host.Split  # touched once, at the end
    noise: dict[str, NoiseRates] | None = None  # by kind, where a loss has rates


def divide(run: Run, data: store.Store) -> Splits:
    """The rows that teach W, those that teach V, and those that decide; test is nobody's."""
    asked = run.cfg.data
    train, val, test = (
        run.with_context(data.schema, data.split(name)) for name in ("train", "val", "test")
    )
    if asked.trusted:
        taught = run.with_context(data.schema, pipeline.trusted_rows(asked, data))
    else:
        taught, val = host.halve(val, asked.trusted_share, asked.split_seed)
    if asked.missing or asked.flipped:
        train = {**train, "y": _noisy(run, data.schema, data.split("train"))}
    noise = None
    if any(run.noise_kinds):
        noise, train, taught = _with_noise(run, data.schema, train, taught)
    parts = (train, taught) if run.data.train_on_trusted else (train,)
    controller: tuple[host.Split, ...] = (taught,) if run.method.searches else ()
    if run.method.searches and asked.trusted_fold:
        number, count = asked.trusted_fold
        held_out = [host.hold_out(part, number, count, asked.split_seed) for part in parts]
        controller, parts = zip(*held_out, strict=True)
    if run.method.searches and not host.num_rows(controller):
        raise UserError(
            "--config.data.trusted_share=0: a method that searches needs rows of val for its "
            "controller, or a part of train, as --config.data.trusted_fold=0,5"
        )
    return Splits(train=parts, controller=controller, val=val, test=test, noise=noise)


def _with_noise(
    run: Run, schema: Schema, train: host.Split, trusted: host.Split
) -> tuple[dict[str, NoiseRates], host.Split, host.Split]:
    """The rates of noise in train's labels, and both splits with the cell of each row."""
    if not len(trusted["y"]):
        raise UserError(
            "--config.data.trusted_share=0: rates of label noise need trusted rows, whose labels "
            "tell how train's are wrong; give a share of val, or --config.data.trusted=FILE"
        )
    sizes = [size for *_, size in run.context(schema)]
    values, trusted_values = (
        split.get("seen", np.zeros((len(split["y"]), 0), np.int32)) for split in (train, trusted)
    )
    log = train["y"], values, trusted["y"], trusted_values, sizes
    noise = {kind: label_noise.estimate(kind, *log) for kind in set(run.noise_kinds) - {""}}
    cells = label_noise.cells(values, sizes)
    trusted_cells = np.full(len(trusted["y"]), math.prod(sizes), np.int32)
    return noise, {**train, "cell": cells}, {**trusted, "cell": trusted_cells}


def _noisy(run: Run, schema: Schema, train: host.Split) -> np.ndarray:
    """The labels of train with a study's noise in them, int32[n]."""
    asked = run.cfg.data
    missing, flipped = (_chance(run, schema, train, noise) for noise in ("missing", "flipped"))
    labels = np.asarray(train["y"])
    return corrupted(labels, missing, flipped, asked.num_classes, asked.split_seed)


def _chance(run: Run, schema: Schema, train: host.Split, noise: str) -> float | np.ndarray:
    """Of a label to be `missing` or `flipped`: of all rows alike, or by the value of a field."""
    asked = run.cfg.data
    rate, by = getattr(asked, noise), getattr(asked, f"{noise}_by")
    if not by:
        return rate
    place = schema.place(by, f"--config.data.{noise}_by")
    return shares(rate, place[2], asked.split_seed)[host.values(train, [place])[:, 0]]
