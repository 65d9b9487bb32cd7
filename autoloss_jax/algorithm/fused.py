"""Algorithm 1 in less time: the steps of `autoloss`, with one forward pass for both updates.

A controller step in `autoloss` runs the recommender forwards and backwards twice on the training
batch, over the whole table. Here V's hypergradient and W's gradient share one forward pass, the
chain rule is applied at the logits, and only the rows that the two batches touch take part. The
result is the same up to rounding: `tests/test_fused.py` holds them equal in float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from autoloss_jax.algorithm.autoloss import (
    AutoLoss,
    mixture,
    val_objective,
    virtual_step,
)
from autoloss_jax.algorithm.state import Batch, OptState, Params, TrainState, stream


class Pass(NamedTuple):
    """A forward pass, to be differentiated in either direction, more than once."""

    output: Any  # of the recommender
    stats: Params  # of its batch normalisation, after it
    along: Callable[[Params], Any]  # J u: what moving W along u does to the output
    back: Callable[[Any], tuple[Params]]  # (J' r,): the gradient in W, for r in the output
    loss: Callable[[Any, Params], Any]  # (output, V) -> L_train, and what else `mixture` gives


def forward_pass(al: AutoLoss, W: Params, state: TrainState, batch: Batch) -> Pass:
    """The recommender on the train batch at W, in training mode, with the noise of this step."""
    key, mixture_key = jax.random.split(stream(state.key, state.step, "train"))
    output, along, stats = jax.linearize(
        lambda W: al.recommender(W, state.drs.stats, batch, key), W, has_aux=True
    )

    def loss(output, V):
        return mixture(al, output, V, state, batch, mixture_key)

    return Pass(output, stats, along, jax.linear_transpose(along, W), loss)


def hypergradient(
    V: Params,
    al: AutoLoss,
    W: Params,
    state: TrainState,
    opt_state: OptState,
    train_pass: Pass,
    val_batch: Batch,
) -> Params:
    """grad_V of `autoloss.outer_loss`, exact, by the chain rule.

    With z the output of a train batch, J = dz/dW and r(V) = dL_train/dz: grad_W L_train is J'
    r(V). With v = grad_W L_val at W*, what V does through W* is -xi (dr/dV)' J P v. One forward
    pass of the train batch serves all of it, and the recommender is not differentiated twice.
    """
    if not al.xi:  # first order: the direct term
        return jax.grad(val_objective, argnums=2)(al, W, V, state, val_batch)
    r, taught = jax.vjp(
        lambda V: jax.grad(train_pass.loss, has_aux=True)(train_pass.output, V)[0], V
    )
    (gradient,) = train_pass.back(r)
    W_star, scale = virtual_step(al, W, gradient, opt_state)
    v, direct = jax.grad(val_objective, argnums=(1, 2))(al, W_star, V, state, val_batch)
    (through,) = taught(train_pass.along(jax.tree.map(jnp.multiply, scale, v)))
    return jax.tree.map(lambda d, t: d - al.xi * t, direct, through)


def train_step(
    al: AutoLoss, state: TrainState, batch: Batch, val_batch: Batch | None = None
) -> TrainState:
    """`autoloss.step`: where a batch of val is given V moves first, then W."""
    looked_at = () if val_batch is None else (val_batch["x"],)

    def gradient(W, opt_state, x, *val_x):
        train_pass = forward_pass(al, W, state, {**batch, "x": x})
        controller = state.controller
        if val_batch is not None:
            val = {**val_batch, "x": val_x[0]}
            grad_V = hypergradient(controller.params, al, W, state, opt_state, train_pass, val)
            controller = controller.descend(al.controller_optimizer, grad_V)
        (r, grad_V), (stats, metrics) = jax.grad(train_pass.loss, argnums=(0, 1), has_aux=True)(
            train_pass.output, controller.params
        )
        if al.taught_by == "train":
            controller = controller.descend(al.controller_optimizer, grad_V)
        new = (train_pass.stats, controller.replace(stats=stats), metrics)
        return train_pass.back(r)[0], new

    return state.advance(al.optimizer, gradient, batch["x"], *looked_at)
