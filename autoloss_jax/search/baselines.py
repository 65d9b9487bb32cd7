"""What a person would pick instead, as methods: the same rows, the same table, no recommender
(`training/baselines.py`, `training/boosting.py`).

`--config.run.compare="('logistic','lightgbm')"` puts them beside a run, and a study has them as
rows. They leave a result.json, and no checkpoint.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.store import Store
from autoloss_jax.distributed import atomic, documents, processes
from autoloss_jax.training import (
    baselines,
    boosting,
    checkpoint,
    evaluation,
    objective,
    report,
    workdirs,
)
from autoloss_jax.training.baselines import Fitted, Rows
from autoloss_jax.training.boosting import whole
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import divide

PLAIN = {"data.crosses": (), "data.target_encoding": ()}  # the columns as they are
Fit = Callable[..., Fitted]  # Rows, Store and a seed


def _train(
    fit: Fit, refusal: str, train: Any, cfg: Config, workdir: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """The result.json of a model of another library on the rows of `cfg`; `refusal` says why it
    takes the loss of no other run, if it does not.
    """
    del train
    if refusal and (source := cfg.method.transfer_from):
        raise UserError(f"--config.method.transfer_from={source}: {cfg.method.name} {refusal}")
    processes.alone(f"--config.method.name={cfg.method.name}")
    with workdirs.locked(workdir):
        if finished := workdirs.finished_result(cfg, workdir):
            say(f"{workdir}: this run is complete; nothing to do")
            return finished
        source = _source(cfg)
        of_source = source.cfg if source else cfg
        run = Run.of(settings.with_keys(of_source, {} if cfg.method.same_inputs else PLAIN))
        data = pipeline.prepare(run.data, say)
        splits = divide(run, data)
        rows, started = Rows(splits.train, splits.val, splits.test), time.monotonic()
        if source:
            fit = functools.partial(fit, objective=objective.of_run(source, whole(rows.learned)))
        fitted = fit(rows, data, cfg.run.seed)
        result = _result(cfg, data, rows, fitted, time.monotonic() - started)
        workdirs.write_config(cfg, workdir)
        documents.write(workdir / "result.json", result)
        return result


def _source(cfg: Config) -> Loaded | None:
    """The run whose loss is the objective; UserError where its rows are others."""
    folder = cfg.method.transfer_from
    if not folder:
        return None
    source = checkpoint.load(checkpoint.best(Path(folder)))
    ours, theirs = (settings.with_keys(c, PLAIN).data for c in (cfg, source.cfg))
    if ours != theirs:
        raise UserError(
            f"--config.method.transfer_from={folder}: it was trained with other values of data.*; "
            "an objective is that of the same rows"
        )
    return source


def _boosted(fit: Fit, refusal: str, train: Any, cfg: Config, *rest: Any) -> dict[str, Any]:
    """Boosting, which has as many trees as `train.monitor` wants."""
    fit = functools.partial(fit, by_auc=cfg.train.monitor == "auc")
    return _train(fit, refusal, train, cfg, *rest)


constant, logistic = (
    functools.partial(_train, fit, "takes the loss of no other run; leave it out, or use lightgbm")
    for fit in (baselines.constant, baselines.logistic)
)
lightgbm = functools.partial(_boosted, boosting.lightgbm, "")
catboost = functools.partial(
    _boosted,
    boosting.catboost,
    "takes no objective of another run here (a second a tree); autoloss export-loss writes one for "
    "it, or use lightgbm",
)


def _result(cfg: Config, data: Store, rows: Rows, fitted: Fitted, seconds: float) -> dict[str, Any]:
    """As that of a training, an epoch of one step being all of it."""
    val = evaluation.figures(rows.val, fitted.val)
    test = baselines.figures(rows, fitted) if len(rows.test["y"]) else evaluation.NO_TEST
    return atomic.finite(
        report.head(cfg, cfg.method.name, data.schema.name)
        | {
            "steps": fitted.steps,
            "epochs": 1,
            "best_step": fitted.steps,
            "val": val | {"logloss_calibrated": evaluation.calibrated(rows.val, fitted.val)},
            "test": test,
            "calibration": dataclasses.asdict(baselines.calibrated(rows, fitted)),
            "examples_per_second": fitted.steps * cfg.train.batch_size / max(seconds, 1e-9),
            "compile_seconds": 0.0,
            "wall_seconds": seconds,
            "selection": {},
            "num_examples": {
                "train": fitted.rows,
                "val": len(rows.val["y"]),
                "test": len(rows.test["y"]),
            },
            "num_params": 0,
            "versions": report.versions(),
        }
    )
