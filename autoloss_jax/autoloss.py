"""AutoLoss (Zhao et al., KDD 2021): Algorithm 1, top to bottom.

Two networks are trained in turn. The recommender (DRS) has parameters W and maps features x to
logits; the controller has parameters V and maps (y, y_hat) to weights over candidate losses. W learns
on training batches. V learns on validation batches, through a virtual step of W, differentiated
exactly. Networks, losses and optimisers arrive as arguments: nothing here knows a model or a dataset.

Shapes: B batch, F fields, R row (embedding and first-order weights), C logits, N candidate losses.
W = {"rows": [num_rows, R], "dense": {...}}: whatever gathers rows by id, `localise` included, leaves an
ordinary pytree behind, so that every function below is indifferent to where the rows come from.
"""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

Params = Any
Batch = dict[str, jax.Array]  # x: int32[B, F], y: int32[B]
Loss = Callable[[jax.Array, jax.Array], jax.Array]  # (logits [B, C], labels int32[B]) -> [B]


class Network(struct.PyTreeNode):
    """What changes while one network trains."""

    params: Params
    stats: Params  # running statistics of batch normalisation
    opt_state: optax.OptState


class Metrics(struct.PyTreeNode):
    """Sums over training steps since the last log line; `steps` of them."""

    steps: jax.Array
    loss: jax.Array
    alpha: jax.Array  # [N]
    share: jax.Array  # [N], how often each loss had the largest weight
    entropy: jax.Array  # of alpha, in nats


class TrainState(struct.PyTreeNode):
    """Everything that a run must restore: arrays only."""

    step: jax.Array  # int32[], W updates so far: t in tau(t), and the position in the data
    key: jax.Array  # root PRNG key; never split, only folded with (step, name)
    lr_scale: jax.Array  # float32[], falls when validation stalls
    drs: Network  # W
    controller: Network  # V
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class AutoLoss:
    """What never changes during a run. A method of the paper is a choice of `weights`, `controller` and `taught_by`."""

    drs: Any  # linen module: (rows [B, F, R], train) -> logits [B, C]
    controller: Any  # linen module: (labels [B], y_hat [B, C], train) -> log alpha [B, N]
    losses: tuple[Loss, ...]
    weights: Callable[..., jax.Array]  # (key, log_alpha [B, N], tau) -> p [B, N]
    temperature: Callable[[jax.Array], jax.Array]  # t -> tau
    drs_tx: optax.GradientTransformation
    controller_tx: optax.GradientTransformation
    taught_by: str = (
        "val"  # the batch that teaches V: "val" (through the virtual step), "train" (joint), "never"
    )
    xi: float = 1e-3  # learning rate of the virtual step, Eq. (13); 0 = first order
    precondition: Callable[..., Params] | None = (
        None  # (gradient, optimiser state of W) -> direction; None = SGD
    )
    val_loss: Loss | None = None  # what V minimises at W*(V); None = the mixture, Eq. (12) read literally
    detach: bool = True  # no gradient of the W update through the controller's input


def stream(key: jax.Array, step: jax.Array | int, name: str) -> jax.Array:
    """The PRNG key of (root key, step, name): nothing is carried, so a resumed step replays itself."""
    return jax.random.fold_in(jax.random.fold_in(key, step), zlib.crc32(name.encode()) & 0x7FFFFFFF)


def annealed_temperature(step: jax.Array, *, floor: float = 0.01, horizon: int = 19_800) -> jax.Array:
    """Tau = max(floor, 1 - (1 - floor) t / horizon); the defaults are max(0.01, 1 - 0.00005 t), Section 3.3."""
    return jnp.maximum(floor, 1.0 - (1.0 - floor) / horizon * step)


def alpha_weights(key: jax.Array, log_alpha: jax.Array, tau: jax.Array) -> jax.Array:
    """P = alpha, Eq. (8): no selection (AL-1, AL-2, DARTS). [B, N] -> [B, N]."""
    del key, tau
    return jnp.exp(log_alpha)


def gumbel_softmax(key: jax.Array, log_alpha: jax.Array, tau: jax.Array, *, hard: bool = False) -> jax.Array:
    """A relaxed one-hot choice of a loss per example, Eq. (10); straight-through if `hard`, Eq. (9). [B, N] -> [B, N]."""
    noise = jax.random.gumbel(key, log_alpha.shape, log_alpha.dtype)
    p = jax.nn.softmax((log_alpha + noise) / tau, axis=-1)
    if not hard:
        return p
    z = jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[-1], dtype=p.dtype)
    return z + p - jax.lax.stop_gradient(p)


