"""Which rows an evaluation or a prediction is about, and whether the run has learned from them."""

import dataclasses
from pathlib import Path

from autoloss_jax.config import Config, Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.read import files
from autoloss_jax.data.store import SPLITS
from autoloss_jax.training.checkpoint import Loaded

ALL = "all"
TRAINED = "the model has learned from {}: figures on new rows will be worse"
STOPPED = "{} decided when training stopped: figures on new rows may be worse"


@dataclasses.dataclass(frozen=True)
class Restored(Loaded):
    """A checkpoint for use; `cfg.data.path` may name other rows than those of the training."""

    trained: Config  # with which it was trained
    asked: Config  # the same, but of a run of `auto`, whose config is that of the method it chose


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """Splits of the run's own dataset, or, without any, rows of files."""

    name: str  # train, val, test or all
    data: Data  # where the rows are, and how they are read
    splits: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    labelled: bool = True  # whether the files have labels
    trained_on: bool = False  # the recommender or its controller has learned from some of them
    note: str = ""  # what to know of figures on them, in a line


def of_evaluation(loaded: Restored, split: str) -> ScoredRows:
    """The rows of `split` at `data.path`; "" is test for the run's own dataset (val where it has
    none), else all.

    The run's own dataset is what has the content that it was trained on, wherever it lies.
    UserError for a split that is not there, and if the file of the training has changed.
    """
    path = f"--config.data.path={loaded.cfg.data.path}"
    if not is_own(loaded):
        if Path(loaded.cfg.data.path).resolve() == Path(loaded.trained.data.path).resolve():
            files.find_splits(loaded.cfg.data)  # it may be no longer there
            raise UserError(
                f"{path}: not the data this checkpoint was trained on: they have changed since; "
                "to evaluate them as new data, name a copy of them"
            )
        return _of_files(loaded, split or ALL)
    if loaded.cfg.data.on_bad_row != loaded.trained.data.on_bad_row:
        raise UserError(
            f"--config.data.on_bad_row={loaded.cfg.data.on_bad_row}: {path} is the run's own "
            f"data, prepared with {loaded.trained.data.on_bad_row}; leave the flag out"
        )
    data = dataclasses.replace(loaded.run.data, path=loaded.cfg.data.path)
    name = split or ("test" if loaded.schema.num_examples["test"] else "val")
    splits = SPLITS if name == ALL else (name,)
    trained_on, note = _known(
        loaded, splits, f"the {'' if name == ALL else f'{name} '}rows of {data.path}"
    )
    return ScoredRows(name, data, splits=splits, trained_on=trained_on, note=note)


def of_prediction(loaded: Restored) -> ScoredRows:
    """All rows of the files at `data.path`, for which no label is wanted."""
    found = files.find_all(loaded.cfg.data)
    shared = SPLITS if is_own(loaded) else _shared(loaded, found)
    data = loaded.cfg.data
    trained_on, note = _known(loaded, shared, f"the rows of {data.path}")
    return ScoredRows(
        ALL, data, files=found, labelled=bool(shared), trained_on=trained_on, note=note
    )


def is_own(loaded: Restored) -> bool:
    """Whether `data.path` holds what the run was trained on, there or elsewhere."""
    return _holds_own(loaded, loaded.cfg.data.path)


def _holds_own(loaded: Restored, path: str) -> bool:
    data = dataclasses.replace(
        loaded.run.data, path=path, on_bad_row=loaded.trained.data.on_bad_row
    )
    try:
        return pipeline.fingerprint(data) == loaded.schema.fingerprint
    except UserError:  # a folder without train, valid and test, or nothing at all
        return False


def _of_files(loaded: Restored, split: str) -> ScoredRows:
    data, found = loaded.cfg.data, files.find_all(loaded.cfg.data)
    if split != ALL:
        divided = files.find_splits(data) if Path(data.path).is_dir() else {}
        if split not in divided:
            raise UserError(
                f"--split={split}: {data.path} is not the data of the training, and has no "
                "splits; leave --split out to evaluate all rows"
            )
        found = divided[split]
    trained_on, note = _known(loaded, _shared(loaded, found), f"the rows of {data.path}")
    return ScoredRows(split, data, files=found, trained_on=trained_on, note=note)


def _shared(loaded: Restored, found: tuple[Path, ...]) -> tuple[str, ...]:
    """The splits of the training some of whose rows lie in these files."""
    try:
        own = files.find_splits(loaded.trained.data)
    except UserError:  # the data of the training have gone
        return ()
    there = {path.resolve() for path in found}
    shared = [name for name, paths in own.items() if there & {p.resolve() for p in paths}]
    if not shared or not _holds_own(loaded, loaded.trained.data.path):  # or have changed
        return ()
    return SPLITS if shared == [ALL] else tuple(shared)


def _known(loaded: Restored, splits: tuple[str, ...], rows: str) -> tuple[bool, str]:
    """Whether the run has learned from rows of these splits, and a line for whoever scores them."""
    val_taught = loaded.run.data.train_on_trusted or loaded.run.method.has_controller
    if "train" in splits or ("val" in splits and val_taught):
        return True, TRAINED.format(rows if splits == ("train",) else f"some of {rows}")
    return False, STOPPED.format(rows) if "val" in splits else ""
