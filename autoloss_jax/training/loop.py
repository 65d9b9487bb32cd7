"""The training loop: batches in, result.json out, at any moment resumable to the same bits."""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.config import Config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.read import formats
from autoloss_jax.distributed import atomic, documents, processes, sums
from autoloss_jax.training import (
    checkpoint,
    controller_checkpoints,
    evaluation,
    frozen_controllers,
    metrics,
    regression,
    report,
    states,
    workdirs,
)
from autoloss_jax.training.callbacks import Callback, Callbacks
from autoloss_jax.training.evaluator import Evaluator, Watch, controller_end
from autoloss_jax.training.progress import Clock, Progress
from autoloss_jax.training.reporter import Reporter
from autoloss_jax.training.run import Run
from autoloss_jax.training.schedule import Schedule
from autoloss_jax.training.trainer import Trainer


def train(
    cfg: Config,
    workdir: Path,
    say: Callable[[str], None] = print,
    watch: Watch = lambda evaluations, val: None,
    *,
    shown: bool = True,
    callbacks: Iterable[Callback] = (),
) -> dict[str, Any]:
    """Train one config in `workdir`, or go on where an earlier call was stopped.

    Args:
        cfg: the run; its method must not need a search (`search.train` does those first).
        workdir: the run's folder, made if it is not there.
        say: takes a line for people.
        watch: sees every evaluation before its state is saved; what it raises ends the run.
        shown: with a bar, or a line per evaluation where there is no terminal.
        callbacks: hear of the training while it runs.

    Returns:
        The content of result.json.

    Raises:
        UserError: for what the user can mend, Diverged among it.
        workdirs.Preempted: a signal came; the state is saved.
    """
    run, told = Run.of(cfg), Callbacks(callbacks)
    with workdirs.locked(workdir), contextlib.ExitStack() as heeding:
        if finished := workdirs.finished_result(cfg, workdir):
            _refuse_other_data(run, workdir)
            say(f"{workdir}: this run is complete; nothing to do")
            return finished
        started = time.monotonic()
        trainer = Trainer.open(run, workdir, say)
        trainer.keep_noise()
        with checkpoint.folders(workdir) as (newest, best):
            state, progress = _start(trainer, newest, say)
            best.go_on_from(progress.best_step)
            clock, start = Clock(progress, started), int(state.step)
            evaluator = Evaluator(trainer, progress, best, watch)
            told.on_train_begin(cfg)
            with Reporter.open(trainer, progress, clock, start, told, shown=shown) as reporter:
                state = _loop(state, evaluator, reporter, newest, heeding)
            heeding.close()
            clock.restart()
            result = _result(trainer, progress, int(state.step))
        sums.keep(workdir, "metrics.jsonl", *controller_checkpoints.names(workdir))
        documents.write(workdir / "result.json", result)
        processes.wait()  # whatever comes next may read the run
        told.on_train_end(result)
        return result


def _refuse_other_data(run: Run, workdir: Path) -> None:
    """UserError where a finished run's data are no longer those that it was trained on."""
    try:
        now = pipeline.fingerprint(run.data)
    except UserError:  # they are gone: the run is what is left of them
        return
    if now != store.read_schema(workdir).fingerprint:
        raise UserError(
            f"{workdir}: the run here is complete, and was trained on other data than "
            f"--config.data.path={run.data.path} holds now; use another --workdir"
        )


def _start(
    trainer: Trainer, newest: checkpoint.Folder, say: Callable[[str], None]
) -> tuple[TrainState, Progress]:
    """The state of the newest whole checkpoint, or the initial one."""
    run, workdir = trainer.run, trainer.workdir
    step = newest.latest()
    if step is not None:
        meta = checkpoint.read_meta(step)
        workdirs.refuse_other_config(run.cfg, config.from_dict(meta["config"]), workdir)
        if meta["schema"]["fingerprint"] != trainer.store.schema.fingerprint:
            raise UserError(
                f"{workdir}: the data changed since step {step.name}; use another --workdir"
            )
        say(f"going on from step {step.name}")
        state = checkpoint.restore(step, run.abstract_state(trainer.al, trainer.mesh))
        return state, Progress(**meta["progress"])
    state = run.initial_state(trainer.al)
    if run.cfg.model.regression:
        state = regression.fitted(trainer.splits, trainer.store, state, trainer.mesh)
    if run.method.frozen:
        state = frozen_controllers.start(trainer, state)
    return state, Progress(share=[0.0] * len(run.pool))


