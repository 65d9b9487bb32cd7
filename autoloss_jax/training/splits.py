"""Who learns from which rows of a prepared dataset."""

import dataclasses

import numpy as np

from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.split import commonest, corrupted, first_part, shares, unlikely
from autoloss_jax.training import first_model, label_noise
from autoloss_jax.training.label_noise import Cells, LabelNoise, Labels
from autoloss_jax.training.run import Run


@dataclasses.dataclass(frozen=True)
class Splits:
    """The rows of a run."""

    train: tuple[host.Split, ...]  # W
    controller: tuple[host.Split, ...]  # V; empty for methods that do not search
    val: host.Split  # early stopping and calibration
    test: host.Split  # touched once, at the end
    noise: dict[str, LabelNoise] | None = None  # by kind, where a loss is corrected for it


def divide(run: Run, data: store.Store) -> Splits:
    """The rows that teach W, those that teach V, and those that decide; test is nobody's."""
    train, taught = train_rows(run, data), trusted_rows(run, data)
    val, test = val_rows(run, data), run.with_context(data.schema, data.split("test"))
    named = {"train": train, "trusted rows": taught, "val": val, "test": test}
    train, taught, val, test = (_weighted(split, name) for name, split in named.items())
    noise = None
    if any(run.noise_kinds):
        if not run.method.frozen:  # else the rates are the source's
            noise = _noise(run, data.schema, train, taught, data.split("train")["y"])
        train, taught = _with_noise(run, data.schema, noise, train, taught)
    parts, controller = teachers(run, train, taught)
    return Splits(parts, controller, val, test, noise)


def train_rows(run: Run, data: store.Store) -> host.Split:
    """All rows of train, with the labels that W learns from."""
    train = run.with_context(data.schema, data.split("train"))
    if run.cfg.data.missing or run.cfg.data.flipped:
        return {**train, "y": _noisy(run, data.schema, data.split("train"))}
    return train


def trusted_rows(run: Run, data: store.Store) -> host.Split:
    """The rows of `data.trusted`, or a share of val."""
    asked = run.cfg.data
    if asked.trusted:
        trusted = run.with_context(data.schema, pipeline.trusted_rows(asked, data))
    else:
        trusted, _ = _halves_of_val(run, data)
    return _some(run, data.schema, data.split("train"), trusted) if asked.trusted_of else trusted


def val_rows(run: Run, data: store.Store) -> host.Split:
    """The rows that decide early stopping and calibrate."""
    if run.cfg.data.trusted:
        return run.with_context(data.schema, data.split("val"))
    return _halves_of_val(run, data)[1]


def _halves_of_val(run: Run, data: store.Store) -> tuple[host.Split, host.Split]:
    val = run.with_context(data.schema, data.split("val"))
    return host.halve(val, run.cfg.data.trusted_share, run.cfg.data.split_seed)


def teachers(
    run: Run, train: host.Split, trusted: host.Split
) -> tuple[tuple[host.Split, ...], tuple[host.Split, ...]]:
    """(The rows that teach W, those that teach V), in parts; UserError for a search without any
    of the latter.
    """
    asked = run.cfg.data
    if asked.train_share < 1:
        train, _ = host.halve(train, asked.train_share, asked.split_seed)
    repeats = asked.trusted_repeats if run.data.train_on_trusted else 0
    parts = tuple(part for part in (train, *repeats * [trusted]) if len(part["y"]))
    if not run.method.searches:
        return parts, ()
    controller: tuple[host.Split, ...] = (trusted,)
    if asked.trusted_fold:
        number, count = asked.trusted_fold
        held_out = [host.hold_out(part, number, count, asked.split_seed) for part in parts]
        controller, parts = zip(*held_out, strict=True)
    if not host.num_rows(controller):
        raise UserError(
            "--config.data.trusted_share=0: a method that searches needs rows of val for its "
            "controller, or a part of train, as --config.data.trusted_fold=0,5"
        )
    return parts, controller


def _weighted(split: host.Split, name: str) -> host.Split:
    """The rows with weights of mean 1, if they have any."""
    if "weight" not in split or not len(split["y"]):
        return split
    weight = np.asarray(split["weight"])
    if not weight.any():
        raise UserError(f"--config.data.weight: every row of {name} has the weight 0")
    return {**split, "weight": weight / weight.mean()}


