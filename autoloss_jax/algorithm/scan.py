"""The program that trains: blocks of Algorithm 1 over a feed of batches."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax.algorithm import fused
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Batch, TrainState
from autoloss_jax.distributed import sharding


class Feed(Protocol):
    """Where batches come from; both functions are traced, and give the batch of a step (of a
    controller's step).
    """

    @property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices that share a batch."""
        ...

    def train_batch(self, source: Any, key: jax.Array, step: jax.Array) -> Batch:
        """W's batch of a step; key is the root key of the run."""
        ...

    def val_batch(self, source: Any, key: jax.Array, number: jax.Array) -> Batch:
        """V's batch of this number."""
        ...


Step = Callable[..., TrainState]  # (AutoLoss, state, W's batch, V's batch or none) -> state
NEVER = np.int32(np.iinfo(np.int32).max)  # no training has so many steps


def train_block(
    al: AutoLoss, feed: Feed, every: int, step: Step = fused.train_step
) -> Callable[..., TrainState]:
    """Algorithm 1 over a feed, jitted: (state, source, stop, searched) -> the state at step
    `stop`. The state is given away.

    V stands still from step `searched` on; left out, it never does.
    """

    def block(state, source, stop, searched=NEVER):
        state = algorithm1(al, feed, every, step, state, source, stop, searched)
        return sharding.Placement(feed.mesh)("state", state)

    return jax.jit(block, donate_argnums=0)


def algorithm1(
    al: AutoLoss,
    feed: Feed,
    every: int,
    step: Step,
    state: TrainState,
    source: Any,
    stop: jax.Array,
    searched: jax.Array | np.int32,
) -> TrainState:
    """From the state's step to `stop`, in one program: V moves before W in every `every`-th
    step, before step `searched`.

    The loops' lengths are not compiled in, so that cutting a run into other blocks changes no
    bit; and both updates are loops, never branches, which would copy the table.
    """

    def train(state):
        return step(al, state, feed.train_batch(source, state.key, state.step))

    def until(end, state):
        return jax.lax.while_loop(lambda s: s.step < end, train, state)

    def search(_, state):
        train_batch = feed.train_batch(source, state.key, state.step)
        val_batch = feed.val_batch(source, state.key, state.step // every)
        return step(al, state, train_batch, val_batch)

    def period(state):
        end = jnp.minimum(stop, (state.step // every + 1) * every)
        due = ((state.step % every == 0) & (state.step < searched)).astype(jnp.int32)
        state = jax.lax.fori_loop(0, due, search, state)
        return until(end, state)

    if al.taught_by != "val":
        return until(stop, state)
    return jax.lax.while_loop(lambda s: s.step < stop, period, state)