def _loop(
    state: TrainState,
    evaluator: Evaluator,
    reporter: Reporter,
    newest: checkpoint.Folder,
    heeding: contextlib.ExitStack,
) -> TrainState:
    """Algorithm 1 from the state's step to convergence or the planned number of steps; from the
    first of them on a signal is heeded, as there is something to save.
    """
    trainer, progress, start = evaluator.trainer, evaluator.progress, int(state.step)
    schedule = Schedule(trainer.run.cfg.train, trainer.total_steps, trainer.evaluate_every)
    bounds = [start] if progress.stopped else schedule.bounds(start)
    blocks = zip(itertools.pairwise(bounds), trainer.feed.sources(bounds), strict=True)
    in_force = frozen_controllers.in_force(trainer, state)
    advance = _Blocks(trainer, reporter, profiled=bounds[:3][-1])
    interrupted: Callable[[], int] = lambda: 0  # noqa: E731
    for (begin, done), source in blocks:
        if begin == start or begin % trainer.evaluate_every == 0:
            state = in_force(state, begin)
        state = advance(state, source, done, controller_end(trainer, progress))
        if begin == start:
            interrupted = heeding.enter_context(workdirs.signals())
        due = schedule.after(done)
        if due.evaluate or due.log:
            state, record = reporter.record(state)
            if due.evaluate:
                state, evaluated = evaluator(state)
                record |= evaluated
                reporter.clock.restart()
            reporter.write(record)
        number = processes.greatest(interrupted())
        if due.evaluate or due.checkpoint or number:
            meta = checkpoint.meta(trainer.run.cfg, trainer.store.schema, progress)
            newest.save(done, state, meta)
        if number:
            raise workdirs.Preempted(number)
        if progress.stopped:
            break
    return state


class _Blocks:
    """Runs blocks of steps by one program, compiled before the first of them."""

    def __init__(self, trainer: Trainer, reporter: Reporter, profiled: int):
        self.trainer, self.reporter = trainer, reporter
        # the second block, or the only one
        profiles = trainer.run.cfg.run.profile and processes.is_chief()
        self.profiled = profiled if profiles else None
        self.program: Callable[..., TrainState] | None = None

    def __call__(self, state: TrainState, source: Any, stop: int, searched: np.int32) -> TrainState:
        """The state at step `stop`."""
        given = (state, source, np.int32(stop), searched)
        if self.program is None:
            self.program = self.reporter.compile(self.trainer.train_block, *given)
        if stop == self.profiled:
            folder = str(self.trainer.workdir / "profile")
            with jax.profiler.trace(folder, create_perfetto_trace=True):
                state = jax.block_until_ready(self.program(*given))
        else:
            state = self.program(*given)
        self.reporter.bar.step(stop)
        return state


def _result(trainer: Trainer, progress: Progress, steps: int) -> dict[str, Any]:
    """Restore the best state, touch test, and say what was found."""
    run, splits, schema = trainer.run, trainer.splits, trainer.store.schema
    cfg, best = run.cfg, checkpoint.newest(trainer.workdir / "best", progress.best_step)
    state = checkpoint.restore(best, run.abstract_state(trainer.al, trainer.mesh))
    trainer.keep_noise(state.controller.params)
    forward = functools.partial(evaluation.predictions, trainer.evaluate_step, trainer.mesh, state)
    val_logits, _ = forward(splits.val, cfg.train.eval_batch_size)
    calibration = evaluation.calibration(splits.val, val_logits)
    seconds = max(progress.train_seconds, 1e-9)
    return atomic.finite(
        report.head(cfg, cfg.model.label, schema.name)
        | {
            "steps": steps,
            "epochs": round(steps / trainer.epoch_steps, 4),
            "best_step": progress.best_step,
            "val": progress.best["val"],
            "test": _test_figures(splits.test, forward, cfg, calibration),
            "calibration": dataclasses.asdict(calibration),
            "examples_per_second": progress.timed_steps * cfg.train.batch_size / seconds,
            "compile_seconds": progress.compile_seconds,
            "wall_seconds": progress.wall_seconds,
            "selection": progress.best["selection"],
            "num_examples": {
                "train": sum(len(part["y"]) for part in splits.train),
                "val": schema.num_examples["val"],
                "test": len(splits.test["y"]),
            },
            **({"regression_share": float(state.regression.share)} if state.regression else {}),
            "num_params": states.num_params(state),
            "versions": report.versions(),
        }
    )


def _test_figures(
    rows: host.Split, forward: Callable, cfg: Config, calibration: metrics.Calibration
) -> dict[str, Any]:
    if not len(rows["y"]):
        return evaluation.NO_TEST
    logits, _ = forward(rows, cfg.train.eval_batch_size)
    found = evaluation.calibrated_figures(rows, logits, calibration)
    return found | evaluation.of_levels(rows, logits, formats.levels(cfg.data))
