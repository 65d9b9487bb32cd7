"""The frozen controller of another run: its best one for good, or its snapshots in turn as its own training made them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from autoloss_jax import checkpoint, config, methods, sharding, snapshots
from autoloss_jax.autoloss import TrainState
from autoloss_jax.session import Session
from autoloss_jax.settings import UserError

InForce = Callable[
    [TrainState, int], TrainState
]  # (state, its step) -> the state with the controller in force


def start(session: Session, state: TrainState) -> TrainState:
    """The state of a first step, with the controller of the source's best checkpoint; UserError if it does not fit."""
    loaded = checkpoint.load(checkpoint.newest(_source(session) / "best"))
    _refuse_misfit(session, state, loaded.cfg, loaded.schema.num_classes, loaded.state.controller.params)
    return state.replace(controller=sharding.put_state(session.mesh, loaded.state.controller))


def in_force(session: Session, state: TrainState) -> InForce:
    """Which controller weighs the losses from a step on: the state's, unless the policy is to replay the source.

    Then it is, in the e-th period between evaluations, the source's snapshot of its e-th evaluation, and the last one
    after that: a function of the step alone. UserError if the source is unfinished, left none, or they do not fit.
    """
    method = session.cfg.method
    if method.name not in methods.FROZEN or methods.policy(method) != "replay":
        return lambda state, step: state
    source = _source(session)
    left = list(snapshots.read(source).values())
    if not left or not (source / "result.json").exists():
        raise UserError(
            f"--config.method.transfer_from={source}: replay wants a finished run with snapshots in {source / 'controllers'}; "
            "train it (to its end, or again in a new workdir), or set --config.method.policy=mean"
        )
    loaded = checkpoint.read_meta(checkpoint.newest(source / "best"))
    _refuse_misfit(
        session, state, config.from_dict(loaded["config"]), loaded["schema"]["num_classes"], left[0][0]
    )

    def replayed(state: TrainState, step: int) -> TrainState:
        snapshot = left[min(step // session.evaluate_every, len(left) - 1)]
        # a copy: a step gives its state away
        params, stats = sharding.put(session.mesh, "state", jax.tree.map(jnp.array, snapshot))
        return state.replace(controller=state.controller.replace(params=params, stats=stats))

    return replayed


def _source(session: Session) -> Path:
    return Path(session.cfg.method.transfer_from)


def _refuse_misfit(session: Session, state: TrainState, theirs: config.Config, classes: int, V: Any) -> None:
    pool = tuple(methods.resolve(theirs.method)[1])
    if checkpoint.signature(V) != checkpoint.signature(state.controller.params) or pool != session.pool:
        raise UserError(
            f"--config.method.transfer_from={_source(session)}: its controller ({pool}, {theirs.method.hidden}, "
            f"{classes} classes) does not fit this run's pool, method.hidden or number of classes"
        )