def probabilities(logits: jax.Array) -> jax.Array:
    """y_hat, Eq. (6): sigmoid of one logit, softmax of several. [B, C] -> [B, C]."""
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits, axis=-1)


def mixed_loss(p: jax.Array, candidates: jax.Array) -> jax.Array:
    """sum_i p_i l_i, Eq. (11). [B, N], [B, N] -> [B]."""
    return jnp.sum(p * candidates, axis=-1)


def forward(
    al: AutoLoss, W: Params, stats: Params, x: jax.Array, dropout_key: jax.Array | None = None
) -> tuple[jax.Array, Params]:
    """(Logits [B, C], new batch statistics) of ids x int32[B, F]; without a key, in evaluation mode."""
    rows = W["rows"].at[x].get(mode="promise_in_bounds")  # ids are checked on the host
    return _apply(al.drs, W["dense"], stats, dropout_key, rows)


def _apply(network, params, stats, dropout_key, *inputs):
    variables = {"params": params, "batch_stats": stats}
    if dropout_key is None:
        return network.apply(variables, *inputs, train=False), stats
    output, new = network.apply(
        variables, *inputs, train=True, rngs={"dropout": dropout_key}, mutable=["batch_stats"]
    )
    return output, new.get("batch_stats", stats)


def objective(
    al: AutoLoss, W: Params, V: Params, state: TrainState, batch: Batch, key: jax.Array, *, detach: bool
):
    """L(W, V) on one batch, Eq. (7)-(11), and what else a step needs: (batch statistics of both networks, Metrics)."""
    drs_key, controller_key, weights_key = jax.random.split(key, 3)
    logits, drs_stats = forward(al, W, state.drs.stats, batch["x"], drs_key)
    candidates = jnp.stack([loss(logits, batch["y"]) for loss in al.losses], axis=-1)
    y_hat = probabilities(jax.lax.stop_gradient(logits) if detach else logits)
    frozen = al.taught_by == "never"
    log_alpha, controller_stats = _apply(
        al.controller, V, state.controller.stats, None if frozen else controller_key, batch["y"], y_hat
    )
    p = al.weights(weights_key, log_alpha, al.temperature(state.step))
    loss = jnp.mean(mixed_loss(p, candidates))
    alpha = jnp.exp(log_alpha)
    largest = (p == jnp.max(p, axis=-1, keepdims=True)).astype(p.dtype)  # equal weights share the example
    metrics = Metrics(
        steps=jnp.ones((), loss.dtype),
        loss=loss,
        alpha=jnp.mean(alpha, axis=0),
        share=jnp.mean(largest / jnp.sum(largest, axis=-1, keepdims=True), axis=0),
        entropy=-jnp.mean(jnp.sum(alpha * log_alpha, axis=-1)),
    )
    return loss, ((drs_stats, controller_stats), metrics)


def virtual_step(
    al: AutoLoss, W: Params, V: Params, state: TrainState, opt_state, batch: Batch, key: jax.Array
) -> Params:
    """W*(V) = W - xi grad_W L_train(W, V), Eq. (13): estimated, never stored. `opt_state` belongs to W."""
    gradient, _ = jax.grad(objective, argnums=1, has_aux=True)(al, W, V, state, batch, key, detach=al.detach)
    if al.precondition is not None:
        gradient = al.precondition(gradient, opt_state)
    return jax.tree.map(lambda w, g: w - al.xi * g, W, gradient)


def outer_loss(
    V: Params, al: AutoLoss, W: Params, state: TrainState, opt_state, train_batch: Batch, val_batch: Batch
) -> jax.Array:
    """L_val(W*(V), V), Eq. (12). Its gradient in V is the exact hypergradient."""
    W_star = virtual_step(al, W, V, state, opt_state, train_batch, stream(state.key, state.step, "virtual"))
    key = stream(state.key, state.step, "outer")
    if al.val_loss is None:
        return objective(al, W_star, V, state, val_batch, key, detach=False)[0]
    logits, _ = forward(al, W_star, state.drs.stats, val_batch["x"], jax.random.split(key, 3)[0])
    return jnp.mean(al.val_loss(logits, val_batch["y"]))


