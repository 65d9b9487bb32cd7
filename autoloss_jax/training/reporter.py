"""What a training tells while it runs: the bar, metrics.jsonl and TensorBoard."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.distributed.bar import Bar
from autoloss_jax.training import report
from autoloss_jax.training.callbacks import Callback
from autoloss_jax.training.evaluator import require_finite
from autoloss_jax.training.progress import Clock, Progress
from autoloss_jax.training.trainer import Trainer


class Reporter:
    """Of one training, from the step at which it begins or goes on."""

    def __init__(
        self,
        trainer: Trainer,
        progress: Progress,
        clock: Clock,
        bar: Bar,
        log: report.Log,
        callback: Callback,
    ):
        self.trainer, self.progress, self.clock = trainer, progress, clock
        self.bar, self.log, self.callback = bar, log, callback
        self.evaluated = progress.wall_seconds  # when the last evaluation had ended

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        trainer: Trainer,
        progress: Progress,
        clock: Clock,
        start: int,
        callback: Callback,
        *,
        shown: bool,
    ) -> Iterator["Reporter"]:
        """A reporter whose bar and files are closed in the end."""
        cfg = trainer.run.cfg
        title = f"{cfg.method.name} {cfg.model.label} {cfg.data.name}"
        log = report.Log(trainer.workdir, start, cfg)
        with contextlib.closing(log), Bar(title, trainer.total_steps, start, shown=shown) as bar:
            yield cls(trainer, progress, clock, bar, log, callback)

    def record(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """What happened since the last record; the state's metrics start again from zero."""
        trainer, progress = self.trainer, self.progress
        sums = jax.device_get(state.metrics)
        steps, step, pool = float(sums.steps), int(state.step), tuple(trainer.run.pool)
        require_finite(float(sums.loss), "training", step)
        progress.add_share(sums.share, steps)

        def means(sums: Any) -> dict[str, float]:
            return {name: float(a) / steps for name, a in zip(pool, sums, strict=True)}

        record = {
            "step": step,
            "epoch": step / trainer.epoch_steps,
            "loss": float(sums.loss) / steps,
            "tau": float(trainer.al.temperature(jnp.asarray(step))),
            "alpha": means(sums.alpha),
            "share": means(sums.share),
            "entropy": float(sums.entropy) / steps,
            "examples_per_second": self.clock.lap(int(steps)) * trainer.run.cfg.train.batch_size,
        }
        return state.replace(metrics=jax.tree.map(jnp.zeros_like, state.metrics)), record

    def compile(self, jitted: Any, *args: Any) -> Callable[..., TrainState]:
        """`jitted` compiled for these arguments, which takes seconds, so that it is said."""
        self.bar.say("compiling the training step")
        self.bar.note("compiling")
        before = self.progress.compile_seconds
        compiled = self.clock.compile(jitted, *args)
        self.bar.note("")
        self.bar.say(f"compiled in {self.progress.compile_seconds - before:.1f} s")
        return compiled

    def write(self, record: dict[str, Any]) -> None:
        """Show a record, with a line where it is of an evaluation, log it, and tell of it."""
        self.bar.note(_note(record, self.progress))
        if "val" in record:
            seconds = self.progress.wall_seconds - self.evaluated
            self.evaluated = self.progress.wall_seconds
            self.bar.say(_line(record, self.progress, seconds))
        self.log.write(record)
        figures = report.scalars(record)
        val = {name: value for name, value in figures.items() if name.startswith("val/")}
        self.callback.on_log(record["step"], {k: v for k, v in figures.items() if k not in val})
        if val:
            self.callback.on_evaluate(record["step"], val)


def _note(record: dict[str, Any], progress: Progress) -> str:
    """What there is room for beside a bar: the loss, and the best validation figure so far."""
    val = progress.best.get("val")
    best = f", best AUC {_auc(val)}" if val else ""
    return f"loss {record['loss']:.4f}{best}"


def _line(record: dict[str, Any], progress: Progress, seconds: float) -> str:
    """One line for people about an evaluation, `seconds` after the last one."""
    val = record["val"]
    parts = [
        f"epoch {record['epoch']:.4g}",
        f"loss {record['loss']:.4f}",
        f"val AUC {_auc(val)}",
        f"logloss {val['logloss']:.5f}",
        f"{seconds:.1f} s",
        f"{record['examples_per_second']:,.0f} examples/s",
    ]
    stalled = f" (best at step {progress.best_step})" if progress.stalled else ""
    still = f", controller still since step {progress.searched}" if progress.searched else ""
    return ", ".join(parts) + stalled + still


def _auc(val: dict[str, Any]) -> str:
    return "-" if val["auc"] is None else f"{val['auc']:.5f}"
