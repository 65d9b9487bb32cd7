"""What Algorithm 1 changes (TrainState), and what it needs of the optimizer that trains W.

Shapes: B batch, F fields, S slots (a bag has several), R row (embedding, first-order weights),
C logits, N candidates.
"""

import zlib
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

from autoloss_jax.models.regression import Regression

Params = Any
OptState = Any
# x: int32[B, S], y: int32[B], and what else the networks read (`networks`)
Batch = dict[str, jax.Array]


class Network(struct.PyTreeNode):
    """What changes while one network trains."""

    params: Params
    stats: Params  # running statistics of batch normalisation
    opt_state: OptState

    def descend(self, tx: optax.GradientTransformation, gradient: Params) -> "Network":
        """The network after one step of its optimizer along `gradient`."""
        updates, opt_state = tx.update(gradient, self.opt_state, self.params)
        return self.replace(params=optax.apply_updates(self.params, updates), opt_state=opt_state)


class Metrics(struct.PyTreeNode):
    """Sums over training steps since the last log line; `steps` of them."""

    steps: jax.Array
    loss: jax.Array
    alpha: jax.Array  # [N]
    share: jax.Array  # [N], how often each loss had the largest weight
    entropy: jax.Array  # of alpha, in nats

    @classmethod
    def of(cls, loss: jax.Array, log_alpha: jax.Array, p: jax.Array) -> "Metrics":
        """Of one step: its loss, the controller's log alpha [B, N] and the weights p [B, N]."""
        alpha = jnp.exp(log_alpha)
        largest = (p == jnp.max(p, axis=-1, keepdims=True)).astype(
            p.dtype
        )  # ties share the example
        return cls(
            steps=jnp.ones((), loss.dtype),
            loss=loss,
            alpha=jnp.mean(alpha, axis=0),
            share=jnp.mean(largest / jnp.sum(largest, axis=-1, keepdims=True), axis=0),
            entropy=-jnp.mean(jnp.sum(alpha * log_alpha, axis=-1)),
        )

    @classmethod
    def empty(cls, num_losses: int) -> "Metrics":
        """Of no step."""
        zero = jnp.zeros(())
        return cls(zero, zero, jnp.zeros(num_losses), jnp.zeros(num_losses), zero)


class TrainState(struct.PyTreeNode):
    """Everything that a run must restore: arrays only.

    `drs` is the recommender (W, its running statistics, its optimizer's state), `controller` the
    same of V. A step of Algorithm 1 takes a state and gives the next one.
    """

    step: jax.Array  # int32[], W updates so far: t in tau(t), and the position in the data
    key: jax.Array  # root PRNG key; never split, only folded with (step, name)
    lr_scale: jax.Array  # float32[], falls when validation stalls
    drs: Network  # W
    controller: Network  # V
    metrics: Metrics
    regression: Regression | None = None  # beside the recommender; no step touches it

    def advance(
        self,
        optimizer: "Optimizer",
        gradient: Callable[..., Any],
        x: jax.Array,
        *looked_at: jax.Array,
    ) -> "TrainState":
        """The state after one step of W along `gradient` over the rows of x.

        What `gradient` returns beside it is (W's new statistics, the new controller, Metrics).
        """
        W, opt_state, (stats, controller, metrics) = optimizer.step(
            self.drs.params, self.drs.opt_state, self.lr_scale, gradient, x, *looked_at
        )
        return self.replace(
            step=self.step + 1,
            drs=Network(W, stats, opt_state),
            controller=controller,
            metrics=jax.tree.map(jnp.add, self.metrics, metrics),
        )


class Optimizer(Protocol):
    """What trains W = {"rows": [any, R], "dense": {...}}. It alone knows the whole table.

    It hands out rows, with the state beside them, and takes them back (`models.embeddings`).
    """

    @property
    def table(self) -> Any:
        """What the table is, and where: `models.embeddings.lookup.Table`."""

    def init(self, W: Params) -> OptState:
        """The state before the first step."""

    def step(
        self,
        W: Params,
        opt_state: OptState,
        lr_scale: jax.Array,
        gradient: Callable[..., Any],
        x: jax.Array,
        *looked_at: jax.Array,
    ) -> tuple[Params, OptState, Any]:
        """(W, state, aux) after one step along g; (g, aux) = gradient(W, state, x, *looked_at).

        `gradient` is given W and the state over some rows that hold all these ids, and ids into
        those rows. Only the rows of x may move.
        """

    def settle(
        self, W: Params, opt_state: OptState, lr_scale: jax.Array
    ) -> tuple[Params, OptState]:
        """Every row brought up to date."""

    def scale(self, gradient: Params, opt_state: OptState) -> Params:
        """The factor of each coordinate in the next step, without rate and momentum."""


def stream(key: jax.Array, step: jax.Array | int, name: str) -> jax.Array:
    """The PRNG key of (root key, step, name). Nothing is carried: a resumed step replays itself."""
    name_hash = zlib.crc32(name.encode()) & 0x7FFFFFFF
    return jax.random.fold_in(jax.random.fold_in(key, step), name_hash)
