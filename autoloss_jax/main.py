"""autoloss train --config=criteo --config.data.path=FILE [--workdir=DIR] [--config.a.b=VALUE ...]
autoloss tune --config=criteo --config.data.path=FILE [--workdir=DIR] [--config.a.b=VALUE ...]
autoloss evaluate --workdir=DIR [--split=SPLIT] [--config.data.path=FILE] [--calibrated]
autoloss predict --workdir=DIR --config.data.path=FILE --output=FILE [--keep=a,b] [--calibrated]
"""

from pathlib import Path

from absl import flags

from autoloss_jax import config
from autoloss_jax.cli import app, command_line
from autoloss_jax.config import Config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import files

MODE = flags.DEFINE_enum("mode", "train", ["train", "tune", "evaluate", "predict"], "what to do")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "evaluate, predict: a checkpoint other than the workdir's best"
)
OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "predict: the file of scores, of the kind that its name says: .parquet, .arrow, .csv, .tsv; "
    "evaluate: a JSON file of figures",
)
KEEP = flags.DEFINE_list(
    "keep", [], "predict: columns of the rows that stand before their scores, as user,item"
)
CALIBRATED = flags.DEFINE_boolean(
    "calibrated",
    False,
    "evaluate, predict: probabilities as the run's early-stopping rows correct them",
)
GROUP = flags.DEFINE_string(
    "group",
    "",
    "evaluate: a column, as user, for figures within its values: GAUC and NDCG@10; and PR-AUC",
)
SPLIT = flags.DEFINE_enum(
    "split",
    None,
    ["train", "val", "test", "all"],
    "evaluate: which rows (default: test of the training's own data, all of any other file)",
)


def main() -> None:
    """One mode of the program."""
    if MODE.value in ("evaluate", "predict"):
        _use()
        return
    cfg = config.check(command_line.config(Config))
    workdir = command_line.folder("tune" if MODE.value == "tune" else "")
    there = cfg.data.generate or cfg.data.lies_elsewhere
    if not there and not (workdir / "result.json").exists():
        files.find_splits(cfg.data)  # a path that is not there is said at once
    app.start(cfg.data)
    from autoloss_jax.cli import modes  # JAX and what trains, once the flags are right

    (modes.train if MODE.value == "train" else modes.tune)(cfg, workdir)


def _use() -> None:
    """Evaluate a finished run, or predict with it."""
    workdir, overrides = command_line.existing_folder(), command_line.overrides()
    cfg = command_line.config(Config) if command_line.config_file() else None
    if CALIBRATED.value and CHECKPOINT.value:
        raise UserError(
            "--calibrated: what is known belongs to the best checkpoint; leave --checkpoint out"
        )
    if MODE.value == "predict":
        if not OUTPUT.value:
            raise UserError("--output: name the file to write, as --output=scores.parquet")
        if not overrides.get("data.path") and not overrides.get("data.query"):
            raise UserError("--config.data.path: name the file of rows to score")
        if SPLIT.value:
            raise UserError(
                f"--split={SPLIT.value}: predict scores all rows of --config.data.path; leave "
                "--split out, or evaluate"
            )
    app.start()
    from autoloss_jax.cli import modes

    asked = modes.Asked(
        workdir=workdir,
        checkpoint=Path(CHECKPOINT.value) if CHECKPOINT.value else None,
        cfg=cfg,
        overrides=overrides,
        output=OUTPUT.value,
        calibrated=CALIBRATED.value,
        split=SPLIT.value or "",
        keep=tuple(KEEP.value),
        group=GROUP.value,
    )
    (modes.evaluate if MODE.value == "evaluate" else modes.predict)(asked)


if __name__ == "__main__":
    app.enter(main, __name__)
