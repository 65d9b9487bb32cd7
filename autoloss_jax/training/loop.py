"""The training loop: batches in, result.json out, at any moment resumable to the same bits."""

import contextlib
import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import methods, scan
from autoloss_jax.algorithm.autoloss import TrainState
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, processes
from autoloss_jax.distributed.bar import Bar
from autoloss_jax.training import (
    checkpoint,
    controller_checkpoints,
    evaluation,
    frozen_controllers,
    metrics,
    report,
    states,
    workdirs,
)
from autoloss_jax.training.progress import Clock, Progress
from autoloss_jax.training.session import Session, open_session


class Diverged(UserError):
    """A loss is not finite any more."""


Watch = Callable[
    [int, dict[str, Any]], None
]  # (how many evaluations so far, the figures of the latest)


def train(
    cfg: Config,
    workdir: Path,
    say: Callable[[str], None] = print,
    watch: Watch = lambda evaluations, val: None,
    *,
    shown: bool = True,
) -> dict[str, Any]:
    """Train one config in `workdir`, or go on where an earlier call was stopped, and return its
    result.json.

    `watch` sees every evaluation, before its state is saved; what it raises ends the run.
    `shown`: with a bar.
    """
    config.check(cfg)
    methods.resolve(cfg.method)
    with workdirs.locked(workdir), workdirs.signals() as interrupted:
        finished = workdirs.finished_result(cfg, workdir)
        if finished:
            say(f"{workdir}: this run is complete; nothing to do")
            return finished
        started = time.monotonic()
        session = open_session(cfg, workdir, say)
        newest = checkpoint.Folder(workdir / "checkpoints")
        best = checkpoint.Folder(workdir / "best")
        with contextlib.closing(newest), contextlib.closing(best):
            state, progress = _start(session, newest, say)
            clock = Clock(progress, started)
            state, progress = _loop(
                session, state, progress, newest, best, clock, interrupted, watch, shown
            )
            clock.restart()
            result = _result(
                session, progress, checkpoint.newest(workdir / "best"), int(state.step)
            )
        atomic.write_json(workdir / "result.json", result)
        processes.wait()  # whatever comes next may read the run
        return result


def _start(
    session: Session, newest: checkpoint.Folder, say: Callable[[str], None]
) -> tuple[TrainState, Progress]:
    """The state of the newest whole checkpoint, or the initial one."""
    cfg, schema = session.cfg, session.store.schema
    state = states.initial(session.al, cfg)
    progress = Progress(share=[0.0] * len(session.pool))
    step = newest.latest()
    if step is not None:
        meta = checkpoint.read_meta(step)
        workdirs.refuse_other_config(cfg, config.from_dict(meta["config"]), session.workdir)
        if meta["schema"]["fingerprint"] != schema.fingerprint:
            raise UserError(
                f"{session.workdir}: the data changed since step {step.name}; use another --workdir"
            )
        state, progress = checkpoint.restore(step, state), Progress(**meta["progress"])
        say(f"going on from step {step.name}")
    elif cfg.method.name in methods.FROZEN:
        state = frozen_controllers.start(session, state)
    return state, progress


