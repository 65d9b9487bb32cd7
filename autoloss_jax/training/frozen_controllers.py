"""The frozen controller of another run: its best one for good, or its snapshots in turn as its
own training made them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import methods
from autoloss_jax.algorithm.autoloss import TrainState
from autoloss_jax.algorithm.controller import ensemble, with_context_rows
from autoloss_jax.config import import_string
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.distributed import sharding
from autoloss_jax.training import checkpoint, controller_checkpoints
from autoloss_jax.training.controller_checkpoints import Snapshot
from autoloss_jax.training.trainer import Trainer

# (state, its step) -> the state with the controller in force
InForce = Callable[[TrainState, int], TrainState]


def sources(folder: Path, folds: int) -> list[Path]:
    """The runs whose controllers are taken together: that of the folder, or one of each fold in
    it.
    """
    return [folder] if folds == 1 else [folder / f"fold-{k}" for k in range(folds)]


def finished(folder: Path) -> list[Path]:
    """Those of them that are there and have ended."""
    return _ended(folder, "result.json", "fold-*/result.json")


def trainings(folder: Path) -> list[Path]:
    """The same, and the first models (`training.first_model`) before them."""
    first = "first_model/result.json"
    before = _ended(folder, first, f"search/{first}", f"fold-*/search/{first}")
    return [*before, *finished(folder)]


def _ended(folder: Path, *patterns: str) -> list[Path]:
    return [result.parent for path in patterns for result in sorted(folder.glob(path))]


def start(trainer: Trainer, state: TrainState) -> TrainState:
    """The state of a first step, with the controller of the source's best checkpoint; UserError
    if it does not fit.
    """
    best = []
    for source in _sources(trainer):
        loaded = checkpoint.load(checkpoint.best(source))
        V = with_context_rows(loaded.state.controller.params, _rows(trainer, source))
        best.append((V, loaded.state.controller.stats))
        _refuse_misfit(trainer, state, source, loaded.cfg, loaded.schema.num_classes, V)
    return _with(trainer, state, best)


def in_force(trainer: Trainer, state: TrainState) -> InForce:
    """Which controller weighs the losses from a step on: the state's, unless the policy is to
    replay the source.

    Then it is, in the e-th period between evaluations, the source's snapshot of its e-th
    evaluation, and the last one after that: a function of the step alone. UserError if the
    source is unfinished, left none, or they do not fit.
    """
    if not (trainer.run.method.frozen and trainer.run.policy == "replay"):
        return lambda state, step: state
    histories = [_history(trainer, state, source) for source in _sources(trainer)]

    def replayed(state: TrainState, step: int) -> TrainState:
        evaluation = step // trainer.evaluate_every
        return _with(trainer, state, [left[min(evaluation, len(left) - 1)] for left in histories])

    return replayed


def _history(trainer: Trainer, state: TrainState, source: Path) -> list[Snapshot]:
    """The snapshots of a finished source that fits; UserError for another."""
    rows = _rows(trainer, source)
    left = [
        (with_context_rows(V, rows), stats)
        for V, stats in controller_checkpoints.read(source).values()
    ]
    if not left or not (source / "result.json").exists():
        raise UserError(
            f"--config.method.transfer_from={source}: replay wants a finished run with snapshots "
            f"in {source / 'controllers'}; train it (to its end, or again in a new workdir), or "
            "set --config.method.policy=mean"
        )
    loaded = checkpoint.read_meta(checkpoint.best(source))
    theirs, classes = config.from_dict(loaded["config"]), loaded["schema"]["num_classes"]
    with import_string.asked_by(source):
        _refuse_misfit(trainer, state, source, theirs, classes, left[0][0])
    return left


def _rows(trainer: Trainer, source: Path) -> dict[int, np.ndarray]:
    """Of each field that the controller sees, int[values here]: the source's row of a value, 0
    where it knows none.

    The source had a vocabulary of its own. Rows of hashed fields are the same everywhere, and
    left out.
    """
    found = {}
    for k, name in enumerate(trainer.run.sees):
        ours, theirs = (store.words(folder, name) for folder in (trainer.store.path, source))
        if ours and theirs:
            places = {word: row for row, word in enumerate(theirs, 1)}
            found[k] = np.array([0, *(places.get(word, 0) for word in ours)])
    return found


def _with(trainer: Trainer, state: TrainState, controllers: list[Snapshot]) -> TrainState:
    """The state under these controllers, one or an ensemble."""
    # copies: a step gives its state away
    copies = tuple(ensemble(trees) for trees in zip(*controllers, strict=True))
    params, stats = sharding.put(trainer.mesh, "state", copies)
    return state.replace(controller=state.controller.replace(params=params, stats=stats))


def _sources(trainer: Trainer) -> list[Path]:
    method = trainer.run.cfg.method
    return sources(Path(method.transfer_from), method.folds)


def _refuse_misfit(
    trainer: Trainer, state: TrainState, source: Path, theirs: config.Config, classes: int, V: Any
) -> None:
    pool = tuple(methods.parse_pool(theirs.method))
    fitting = checkpoint.signature(ensemble([V] * trainer.run.cfg.method.folds))
    if fitting != checkpoint.signature(state.controller.params) or pool != tuple(trainer.run.pool):
        raise UserError(
            f"--config.method.transfer_from={source}: its controller ({pool}, "
            f"{theirs.method.hidden}, {classes} classes) does not fit this run's pool, "
            "method.hidden or number of classes"
        )
