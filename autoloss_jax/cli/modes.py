"""The modes of `autoloss_jax.main`, once flags and config are right: train, tune, evaluate and
predict.

This module imports JAX and all that trains; `main` imports it after it has checked the flags.
"""

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import rich.console

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, documents, processes
from autoloss_jax.distributed.processes import say
from autoloss_jax.search import train as search
from autoloss_jax.search import tune as tuning
from autoloss_jax.training import defaults, metrics, prediction, report
from autoloss_jax.training.metrics import Calibration
from autoloss_jax.training.scored_rows import Restored


def train(cfg: Config, workdir: Path) -> None:
    """Train the config, then each method it is compared with, and print what was found."""
    for method in cfg.run.compare:
        methods.check(dataclasses.replace(cfg.method, name=method))
    cfg = _with_data(cfg, workdir)
    own = search.train(settings.with_keys(cfg, {"run.compare": ()}), workdir, say)
    others = []
    for method in cfg.run.compare:
        other = settings.with_keys(cfg, {"method.name": method, "run.compare": ()})
        folder = workdir / "compare" / re.sub(r"[^A-Za-z0-9_.=-]", "_", method)
        try:
            others.append(search.train(other, folder, say))
        except UserError as error:  # the run itself is finished
            say(f"left out of the table: {method}: {error}")
    _show([own, *others], workdir)
    if better := report.better(own, others):
        documents.write(workdir / "result.json", own | {"better": better})
        say(
            f"{' and '.join(better)}: a lower logloss than this recommender's, calibrated; give it "
            "more rows or other columns, or let autoloss tune look for values of its keys"
        )


def tune(cfg: Config, workdir: Path) -> None:
    """Search over some keys of the config in `workdir/tune`, print the best as flags, and train
    with them in `workdir`.
    """
    processes.alone("--mode=tune")
    here = workdir / "tune"
    if (workdir / "config.json").exists() and not (here / "best.json").exists():
        raise UserError(f"{workdir} holds a run that was not tuned; use another --workdir")
    cfg = settings.with_keys(_with_data(cfg, workdir), {"run.compare": ()})
    found = tuning.tune(tuning.own_training(cfg), here, say)
    print(shlex.join(settings.as_flags(found)), flush=True)
    say(
        f"chosen by validation logloss (all trials: {here / 'trials.json'}); training with these "
        f"values in {workdir}"
    )
    _show([search.train(settings.with_keys(cfg, found), workdir, say)], workdir)


def _show(results: list[dict[str, Any]], workdir: Path) -> None:
    if processes.is_chief():
        console = rich.console.Console()
        console.width = max(console.width, 100)
        console.print(report.table(results))
    say(f"figures: {workdir / 'result.json'}")


def _with_data(cfg: Config, workdir: Path) -> Config:
    """The config with its data on disk, its columns declared, and no key left to a rule."""
    return processes.chief_first(lambda: defaults.resolved(cfg, workdir, say))


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a command line asks of a finished run."""

    workdir: Path
    checkpoint: Path | None  # other than the workdir's best
    cfg: Config | None  # of the file that it names, if it does
    overrides: dict[str, Any]  # config keys
    output: str
    calibrated: bool
    split: str = ""
    keep: tuple[str, ...] = ()  # columns beside the scores
    group: str = ""  # a column whose values are ranked within


def evaluate(asked: Asked) -> None:
    """Print the figures of a checkpoint as JSON."""
    loaded, calibration = _loaded(asked)
    figures = prediction.evaluate_run(
        loaded, asked.workdir, asked.split, say, calibration, asked.group
    )
    figures = atomic.finite(figures)
    if asked.output:
        atomic.write_json(Path(asked.output), figures)
    if processes.is_chief():
        print(json.dumps(figures, allow_nan=False))


def predict(asked: Asked) -> None:
    """Score the rows of files."""
    processes.alone("--mode=predict")
    loaded, calibration = _loaded(asked)
    output = Path(asked.output)
    rows = prediction.predict(loaded, asked.workdir, output, calibration, say, asked.keep)
    say(f"{rows:,} rows scored: {asked.output}")


def _loaded(asked: Asked) -> tuple[Restored, Calibration]:
    """The checkpoint that is asked for, and what corrects its probabilities."""
    calibration = metrics.IDENTITY
    if asked.calibrated:
        calibration = prediction.calibration(asked.workdir)
    loaded = prediction.load(asked.workdir, asked.checkpoint, asked.overrides, say)
    if asked.cfg and (others := prediction.differing(loaded, asked.cfg)):
        say(
            f"--config: {asked.workdir} was trained with other values of {', '.join(others)}; "
            "its own are used"
        )
    return loaded, calibration
