"""python -m autoloss_jax.main --config=configs/criteo.py --workdir=DIR [--mode=train|evaluate|predict] [--config.a.b=value ...]"""

import os
import sys
from pathlib import Path

if not (Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()):
    os.environ.setdefault(
        "JAX_PLATFORMS", "cpu"
    )  # else a CUDA build of jax prints an error on a machine without a driver

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import rich.console
from absl import app, flags, logging
from ml_collections import config_flags

from autoloss_jax import config, report, restore, train
from autoloss_jax.config import Config, UserError
from autoloss_jax.data import prepare, synthetic
from autoloss_jax.workdir import Preempted

DEFAULTS = str(Path(__file__).with_name("defaults.py"))
CONFIG = config_flags.DEFINE_config_file(
    "config", DEFAULTS, "a file of configs/, with :variant if it has one"
)
WORKDIR = flags.DEFINE_string("workdir", "", "the run's folder; empty: runs/<config>-<variant> beside you")
MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "predict"], "what to do")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "evaluate, predict: a checkpoint other than the workdir's best"
)
OUTPUT = flags.DEFINE_string(
    "output", "", "predict: the Parquet file of scores; evaluate: a JSON file of figures"
)


def main(argv: Sequence[str]) -> None:
    """One mode of the program."""
    logging.set_verbosity(logging.FATAL)  # Orbax tells every step of a save, and raises what goes wrong
    if len(argv) > 1:
        raise UserError(f"{argv[1]}: not a flag; flags begin with --, as --workdir=DIR")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = prepare.cache_folder(CONFIG.value.data) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    {"train": _train, "evaluate": _evaluate, "predict": _predict}[MODE.value]()


def _train() -> None:
    """Train the config, then each method it is compared with, and print what was found."""
    if flags.FLAGS["config"].using_default_value:
        raise UserError("--config: name a config file to train, as --config=configs/quickstart.py")
    cfg: Config = CONFIG.value
    config.check(cfg)
    name, _, variant = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    workdir = Path(WORKDIR.value or Path("runs") / "-".join(filter(None, (Path(name).stem, variant))))
    if cfg.data.generate:
        if not cfg.data.path:
            cfg.data.path = str(workdir / "raw" / "criteo.txt")
        if not Path(cfg.data.path).exists():
            _say(f"writing {cfg.data.generate:,} made-up rows to {cfg.data.path}")
            synthetic.write_criteo(Path(cfg.data.path), cfg.data.generate, cfg.data.split_seed)
    results = [train.train(config.with_keys(cfg, {"run.compare": ()}), workdir, _say)]
    for method in cfg.run.compare:
        other = config.with_keys(cfg, {"method.name": method, "run.compare": ()})
        results.append(
            train.train(other, workdir / "compare" / re.sub(r"[^A-Za-z0-9_.=-]", "_", method), _say)
        )
    console = rich.console.Console()
    console.width = max(console.width, 100)
    console.print(report.table(results))
    _say(f"figures: {workdir / 'result.json'}")


def _evaluate() -> None:
    """Print the figures of a checkpoint as JSON."""
    overrides, workdir = _overrides(), _existing_workdir()
    loaded = restore.load(workdir, Path(CHECKPOINT.value) if CHECKPOINT.value else None, overrides)
    figures = report.finite(restore.evaluate_run(loaded, workdir, "data.path" in overrides, lambda _: None))
    if OUTPUT.value:
        report.write_json(Path(OUTPUT.value), figures)
    print(json.dumps(figures, allow_nan=False))


def _predict() -> None:
    """Score the rows of a file."""
    if not OUTPUT.value:
        raise UserError("--output: name the Parquet file to write, as --output=scores.parquet")
    overrides, workdir = _overrides(), _existing_workdir()
    if "data.path" not in overrides:
        raise UserError("--config.data.path: name the file of rows to score")
    loaded = restore.load(workdir, Path(CHECKPOINT.value) if CHECKPOINT.value else None, overrides)
    rows = restore.predict(loaded, workdir, Path(OUTPUT.value))
    _say(f"{rows:,} rows scored: {OUTPUT.value}")


def _overrides() -> dict[str, Any]:
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


def _existing_workdir() -> Path:
    if not WORKDIR.value:
        raise UserError("--workdir: name the folder of a finished training run")
    if not Path(WORKDIR.value).is_dir():
        raise UserError(f"--workdir={WORKDIR.value}: no such folder")
    return Path(WORKDIR.value)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Absl's flags, with every mistake in one line, and the config's keys in --help."""
    if any(a in ("--help", "-h", "--helpfull", "--helpshort", "-help") for a in argv[1:]):
        named = [a for a in argv[1:] if a.startswith("--config=")]
        flags.FLAGS([argv[0], *named])
        print(
            f"{__doc__}\n\n{flags.FLAGS.module_help(sys.modules[__name__])}\n\nconfig keys, as in {named[0][9:] if named else 'no file'}:"
        )
        print(config.describe(CONFIG.value))
        sys.exit(0)
    for a in argv[1:]:
        if a.startswith("--config=") and not Path(a[9:].partition(":")[0]).is_file():
            raise UserError(f"{a}: no such file; the configs are in configs/")
    try:
        return flags.FLAGS(list(argv), known_only=False)
    except KeyError:
        known = [name for name, _, _ in config.keys(Config())]
        for name in (a.removeprefix("--no").removeprefix("--").partition("=")[0] for a in argv[1:]):
            key = name.removeprefix("config.")
            if name.startswith("config.") and key not in known:
                raise UserError(
                    f"--{name}: no such config key{config.nearest(key, known)} (--help lists them)"
                ) from None
        raise
    except flags.Error as error:
        raise UserError(_one_line(str(error))) from None


def _one_line(error: str) -> str:
    """What absl says of a bad flag; of a config file that raised, its own last words."""
    if "Traceback" in error:
        return error.strip().splitlines()[-1].removeprefix("autoloss_jax.config.UserError: ")
    section = re.search(r"flag --(config\.\w+)=.*as instance of", error, re.DOTALL)
    return (
        f"--{section[1]} is a section: set its keys, as --{section[1]}.name=..."
        if section
        else " ".join(error.split())
    )


def run(action: Callable[[], Any]) -> None:
    """`action`, with a mistake of the user's as one line and exit code 2, and a signal as 128 + its number."""
    try:
        action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Preempted as preempted:
        print("interrupted: the state is saved; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + preempted.number)


if __name__ == "__main__":
    run(lambda: app.run(main, flags_parser=_parse_flags))
