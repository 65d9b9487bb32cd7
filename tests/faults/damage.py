"""Files of a run and of its prepared dataset, damaged: whoever reads them says so, or gives what
they gave before.
"""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax import Config
from autoloss_jax.cli import compare
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import controller_checkpoints, loop, prediction, report
from tests.support.logs import log

SMALL = {
    "data.split": (0.6, 0.2, 0.2),
    "data.values": ("e",),
    "data.categorical": ("a", "b", "c", "d"),
    "model.embed_dim": 2,
    "model.hidden": (4,),
    "method.hidden": (4,),
    "train.batch_size": 50,
    "train.epochs": 3,
    "train.patience": 9,
    "train.eval_batch_size": 128,
    "method.every": 2,
}


@functools.cache
def home():
    """A folder with a finished run, its dataset, and rows to score; made once a process."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = log("pairs", 400)
    rows = rows.with_columns(e=pl.Series(np.random.default_rng(0).normal(size=400)))
    rows.write_csv(folder / "log.csv")
    rows.drop("label").head(60).write_csv(folder / "new.csv")
    data = {"data.path": str(folder / "log.csv"), "data.cache": str(folder / "cache")}
    loop.train(Config().replace(SMALL | data), folder / "run", lambda _: None, shown=False)
    return folder


def evaluated(folder, split="test"):
    """The figures of a split of the run's own data."""
    keys = {"data.path": str(home() / "log.csv"), "data.cache": str(folder / "cache")}
    loaded = prediction.load(folder / "run", None, keys)
    return prediction.evaluate_run(loaded, folder / "run", split, lambda _: None)


def predicted(folder):
    """Scores of new rows, calibrated."""
    loaded = prediction.load(folder / "run", None, {"data.path": str(home() / "new.csv")})
    known = prediction.calibration(folder / "run")
    prediction.predict(loaded, folder / "run", folder / "scores.parquet", known)
    return pl.read_parquet(folder / "scores.parquet").to_series().to_list()


def told(folder):
    """What is read without a network: figures, the log, the snapshots of the controller."""
    left = controller_checkpoints.read(folder / "run")
    flat = [np.asarray(a).tolist() for V, _ in left.values() for a in _leaves(V)]
    records = report.read_log(folder / "run" / "metrics.jsonl")
    return compare.table([compare.read(folder / "run")]), list(left), flat, records


def _leaves(tree):
    return [a for v in tree.values() for a in _leaves(v)] if isinstance(tree, dict) else [tree]


USES = {
    "evaluate": evaluated,
    "evaluate train": functools.partial(evaluated, split="train"),
    "predict": predicted,
    "tell": told,
}


@functools.cache
def wanted(use):
    """What a use gives where nothing is damaged."""
    return USES[use](home())


def ready():
    """What all trials compare with."""
    for use in USES:
        wanted(use)


def files(folder):
    """All that a run and a dataset consist of."""
    return sorted(
        path.relative_to(folder)
        for part in ("run", "cache")
        for path in (folder / part).rglob("*")
        if path.is_file() and "compiled" not in path.parts
    )


def harmed(random, folder):
    """Damages one file, and says how."""
    name = random.choice(files(folder))
    path = folder / name
    content = bytearray(path.read_bytes())
    how = random.choice(("bit", "bit", "bit", "cut", "gone", "swap", "zeros", "empty", "double"))
    place = random.randrange(max(len(content), 1))
    if how == "bit" and content:
        content[place] ^= 1 << random.randrange(8)
    elif how == "cut":
        del content[place:]
    elif how == "zeros":
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    elif how == "empty":
        content.clear()
    elif how == "double":
        content *= 2
    elif how == "swap":
        alike = [f for f in files(folder) if f.suffix == name.suffix and f != name]
        if alike:
            content = bytearray((folder / random.choice(alike)).read_bytes())
    path.unlink()
    if how != "gone":
        path.write_bytes(content)
    return f"{how} of {name}"


def trial(random, folder):
    """One file of a copy damaged, and the copy used."""
    for part in ("run", "cache"):
        shutil.copytree(home() / part, folder / part)
    use = random.choice(sorted(USES))
    expected = wanted(use)
    what = harmed(random, folder)
    try:
        found = USES[use](folder)
    except UserError as error:
        return f"{use} after {what}: not one line: {error}" if "\n" in str(error) else None
    if not _same(found, expected):
        return f"{use} after {what}: {found} is not {expected}"
    return None


def _same(found, expected):
    return json.dumps(found, default=str) == json.dumps(expected, default=str)
