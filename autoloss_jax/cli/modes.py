"""The modes of `autoloss_jax.main`, once flags and config are right: train, tune, evaluate and
predict.

This module imports JAX and all that trains; `main` imports it after it has checked the flags.
"""

import json
import re
from pathlib import Path
from typing import Any

import rich.console

from autoloss_jax.cli.app import say
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import synthetic
from autoloss_jax.distributed import atomic, processes
from autoloss_jax.search import train as methods
from autoloss_jax.search import tune as tuning
from autoloss_jax.training import prediction, report


def train(cfg: Config, workdir: Path) -> None:
    """Train the config, then each method it is compared with, and print what was found."""
    cfg = _with_data(cfg, workdir)
    results = [methods.train(settings.with_keys(cfg, {"run.compare": ()}), workdir, say)]
    for method in cfg.run.compare:
        other = settings.with_keys(cfg, {"method.name": method, "run.compare": ()})
        folder = workdir / "compare" / re.sub(r"[^A-Za-z0-9_.=-]", "_", method)
        results.append(methods.train(other, folder, say))
    if processes.is_chief():
        console = rich.console.Console()
        console.width = max(console.width, 100)
        console.print(report.table(results))
    say(f"figures: {workdir / 'result.json'}")


def tune(cfg: Config, workdir: Path) -> None:
    """Search over some keys of the config, and print the best as flags."""
    processes.alone("--mode=tune")
    cfg = _with_data(cfg, workdir)
    workdir /= "tune"
    found = tuning.tune(settings.with_keys(cfg, {"run.compare": ()}), workdir, say)
    print(" ".join(f"--config.{name}={value:.6g}" for name, value in found.items()))
    say(
        f"the best of {cfg.search.trials} trials by validation logloss; all of them: "
        f"{workdir / 'trials.json'}"
    )


def _with_data(cfg: Config, workdir: Path) -> Config:
    """The config with its data, if they are to be made up."""
    return processes.chief_first(lambda: synthetic.generated(cfg, workdir, say))


def evaluate(
    workdir: Path, checkpoint: Path | None, overrides: dict[str, Any], output: str, calibrated: bool
) -> None:
    """Print the figures of a checkpoint as JSON."""
    loaded, calibration = _loaded(workdir, checkpoint, overrides, calibrated)
    other_file = "data.path" in overrides
    figures = prediction.evaluate_run(loaded, workdir, other_file, lambda _: None, calibration)
    figures = atomic.finite(figures)
    if output:
        atomic.write_json(Path(output), figures)
    if processes.is_chief():
        print(json.dumps(figures, allow_nan=False))


def predict(
    workdir: Path, checkpoint: Path | None, overrides: dict[str, Any], output: str, calibrated: bool
) -> None:
    """Score the rows of a file."""
    processes.alone("--mode=predict")
    if not output:
        raise UserError("--output: name the Parquet file to write, as --output=scores.parquet")
    if "data.path" not in overrides:
        raise UserError("--config.data.path: name the file of rows to score")
    loaded, calibration = _loaded(workdir, checkpoint, overrides, calibrated)
    rows = prediction.predict(loaded, workdir, Path(output), calibration)
    say(f"{rows:,} rows scored: {output}")


def _loaded(
    workdir: Path, checkpoint: Path | None, overrides: dict[str, Any], calibrated: bool
) -> tuple[prediction.Loaded, prediction.Calibration]:
    """The checkpoint that is asked for, and what corrects its probabilities."""
    calibration = prediction.calibration(workdir) if calibrated else prediction.AS_IT_IS
    return prediction.load(workdir, checkpoint, overrides), calibration