def _loop(
    session: Session,
    state: TrainState,
    progress: Progress,
    newest: checkpoint.Folder,
    best: checkpoint.Folder,
    clock: Clock,
    interrupted: Callable[[], int],
    watch: Watch,
    shown: bool,
) -> tuple[TrainState, Progress]:
    """Algorithm 1 from the state's step to convergence or the planned number of steps."""
    cfg, start = session.cfg, int(state.step)
    title = f"{cfg.method.name} {cfg.model.name} {cfg.data.name}"
    log = report.Log(session.workdir, start)
    with contextlib.closing(log), Bar(title, session.total_steps, start, shown=shown) as bar:
        bounds = [start] if progress.stopped else _bounds(session, start)
        in_force, train_block = frozen_controllers.in_force(session, state), None
        profiles = cfg.run.profile and processes.is_chief()
        profiled = bounds[:3][-1] if profiles else None  # the second block, or the only one
        for (begin, done), source in zip(
            itertools.pairwise(bounds), session.feed.sources(bounds), strict=True
        ):
            if begin == start or begin % session.evaluate_every == 0:
                state = in_force(state, begin)
            given = (source, np.int32(done), _searched(session, progress))
            train_block = train_block or clock.compile(session.train_block, state, *given)
            run = (
                _traced(train_block, session.workdir / "profile")
                if done == profiled
                else train_block
            )
            state = run(state, *given)
            bar.step(done)
            evaluating = done % session.evaluate_every == 0 or done == session.total_steps
            if evaluating or done % cfg.train.log_every == 0:
                state, record = _flush(session, state, progress, clock)
                if evaluating:
                    if session.al.taught_by != "never":
                        controller_checkpoints.write(session.workdir, done, state.controller)
                    state, record["val"] = _evaluate(session, state, progress, best)
                    if session.signal and (
                        cfg.run.gradient_agreement or done < _searched(session, progress)
                    ):
                        record["gradient_agreement"] = session.signal(state)
                        _heed(
                            progress, record["gradient_agreement"], cfg.method.min_agreement, done
                        )
                    watch(-(-done // session.evaluate_every), record["val"])
                    clock.restart()
                bar.note(_summary(record, progress), line=evaluating)
                log.write(record)
            number = processes.greatest(interrupted())
            due = cfg.train.checkpoint_every and done % cfg.train.checkpoint_every == 0
            if evaluating or number or due:
                newest.save(done, state, _meta(session, progress))
            if number:
                raise workdirs.Preempted(number)
            if progress.stopped:
                break
    return state, progress


def _traced(run: Callable[..., TrainState], folder: Path) -> Callable[..., TrainState]:
    """`run`, with a profile of it left in `folder`."""

    def traced(*args: Any) -> TrainState:
        with jax.profiler.trace(str(folder), create_perfetto_trace=True):
            return jax.block_until_ready(run(*args))

    return traced


def _bounds(session: Session, start: int) -> list[int]:
    """The steps, from `start` on, at which the host has a say: a block ends, or something is
    due.
    """
    train, total = session.cfg.train, session.total_steps
    periods = (train.block, train.log_every, session.evaluate_every, train.checkpoint_every)
    due = {
        step
        for period in periods
        if period
        for step in range(start - start % period, total, period)
    }
    return sorted(step for step in due | {start, total} if start <= step <= total)


def _flush(
    session: Session, state: TrainState, progress: Progress, clock: Clock
) -> tuple[TrainState, dict[str, Any]]:
    """The training record since the last one; the state's metrics start again from zero."""
    sums = jax.device_get(state.metrics)
    steps, step = float(sums.steps), int(state.step)
    _require_finite(float(sums.loss), "training", step)
    progress.share = [a + float(b) for a, b in zip(progress.share, sums.share, strict=True)]
    progress.share_steps += steps
    record = {
        "step": step,
        "epoch": step / session.epoch_steps,
        "loss": float(sums.loss) / steps,
        "tau": float(session.al.temperature(jnp.asarray(step))),
        "alpha": {name: float(a) / steps for name, a in zip(session.pool, sums.alpha, strict=True)},
        "share": {name: float(a) / steps for name, a in zip(session.pool, sums.share, strict=True)},
        "entropy": float(sums.entropy) / steps,
        "examples_per_second": clock.lap(int(steps)) * session.cfg.train.batch_size,
    }
    zero = jax.tree.map(jnp.zeros_like, state.metrics)
    return state.replace(metrics=zero), record


def _evaluate(
    session: Session, state: TrainState, progress: Progress, best: checkpoint.Folder
) -> tuple[TrainState, dict[str, Any]]:
    """Figures on the early-stopping rows; keeps the best state, lowers the rate, decides whether
    to stop.
    """
    cfg, step = session.cfg, int(state.step)
    state = session.settle(state)
    logits, losses = evaluation.predictions(
        session.evaluate_step, session.mesh, state, session.splits.val, cfg.train.eval_batch_size
    )
    val = evaluation.figures(session.splits.val["y"], logits) | {"loss": float(losses.mean())}
    _require_finite(val["logloss"], "validation", step)
    value = monitored(cfg, val)
    share = {
        name: s / progress.share_steps for name, s in zip(session.pool, progress.share, strict=True)
    }
    progress.share, progress.share_steps = [0.0] * len(session.pool), 0.0
    if progress.best_value is None or value > progress.best_value + 1e-6:
        progress.best_step, progress.best_value, progress.stalled = step, value, 0
        progress.best = {"val": val, "selection": share}
        best.save(step, state, _meta(session, progress))
    else:
        progress.stalled += 1
        state = state.replace(lr_scale=state.lr_scale * cfg.optimizer.decay)
    progress.stopped = progress.stalled >= cfg.train.patience
    return state, val


def _heed(progress: Progress, signal: float, least: float, step: int) -> None:
    """Where V's signal is below `least` for the second time in a row, V stands still from this
    step on.
    """
    if least and progress.searched is None:
        progress.faint = 0 if signal >= least else progress.faint + 1
        if progress.faint == 2:
            progress.searched = step


def _searched(session: Session, progress: Progress) -> np.int32:
    """The step from which V stands still: after its epochs, or where its signal was lost."""
    ends = (session.cfg.method.epochs * session.epoch_steps, progress.searched)
    return min((np.int32(end) for end in ends if end), default=scan.NEVER)


def monitored(cfg: Config, val: Mapping[str, Any]) -> float:
    """The validation figure that decides, greater is better; UserError where it is undefined."""
    if cfg.train.monitor == "logloss":
        return -val["logloss"]
    if val["auc"] is None:
        raise UserError(
            f"validation AUC is undefined ({val['auc_undefined']}); set "
            "--config.train.monitor=logloss"
        )
    return val["auc"]


def _require_finite(loss: float, which: str, step: int) -> None:
    """The last checkpoint stays: nothing is saved of a run that has diverged."""
    if not np.isfinite(loss):
        raise Diverged(
            f"the {which} loss is not finite by step {step}; lower "
            "--config.optimizer.learning_rate, or clip "
            "with --config.optimizer.clip_norm=10"
        )


def _meta(session: Session, progress: Progress) -> dict[str, Any]:
    """What is saved with a state: enough to evaluate it without any Python of the run's."""
    return {
        "config": json.loads(settings.to_json(session.cfg)),
        "schema": json.loads(session.store.schema.to_json()),
        "progress": dataclasses.asdict(progress),
        "versions": report.versions(),
    }


def _result(session: Session, progress: Progress, best: Path, steps: int) -> dict[str, Any]:
    """Restore the best state, touch test, and say what was found."""
    cfg, schema = session.cfg, session.store.schema
    template = states.initial(session.al, cfg)
    state = checkpoint.restore(best, template)
    forward = functools.partial(evaluation.predictions, session.evaluate_step, session.mesh, state)
    val_logits, _ = forward(session.splits.val, cfg.train.eval_batch_size)
    test_logits, _ = forward(session.splits.test, cfg.train.eval_batch_size)
    calibration = metrics.calibrate(val_logits, np.asarray(session.splits.val["y"]))
    test_labels = np.asarray(session.splits.test["y"])
    calibrated = float(metrics.logloss(test_labels, metrics.apply(calibration, test_logits)))
    return atomic.finite(
        {
            "schema": 1,
            "config": json.loads(settings.to_json(cfg)),
            "method": cfg.method.name,
            "model": cfg.model.name,
            "dataset": schema.name,
            "seed": cfg.run.seed,
            "steps": steps,
            "epochs": round(steps / session.epoch_steps, 4),
            "best_step": progress.best_step,
            "val": progress.best["val"],
            "test": evaluation.figures(test_labels, test_logits)
            | {"logloss_calibrated": calibrated},
            "calibration": dataclasses.asdict(calibration),
            "examples_per_second": progress.timed_steps
            * cfg.train.batch_size
            / max(progress.train_seconds, 1e-9),
            "compile_seconds": progress.compile_seconds,
            "wall_seconds": progress.wall_seconds,
            "selection": progress.best["selection"],
            "num_examples": {
                "train": sum(len(part["y"]) for part in session.splits.train),
                "val": schema.num_examples["val"],
                "test": len(test_labels),
            },
            "num_params": states.num_params(state),
            "versions": report.versions(),
        }
    )


def _summary(record: dict[str, Any], progress: Progress) -> str:
    """One line for people: where training is, and its latest or best validation figures."""
    val, which = (
        (record["val"], "val") if "val" in record else (progress.best.get("val"), "best val")
    )
    parts = [f"epoch {record['epoch']:.4g}", f"loss {record['loss']:.4f}"]
    if val:
        auc = "-" if val["auc"] is None else f"{val['auc']:.5f}"
        parts += [f"{which} AUC {auc}", f"logloss {val['logloss']:.5f}"]
    stalled = f" (best at step {progress.best_step})" if progress.stalled else ""
    still = f", controller still since step {progress.searched}" if progress.searched else ""
    return ", ".join([*parts, f"{record['examples_per_second']:,.0f} examples/s"]) + stalled + still