def _noise(
    run: Run, schema: Schema, train: host.Split, trusted: host.Split, clean: np.ndarray
) -> dict[str, LabelNoise]:
    """What is known of the noise in train's labels, by kind."""
    method, sizes = run.cfg.method, [size for *_, size in run.context(schema)]
    ours, known = (_labels(split) for split in (train, trusted))
    kinds = sorted(set(run.noise_kinds) - {""})
    if method.rates == "known":
        _check_made(run)
        classes = schema.num_classes
        return {k: label_noise.made(k, ours, np.asarray(clean), sizes, classes) for k in kinds}
    if not len(known.y):
        raise UserError(
            "--config.data.trusted_share=0: rates of label noise need trusted rows, whose labels "
            "tell how train's are wrong; give a share of val, or --config.data.trusted=FILE"
        )
    if run.method.noise == "matrix":
        chances = first_model.chances(run, schema, train, trusted)
        return {k: label_noise.gold(ours, known, chances, sizes) for k in kinds}
    guesses = None
    if method.first_model:
        guesses = first_model.guesses(run, schema, train, trusted)
    return {k: label_noise.estimate(k, ours, known, sizes, guesses) for k in kinds}


def _labels(split: host.Split) -> Labels:
    none = np.zeros((len(split["y"]), 0), np.int32)
    return Labels(np.asarray(split["y"]), split.get("seen", none))


def _check_made(run: Run) -> None:
    if not (run.cfg.data.missing or run.cfg.data.flipped):
        raise UserError(
            "--config.method.rates=known: the truth is known where --config.data.missing or "
            "flipped makes the noise; use counts, or model"
        )


def _with_noise(
    run: Run,
    schema: Schema,
    noise: dict[str, LabelNoise] | None,
    train: host.Split,
    trusted: host.Split,
) -> tuple[host.Split, host.Split]:
    """Both splits with what the corrected loss reads of each row: its cell where V learns the
    rates, else how its label may be wrong. Trusted labels are right.

    Where the cells are too many and V learns their rates, a row of train has cell 0.
    """
    values = _labels(train).context
    cells = Cells.of(values, [size for *_, size in run.context(schema)])
    number, none = cells.number(values), len(cells)
    if run.learns_rates and cells.codes is not None:
        number, none = np.zeros(len(values), np.int32), 1
    of_trusted = np.full(len(trusted["y"]), none, np.int32)
    if run.learns_rates:
        return {**train, "cell": number}, {**trusted, "cell": of_trusted}
    (known,) = (noise or {}).values()
    right = np.eye(known.transition.shape[-1])[None]
    every = np.concatenate([known.transition, right]).astype(np.float32)
    return {**train, "transition": every[number]}, {**trusted, "transition": every[of_trusted]}


def _some(run: Run, schema: Schema, train: host.Split, trusted: host.Split) -> host.Split:
    """Of the trusted rows those that `data.trusted_of` wants."""
    asked = run.cfg.data
    if asked.trusted_of == "positives":
        kept = first_part(len(trusted["y"]), 0.5, asked.split_seed) | (trusted["y"] > 0)
    else:
        place = schema.place(asked.trusted_of, "--config.data.trusted_of")
        of_train, of_trusted = (host.values(split, [place])[:, 0] for split in (train, trusted))
        kept = np.isin(of_trusted, commonest(of_train))
    return {name: array[kept] for name, array in trusted.items()}


def _noisy(run: Run, schema: Schema, train: host.Split) -> np.ndarray:
    """The labels of train with a study's noise in them, int32[n]."""
    asked = run.cfg.data
    missing, flipped = (_chance(run, schema, train, noise) for noise in ("missing", "flipped"))
    labels = np.asarray(train["y"])
    return corrupted(labels, missing, flipped, asked.num_classes, asked.split_seed)


def _chance(run: Run, schema: Schema, train: host.Split, noise: str) -> float | np.ndarray:
    """Of a label to be `missing` or `flipped`: of all rows alike, or by the values of fields."""
    asked = run.cfg.data
    chance, by = getattr(asked, noise), getattr(asked, f"{noise}_by")
    if by:
        places = [schema.place(name, f"--config.data.{noise}_by") for name in by.split(",")]
        sizes = [size for *_, size in places]
        of_value = shares(chance, sizes, asked.split_seed)
        chance = of_value[tuple(host.values(train, places).T)]
    if noise == "missing" and asked.missing_unlikely:
        chance = np.minimum(chance * unlikely(np.asarray(train["x"]), np.asarray(train["y"])), 1)
    return chance
