"""python -m autoloss_jax.main --config=configs/criteo.py --workdir=DIR
[--mode=train|tune|evaluate|predict] [--config.a.b=value ...]
"""

import json
import re
from pathlib import Path
from typing import Any

import rich.console
from absl import flags
from ml_collections import config_flags

from autoloss_jax import config
from autoloss_jax.cli import app
from autoloss_jax.cli.app import CONFIG, say
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import synthetic
from autoloss_jax.distributed import atomic, processes
from autoloss_jax.search import train, tune
from autoloss_jax.training import prediction, report
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.metrics import Calibration

MODE = flags.DEFINE_enum("mode", "train", ["train", "tune", "evaluate", "predict"], "what to do")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "evaluate, predict: a checkpoint other than the workdir's best"
)
OUTPUT = flags.DEFINE_string(
    "output", "", "predict: the Parquet file of scores; evaluate: a JSON file of figures"
)
CALIBRATED = flags.DEFINE_boolean(
    "calibrated",
    False,
    "evaluate, predict: probabilities as the run's early-stopping rows correct them",
)


def main() -> None:
    """One mode of the program."""
    {"train": _train, "tune": _tune, "evaluate": _evaluate, "predict": _predict}[MODE.value]()


def _train() -> None:
    """Train the config, then each method it is compared with, and print what was found."""
    cfg, workdir = _run()
    results = [train.train(settings.with_keys(cfg, {"run.compare": ()}), workdir, say)]
    for method in cfg.run.compare:
        other = settings.with_keys(cfg, {"method.name": method, "run.compare": ()})
        results.append(
            train.train(other, workdir / "compare" / re.sub(r"[^A-Za-z0-9_.=-]", "_", method), say)
        )
    if processes.is_chief():
        console = rich.console.Console()
        console.width = max(console.width, 100)
        console.print(report.table(results))
    say(f"figures: {workdir / 'result.json'}")


def _run() -> tuple[Config, Path]:
    """The config and the folder of a run; its data, if they are to be made up."""
    workdir = app.folder()
    cfg: Config = config.check(CONFIG.value)
    return processes.chief_first(lambda: synthetic.generated(cfg, workdir, say)), workdir


def _tune() -> None:
    """Search over some keys of the config, and print the best as flags."""
    processes.alone("--mode=tune")
    cfg, workdir = _run()
    workdir /= "tune"
    found = tune.tune(settings.with_keys(cfg, {"run.compare": ()}), workdir, say)
    print(" ".join(f"--config.{name}={value:.6g}" for name, value in found.items()))
    say(
        f"the best of {cfg.search.trials} trials by validation logloss; all of them: "
        f"{workdir / 'trials.json'}"
    )


def _evaluate() -> None:
    """Print the figures of a checkpoint as JSON."""
    overrides, workdir = _overrides(), app.existing_folder()
    loaded, calibration = _loaded(workdir, overrides)
    other_file = "data.path" in overrides
    figures = prediction.evaluate_run(loaded, workdir, other_file, lambda _: None, calibration)
    figures = atomic.finite(figures)
    if OUTPUT.value:
        atomic.write_json(Path(OUTPUT.value), figures)
    if processes.is_chief():
        print(json.dumps(figures, allow_nan=False))


def _predict() -> None:
    """Score the rows of a file."""
    processes.alone("--mode=predict")
    if not OUTPUT.value:
        raise UserError("--output: name the Parquet file to write, as --output=scores.parquet")
    overrides, workdir = _overrides(), app.existing_folder()
    if "data.path" not in overrides:
        raise UserError("--config.data.path: name the file of rows to score")
    loaded, calibration = _loaded(workdir, overrides)
    rows = prediction.predict(loaded, workdir, Path(OUTPUT.value), calibration)
    say(f"{rows:,} rows scored: {OUTPUT.value}")


def _loaded(workdir: Path, overrides: dict[str, Any]) -> tuple[Loaded, Calibration]:
    """The checkpoint that is asked for, and what corrects its probabilities."""
    if CALIBRATED.value and CHECKPOINT.value:
        raise UserError(
            "--calibrated: what is known belongs to the best checkpoint; leave --checkpoint out"
        )
    calibration = prediction.calibration(workdir) if CALIBRATED.value else prediction.AS_IT_IS
    return prediction.load(
        workdir, Path(CHECKPOINT.value) if CHECKPOINT.value else None, overrides
    ), calibration


def _overrides() -> dict[str, Any]:
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


if __name__ == "__main__":
    app.enter(main, __name__)