def localise(num_rows: int, *ids: jax.Array) -> tuple[jax.Array | None, tuple[jax.Array, ...]]:
    """The rows that batches touch, and ids into those rows: W over them is exact and costs O(batch).

    Returns (touched int32[K], ids of the same shapes as given). An id that occurs often is known by one slot,
    so that its gradient is merged and a virtual step moves all its occurrences. Where the whole table is no
    larger than that, touched is None and the ids are unchanged.
    """
    flat = jnp.concatenate([i.reshape(-1) for i in ids])
    if num_rows <= flat.size:
        return None, ids
    slots = jnp.arange(flat.size, dtype=jnp.int32)
    slot = jnp.zeros(num_rows, jnp.int32).at[flat].max(slots)[flat]  # max: the same winner on every device
    ends = [sum(i.size for i in ids[: n + 1]) for n in range(len(ids) - 1)]
    return flat, tuple(s.reshape(i.shape) for s, i in zip(jnp.split(slot, ends), ids, strict=True))


def gather_rows(tree: Any, touched: jax.Array | None) -> Any:
    """`tree` with every array under a "rows" key restricted to the rows touched: W, and the optimiser's moments of W."""
    if touched is None:
        return tree

    def gather(path, leaf):
        return leaf[touched] if any(getattr(k, "key", None) == "rows" for k in path) else leaf

    return jax.tree_util.tree_map_with_path(gather, tree)


def hypergradient(al: AutoLoss, state: TrainState, train_batch: Batch, val_batch: Batch) -> Params:
    """grad_V L_val(W*(V), V), exact, over the rows of both batches alone."""
    W, V = state.drs.params, state.controller.params
    touched, (train_x, val_x) = localise(W["rows"].shape[0], train_batch["x"], val_batch["x"])
    W, opt_state = gather_rows((W, state.drs.opt_state), touched)
    return jax.grad(outer_loss)(
        V, al, W, state, opt_state, {**train_batch, "x": train_x}, {**val_batch, "x": val_x}
    )


def controller_step(al: AutoLoss, state: TrainState, train_batch: Batch, val_batch: Batch) -> TrainState:
    """Algorithm 1, lines 2-4: V descends grad_V L_val(W*(V), V)."""
    controller = _descend(
        al.controller_tx, state.controller, hypergradient(al, state, train_batch, val_batch), 1.0
    )
    return state.replace(controller=controller)


def train_step(al: AutoLoss, state: TrainState, batch: Batch) -> TrainState:
    """Algorithm 1, lines 5-6: W descends grad_W L_train(W, V), and V the same loss if it is taught by train (SLF).

    The running batch statistics of both networks move here alone: once a step, whatever f is.
    """
    W, V = state.drs.params, state.controller.params
    key = stream(state.key, state.step, "train")
    (grad_W, grad_V), ((drs_stats, controller_stats), metrics) = jax.grad(
        objective, argnums=(1, 2), has_aux=True
    )(al, W, V, state, batch, key, detach=al.detach)
    controller = state.controller
    if al.taught_by == "train":
        controller = _descend(al.controller_tx, controller, grad_V, 1.0)
    return state.replace(
        step=state.step + 1,
        drs=_descend(al.drs_tx, state.drs, grad_W, state.lr_scale).replace(stats=drs_stats),
        controller=controller.replace(stats=controller_stats),
        metrics=jax.tree.map(jnp.add, state.metrics, metrics),
    )


def _descend(
    tx: optax.GradientTransformation, network: Network, gradient: Params, lr_scale: jax.Array | float
) -> Network:
    updates, opt_state = tx.update(gradient, network.opt_state, network.params)
    updates = jax.tree.map(lambda u: lr_scale * u, updates)
    return network.replace(params=optax.apply_updates(network.params, updates), opt_state=opt_state)


def evaluate_step(al: AutoLoss, state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """(Logits [B, C], mixed loss [B]) in evaluation mode; the loss under the mean policy alpha, without noise."""
    logits, _ = forward(al, state.drs.params, state.drs.stats, batch["x"])
    candidates = jnp.stack([loss(logits, batch["y"]) for loss in al.losses], axis=-1)
    log_alpha, _ = _apply(
        al.controller,
        state.controller.params,
        state.controller.stats,
        None,
        batch["y"],
        probabilities(logits),
    )
    return logits, mixed_loss(jnp.exp(log_alpha), candidates)
