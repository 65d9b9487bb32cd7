"""Evaluation during training: figures on the early-stopping rows, and what follows from them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autoloss_jax.algorithm import scan
from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.config import Config
from autoloss_jax.config.errors import UserError
from autoloss_jax.models.regression import blend
from autoloss_jax.training import checkpoint, controller_checkpoints, evaluation, regression
from autoloss_jax.training.progress import Progress
from autoloss_jax.training.trainer import Trainer

Watch = Callable[[int, dict[str, Any]], None]  # (how many evaluations so far, the latest figures)


MONITORED = {
    "auc": "AUC",
    "logloss": "logloss",
    "calibrated": "calibrated logloss",
}  # train.monitor, for people


class Diverged(UserError):
    """A loss is not finite any more."""


class Evaluator:
    """Keeps the best state, lowers the learning rate, and decides when training, or V, stops."""

    def __init__(self, trainer: Trainer, progress: Progress, best: checkpoint.Folder, watch: Watch):
        self.trainer, self.progress, self.best, self.watch = trainer, progress, best, watch
        self.of_regression: np.ndarray | None = None  # its logits of validation, which stay

    def __call__(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """(The state, every row of it up to date; {"val": figures, ...}) after an evaluation."""
        trainer, step = self.trainer, int(state.step)
        if trainer.al.taught_by != "never":
            controller_checkpoints.write(trainer.workdir, step, state.controller)
        state, val = self._validate(trainer.settle(state), step)
        record: dict[str, Any] = {"val": val}
        still_learns = step < controller_end(trainer, self.progress)
        if trainer.agreement and (trainer.run.cfg.run.gradient_agreement or still_learns):
            record["gradient_agreement"] = trainer.agreement(state)
            self._heed(record["gradient_agreement"], step)
        self.watch(-(-step // trainer.evaluate_every), val)
        return state, record

    def _validate(self, state: TrainState, step: int) -> tuple[TrainState, dict[str, Any]]:
        """Figures on the early-stopping rows, and the state that goes on."""
        trainer, progress, cfg = self.trainer, self.progress, self.trainer.run.cfg
        rows = trainer.splits.val
        state, logits, losses = self._predictions(state)
        val = evaluation.figures(rows, logits) | {"loss": float(losses.mean())}
        if cfg.train.monitor == "calibrated":
            val["logloss_calibrated"] = evaluation.calibrated(rows, logits)
        require_finite(val["logloss"], "validation", step)
        progress.latest = [*progress.latest, monitored(cfg, val)][-cfg.train.smooth :]
        value = float(np.mean(progress.latest))
        early = step <= cfg.train.smooth * trainer.evaluate_every  # no figure is an average before
        selection = progress.take_share(tuple(trainer.run.pool))
        if early or progress.best_value is None or value > progress.best_value + 1e-6:
            progress.best_step, progress.best_value, progress.stalled = step, value, 0
            progress.best = {"val": val, "selection": selection}
            self.best.save(step, state, checkpoint.meta(cfg, trainer.store.schema, progress))
        else:
            progress.stalled += 1
            state = state.replace(lr_scale=state.lr_scale * cfg.optimizer.decay)
        progress.stopped = progress.stalled >= cfg.train.patience
        return state, val

    def _predictions(self, state: TrainState) -> tuple[TrainState, np.ndarray, np.ndarray]:
        """(The state, with the share that suits its regression, if it has one; logits; mixed
        losses) of the early-stopping rows.
        """
        trainer, rows, beside = self.trainer, self.trainer.splits.val, state.regression
        forward = functools.partial(
            evaluation.predictions,
            trainer.evaluate_step,
            trainer.mesh,
            split=rows,
            batch_size=trainer.run.cfg.train.eval_batch_size,
        )
        if beside is None:
            return state, *forward(state)
        if self.of_regression is None:
            self.of_regression, _ = forward(state.replace(regression=beside.with_share(1.0)))
        logits, losses = forward(state.replace(regression=beside.with_share(0.0)))
        share = regression.best_share(rows, logits, self.of_regression)
        logits = blend(logits, self.of_regression, share)
        return state.replace(regression=beside.with_share(share)), logits, losses

    def _heed(self, agreement: float, step: int) -> None:
        """Below the least agreement for the second time in a row, V stands still from here on."""
        least, progress = self.trainer.run.cfg.method.min_agreement, self.progress
        if least and progress.searched is None:
            progress.faint = 0 if agreement >= least else progress.faint + 1
            if progress.faint == 2:
                progress.searched = step


def controller_end(trainer: Trainer, progress: Progress) -> np.int32:
    """The step from which V stands still: after its epochs, or where its gradients disagreed."""
    ends = (trainer.run.cfg.method.epochs * trainer.epoch_steps, progress.searched)
    return min((np.int32(end) for end in ends if end), default=scan.NEVER)


def monitored(cfg: Config, val: Mapping[str, Any]) -> float:
    """The validation figure that decides, greater is better; UserError where it is undefined."""
    if cfg.train.monitor != "auc":
        return -val["logloss" if cfg.train.monitor == "logloss" else "logloss_calibrated"]
    if val["auc"] is None:
        raise UserError(
            f"validation AUC is undefined ({val['auc_undefined']}); set "
            "--config.train.monitor=logloss"
        )
    return val["auc"]


def require_finite(loss: float, which: str, step: int) -> None:
    """The last checkpoint stays: nothing is saved of a run that has diverged."""
    if not np.isfinite(loss):
        raise Diverged(
            f"the {which} loss is not finite by step {step}; lower "
            "--config.optimizer.learning_rate, or clip with --config.optimizer.clip_norm=10"
        )
