"""AutoLoss (Zhao et al., KDD 2021): Algorithm 1 as the paper writes it.

Two networks learn in turn. The recommender has parameters W and maps an example to logits. The
controller has parameters V and maps the label y and the prediction y_hat to weights over
candidate losses. W learns on training batches, under V's weights. V learns on validation
batches, through a virtual step of W:

    for t in range(steps):
        if t % f == 0:
            state = controller_step(al, state, train_batch(t), val_batch(t // f))  # lines 2-4
        state = train_step(al, state, train_batch(t))                              # lines 5-6

This file is for reading, checking and changing. `fused` does the same in less time, and trains.

Beyond the paper, W may hold K recommenders (`members`): each learns from its own mixture, and V
from the mean of their logits.

Shapes: B batch, C logits, N candidates, K members.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from autoloss_jax.algorithm import losses, members
from autoloss_jax.algorithm.state import Batch, Metrics, OptState, Params, TrainState, stream

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # (logits [B, C], labels int32[B]) -> [B]


@dataclasses.dataclass(frozen=True)
class AutoLoss:
    """What never changes during a run; `examples/own_loop.py` makes one.

    A key of None means evaluation mode, without noise.
    """

    # (W, stats, batch, key) -> (output with .logits [K B, C], stats)
    recommender: Any
    # (V, stats, batch, y_hat [B, C], key) -> (log alpha [B, N], stats)
    controller: Any
    candidates: Any  # (output, batch, V) -> losses [B, N]
    weights: Callable[..., jax.Array]  # (key, log alpha [B, N], tau) -> p [B, N]
    temperature: Callable[[jax.Array], jax.Array]  # t -> tau
    optimizer: Any  # of W: a `state.Optimizer`
    controller_optimizer: optax.GradientTransformation  # of V
    taught_by: str = "val"  # the batch that teaches V: "val", "train" (as W), or "never"
    xi: float = 1e-3  # learning rate of the virtual step, Eq. (13); 0 = first order
    precondition: bool = False  # scale the virtual step as W's optimizer does; else SGD (paper)
    prior: Callable[..., jax.Array] | None = None  # V -> [], in V's objective
    val_loss: Loss | None = None  # what V minimises at W*(V); None: the mixture, Eq. (12) literally
    detach: bool = True  # no gradient of the W update through the controller's input
    members: int = 1  # K recommenders whose mean logit is the prediction
    shared: bool = False  # the members share parameters


def probabilities(logits: jax.Array) -> jax.Array:
    """y_hat, Eq. (6): sigmoid of one logit, softmax of several. [B, C] -> [B, C]."""
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits, axis=-1)


def mixed_loss(p: jax.Array, candidates: jax.Array) -> jax.Array:
    """sum_i p_i l_i, Eq. (11). [B, N], [B, N] -> [B]."""
    return jnp.sum(p * candidates, axis=-1)


def mixture(
    al: AutoLoss, output: Any, V: Params, state: TrainState, batch: Batch, key: jax.Array
) -> tuple[jax.Array, tuple[Params, Metrics]]:
    """L of the recommender's output under V's weights, Eq. (7)-(11): (L, (V's stats, Metrics)).

    Of several members that share nothing the sum, so that each moves as it would alone; of
    others the mean.
    """
    batch = members.repeated(batch, al.members)
    controller_key, weights_key = jax.random.split(key)
    candidates = al.candidates(output, batch, V)
    y_hat = probabilities(jax.lax.stop_gradient(output.logits) if al.detach else output.logits)
    noise = None if al.taught_by == "never" else controller_key
    log_alpha, stats = al.controller(V, state.controller.stats, batch, y_hat, noise)
    p = al.weights(weights_key, log_alpha, al.temperature(state.step))
    loss = jnp.mean(mixed_loss(p, candidates))
    total = loss if al.shared else al.members * loss
    return total, (stats, Metrics.of(loss, log_alpha, p))


def objective(
    al: AutoLoss, W: Params, V: Params, state: TrainState, batch: Batch, key: jax.Array
) -> tuple[jax.Array, tuple[tuple[Params, Params], Metrics]]:
    """L(W, V) on one batch: (L, ((W's stats, V's stats), Metrics))."""
    recommender_key, key = jax.random.split(key)
    output, drs_stats = al.recommender(W, state.drs.stats, batch, recommender_key)
    loss, (stats, metrics) = mixture(al, output, V, state, batch, key)
    return loss, ((drs_stats, stats), metrics)


def val_objective(al: AutoLoss, W: Params, V: Params, state: TrainState, batch: Batch) -> jax.Array:
    """L_val(W, V), Eq. (12), and V's prior if it has one."""
    key = stream(state.key, state.step, "outer")
    if al.val_loss is None:
        loss, _ = objective(dataclasses.replace(al, detach=False), W, V, state, batch, key)
    else:
        output, _ = al.recommender(W, state.drs.stats, batch, jax.random.split(key)[0])
        each = al.val_loss(members.mean(output.logits, al.members), batch["y"])
        loss = jnp.mean(losses.counted(each, batch))
    return loss + al.prior(V) if al.prior else loss


def virtual_step(
    al: AutoLoss, W: Params, gradient: Params, opt_state: OptState
) -> tuple[Params, Params]:
    """W* = W - xi P grad_W L_train(W, V), Eq. (13).

    Args: W and its `gradient`, trees of one shape; `opt_state`, that of W's optimizer.
    Returns: (W*, P), in the shape of W. P is 1, as in the paper, or what W's optimizer would scale
        this gradient with (`precondition`), held constant.
    """
    if al.precondition:
        scale = jax.lax.stop_gradient(al.optimizer.scale(gradient, opt_state))
    else:
        scale = jax.tree.map(jnp.ones_like, gradient)
    return jax.tree.map(lambda w, p, g: w - al.xi * p * g, W, scale, gradient), scale


def outer_loss(
    V: Params, al: AutoLoss, W: Params, state: TrainState, opt_state: OptState, batches
) -> jax.Array:
    """L_val(W*(V), V), Eq. (12) at Eq. (13): what V minimises.

    Args: V; W and `opt_state`, of the recommender, over rows that hold the ids of both batches;
        `batches`, one of train and one of validation.
    Returns: float[]. W* is the step that W is about to take, with the noise of that step.
    """
    batch, val_batch = batches
    key = stream(state.key, state.step, "train")
    in_W = jax.grad(objective, argnums=1, has_aux=True)
    gradient, _ = in_W(al, W, V, state, batch, key)
    W_star, _ = virtual_step(al, W, gradient, opt_state)
    return val_objective(al, W_star, V, state, val_batch)


def controller_step(al: AutoLoss, state: TrainState, batch: Batch, val_batch: Batch) -> TrainState:
    """Lines 2-4: V descends the gradient of `outer_loss`, through the virtual step. W stays.

    Args: `batch` of train and `val_batch` of validation, {"x": int32[B, S], "y": int32[B], ...}.
    Returns: the state with V and its optimizer's state moved.
    """
    W, opt_state = al.optimizer.settle(state.drs.params, state.drs.opt_state, state.lr_scale)
    V, batches = state.controller.params, (batch, val_batch)
    gradient = jax.grad(outer_loss)(V, al, W, state, opt_state, batches)
    controller = state.controller.descend(al.controller_optimizer, gradient)
    return state.replace(controller=controller)


def train_step(al: AutoLoss, state: TrainState, batch: Batch) -> TrainState:
    """Lines 5-6: W descends grad_W L_train(W, V). A V that learns on train (SLF) does too.

    Args: `batch` of train, {"x": int32[B, S], "y": int32[B], ...}.
    Returns: the state one step on. The running statistics of both networks move here: once a
        step, whatever f is.
    """
    key = stream(state.key, state.step, "train")

    def gradient(W, opt_state, x):
        in_both = jax.grad(objective, argnums=(1, 2), has_aux=True)
        (grad_W, grad_V), ((stats, controller_stats), metrics) = in_both(
            al, W, state.controller.params, state, {**batch, "x": x}, key
        )
        controller = state.controller
        if al.taught_by == "train":
            controller = controller.descend(al.controller_optimizer, grad_V)
        return grad_W, (stats, controller.replace(stats=controller_stats), metrics)

    return state.advance(al.optimizer, gradient, batch["x"])


def step(
    al: AutoLoss, state: TrainState, batch: Batch, val_batch: Batch | None = None
) -> TrainState:
    """One turn of Algorithm 1's loop: V moves first where a batch of val is given, then W."""
    if val_batch is not None:
        state = controller_step(al, state, batch, val_batch)
    return train_step(al, state, batch)
