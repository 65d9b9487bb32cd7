"""AutoLoss (Zhao et al., KDD 2021): Algorithm 1, top to bottom.

Two networks are trained in turn. The recommender (DRS) has parameters W and maps features x to
logits; the controller has parameters V and maps (y, y_hat) to weights over candidate losses. W
learns on training batches. V learns on validation batches, through a virtual step of W,
differentiated exactly. Networks, losses and optimisers arrive as arguments: nothing here knows a
model or a dataset.

Shapes: B batch, F fields, S slots (of a bag several), R row (embedding, first-order weights), C
logits, N candidates. W = {"rows": [any, R], "dense": {...}}: the optimiser of W hands out the
rows that batches touch, and ids into them, so that every function below is indifferent to where
the rows come from, and costs O(batch).
"""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

Params = Any
OptState = Any
# x: int32[B, S], y: int32[B]; v: float32[B, S], if the rows of x are multiplied; seen: int32[B,
# K],
# if V sees more than y
Batch = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]  # (logits [B, C], labels int32[B]) -> [B]


class Network(struct.PyTreeNode):
    """What changes while one network trains."""

    params: Params
    stats: Params  # running statistics of batch normalisation
    opt_state: OptState


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


class Optimizer(Protocol):
    """What trains W. It alone knows the whole table: it hands out rows and the state beside
    them, and takes them back.
    """

    @property
    def table(self) -> Any:
        """What the table is, and where: `rows.Table`."""

    def init(self, W: Params) -> OptState:
        """The state before the first step."""

    def step(
        self,
        W: Params,
        opt_state: OptState,
        lr_scale: jax.Array,
        gradient: Callable[..., Any],
        x,
        *looked_at,
    ) -> tuple[Params, OptState, Any]:
        """(W, state, aux) after one step along g, (g, aux) = gradient(W, state, x, *looked_at)
        over rows of all these ids.

        What `gradient` is given are W and the state over some rows, and ids into those; the rows
        of x alone may move.
        """

    def settle(
        self, W: Params, opt_state: OptState, lr_scale: jax.Array
    ) -> tuple[Params, OptState]:
        """Every row brought up to date."""

    def vectorised(self) -> "Optimizer":
        """The same, for jax.vmap."""

    def scale(self, gradient: Params, opt_state: OptState) -> Params:
        """The factor of each coordinate of this gradient in the optimiser's next step, its rate
        and momentum aside.
        """


@dataclasses.dataclass(frozen=True)
class AutoLoss:
    """What never changes during a run. A method of the paper is a choice of `weights`,
    `controller` and `taught_by`.
    """

    drs: Any  # linen module: (rows [B, F, R], train) -> logits [B, C]
    controller: (
        Any  # linen module: (labels [B], y_hat [B, C], [seen [B, K],] train) -> log alpha [B, N]
    )
    losses: tuple[Loss, ...]  # the data's part of the candidates
    weights: Callable[..., jax.Array]  # (key, log_alpha [B, N], tau) -> p [B, N]
    temperature: Callable[[jax.Array], jax.Array]  # t -> tau
    drs_tx: Optimizer
    controller_tx: optax.GradientTransformation
    taught_by: str = (
        "val"  # the batch that teaches V: "val" (in the virtual step), "train" (joint), "never"
    )
    xi: float = 1e-3  # learning rate of the virtual step, Eq. (13); 0 = first order
    precondition: bool = (
        False  # the virtual step is scaled as W's optimiser scales; False = SGD, the paper's
    )
    val_loss: Loss | None = (
        None  # what V minimises at W*(V); None = the mixture, Eq. (12) read literally
    )
    seen: tuple[int, ...] = ()  # how many values each of seen's K fields has
    detach: bool = True  # no gradient of the W update through the controller's input
    l2: Callable[..., jax.Array] | None = (
        None  # (rows [any, R], x, v) -> [B, N], what each candidate adds
    )
    pooled: Callable[..., jax.Array] = lambda rows, v: (
        v[..., None] * rows
    )  # [B, S, R], [B, S] -> [B, F, R]


def stream(key: jax.Array, step: jax.Array | int, name: str) -> jax.Array:
    """The PRNG key of (root key, step, name): nothing is carried, so a resumed step replays
    itself.
    """
    return jax.random.fold_in(jax.random.fold_in(key, step), zlib.crc32(name.encode()) & 0x7FFFFFFF)


def probabilities(logits: jax.Array) -> jax.Array:
    """y_hat, Eq. (6): sigmoid of one logit, softmax of several. [B, C] -> [B, C]."""
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits, axis=-1)


def mixed_loss(p: jax.Array, candidates: jax.Array) -> jax.Array:
    """sum_i p_i l_i, Eq. (11). [B, N], [B, N] -> [B]."""
    return jnp.sum(p * candidates, axis=-1)


def forward(
    al: AutoLoss, W: Params, stats: Params, batch: Batch, dropout_key: jax.Array | None = None
) -> tuple[jax.Array, Params]:
    """(Logits [B, C], new batch statistics) of a batch; without a key, in evaluation mode."""
    rows = W["rows"].at[batch["x"]].get(mode="promise_in_bounds")  # ids are checked on the host
    if "v" in batch:
        rows = al.pooled(rows, batch["v"])
    return _apply(al.drs, W["dense"], stats, dropout_key, rows)


def _apply(network, params, stats, dropout_key, *inputs):
    variables = {"params": params, "batch_stats": stats}
    if dropout_key is None:
        return network.apply(variables, *inputs, train=False), stats
    rngs = {"dropout": dropout_key}
    output, new = network.apply(variables, *inputs, train=True, rngs=rngs, mutable=["batch_stats"])
    return output, new.get("batch_stats", stats)


def _inputs(batch: Batch, y_hat: jax.Array) -> tuple[jax.Array, ...]:
    return (batch["y"], y_hat, batch["seen"]) if "seen" in batch else (batch["y"], y_hat)


class Output(NamedTuple):
    """What the candidates are functions of, besides the labels."""

    logits: jax.Array  # [B, C]
    l2: jax.Array | None  # [B, N]


def output(
    al: AutoLoss, W: Params, stats: Params, batch: Batch, key: jax.Array
) -> tuple[Output, Params]:
    """(Output, new batch statistics) of a batch, in training mode."""
    logits, stats = forward(al, W, stats, batch, key)
    return Output(logits, al.l2(W["rows"], batch["x"], batch.get("v")) if al.l2 else None), stats


def mixture(
    al: AutoLoss,
    out: Output,
    V: Params,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    detach: bool,
) -> tuple[jax.Array, tuple[Params, Metrics]]:
    """L of an output under V's weights, Eq. (7)-(11), and what else a step needs of it."""
    controller_key, weights_key = jax.random.split(key)
    candidates = jnp.stack([loss(out.logits, batch["y"]) for loss in al.losses], axis=-1)
    if out.l2 is not None:
        candidates += out.l2
    y_hat = probabilities(jax.lax.stop_gradient(out.logits) if detach else out.logits)
    dropout_key = None if al.taught_by == "never" else controller_key
    log_alpha, stats = _apply(
        al.controller, V, state.controller.stats, dropout_key, *_inputs(batch, y_hat)
    )
    p = al.weights(weights_key, log_alpha, al.temperature(state.step))
    loss = jnp.mean(mixed_loss(p, candidates))
    alpha = jnp.exp(log_alpha)
    largest = (p == jnp.max(p, axis=-1, keepdims=True)).astype(
        p.dtype
    )  # equal weights share the example
    metrics = Metrics(
        steps=jnp.ones((), loss.dtype),
        loss=loss,
        alpha=jnp.mean(alpha, axis=0),
        share=jnp.mean(largest / jnp.sum(largest, axis=-1, keepdims=True), axis=0),
        entropy=-jnp.mean(jnp.sum(alpha * log_alpha, axis=-1)),
    )
    return loss, (stats, metrics)


def objective(
    al: AutoLoss,
    W: Params,
    V: Params,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    detach: bool,
):
    """L(W, V) on one batch, and what else a step needs: (batch statistics of both networks,
    Metrics).
    """
    drs_key, key = jax.random.split(key)
    out, drs_stats = output(al, W, state.drs.stats, batch, drs_key)
    loss, (controller_stats, metrics) = mixture(al, out, V, state, batch, key, detach=detach)
    return loss, ((drs_stats, controller_stats), metrics)


def val_objective(al: AutoLoss, W: Params, V: Params, state: TrainState, batch: Batch) -> jax.Array:
    """L_val(W, V), Eq. (12)."""
    key = stream(state.key, state.step, "outer")
    if al.val_loss is None:
        return objective(al, W, V, state, batch, key, detach=False)[0]
    logits, _ = forward(al, W, state.drs.stats, batch, jax.random.split(key)[0])
    return jnp.mean(al.val_loss(logits, batch["y"]))


class Pass(NamedTuple):
    """A forward pass, to be differentiated in either direction, more than once."""

    out: Output
    stats: Params  # of batch normalisation, after it
    along: Callable[[Params], Output]  # J u: what moving W along u does to the output
    back: Callable[[Output], tuple[Params]]  # (J' r,): the gradient in W, for r in the output
    loss: Callable[[Output, Params], Any]  # (output, V) -> L_train, and what else `mixture` gives


def forward_pass(al: AutoLoss, W: Params, state: TrainState, batch: Batch) -> Pass:
    """`output` of the train batch at W, in training mode, with the noise of this step."""
    key, mixture_key = jax.random.split(stream(state.key, state.step, "train"))
    out, along, stats = jax.linearize(
        lambda W: output(al, W, state.drs.stats, batch, key), W, has_aux=True
    )

    def loss(out, V):
        return mixture(al, out, V, state, batch, mixture_key, detach=al.detach)

    return Pass(out, stats, along, jax.linear_transpose(along, W), loss)


def virtual_step(
    al: AutoLoss, W: Params, gradient: Params, opt_state: OptState
) -> tuple[Params, Params]:
    """(W*, P): W - xi P grad_W L_train(W, V), Eq. (13): estimated, never stored. `opt_state`
    belongs to W.

    P is 1, as in the paper, or what W's optimiser would scale this gradient with, taken as a
    constant.
    """
    if al.precondition:
        scale = jax.lax.stop_gradient(al.drs_tx.scale(gradient, opt_state))
    else:
        scale = jax.tree.map(jnp.ones_like, gradient)
    return jax.tree.map(lambda w, p, g: w - al.xi * p * g, W, scale, gradient), scale


def outer_loss(
    V: Params,
    al: AutoLoss,
    W: Params,
    state: TrainState,
    opt_state,
    train_batch: Batch,
    val_batch: Batch,
) -> jax.Array:
    """L_val(W*(V), V), Eq. (12) at Eq. (13): what V minimises. W* is the step that W is about to
    take, noise and all.
    """
    key = stream(state.key, state.step, "train")
    in_W = jax.grad(objective, argnums=1, has_aux=True)
    gradient, _ = in_W(al, W, V, state, train_batch, key, detach=al.detach)
    W_star, _ = virtual_step(al, W, gradient, opt_state)
    return val_objective(al, W_star, V, state, val_batch)


def hypergradient(
    V: Params,
    al: AutoLoss,
    W: Params,
    state: TrainState,
    opt_state,
    train_pass: Pass,
    val_batch: Batch,
) -> Params:
    """grad_V of `outer_loss`, exact, by the chain rule: the forward pass of the train batch
    serves all of it.

    With z the output of the train batch, J = dz/dW and r(V) = dL_train/dz: grad_W L_train = J'
    r(V), and with v = grad_W L_val at W*, what V does through W* is -xi (dr/dV)' J P v. Nothing
    is differentiated twice through the recommender.
    """
    if not al.xi:  # first order: the direct term
        return jax.grad(val_objective, argnums=2)(al, W, V, state, val_batch)
    r, taught = jax.vjp(lambda V: jax.grad(train_pass.loss, has_aux=True)(train_pass.out, V)[0], V)
    (gradient,) = train_pass.back(r)
    W_star, scale = virtual_step(al, W, gradient, opt_state)
    v, direct = jax.grad(val_objective, argnums=(1, 2))(al, W_star, V, state, val_batch)
    (through,) = taught(train_pass.along(jax.tree.map(jnp.multiply, scale, v)))
    return jax.tree.map(lambda d, t: d - al.xi * t, direct, through)


def train_step(
    al: AutoLoss, state: TrainState, batch: Batch, val_batch: Batch | None = None
) -> TrainState:
    """Algorithm 1: W descends grad_W L_train(W, V), lines 5-6; where a batch of val is given, V
    moves first, lines 2-4.

    Both look at one forward pass of the train batch, over the rows of these batches alone. SLF's
    V descends L_train too. The running batch statistics of both networks move here: once a step,
    whatever f is.
    """
    looked_at = () if val_batch is None else (val_batch["x"],)

    def gradient(W, opt_state, x, *val_x):
        train_pass = forward_pass(al, W, state, {**batch, "x": x})
        controller = state.controller
        if val_batch is not None:
            val = {**val_batch, "x": val_x[0]}
            grad_V = hypergradient(controller.params, al, W, state, opt_state, train_pass, val)
            controller = descend(al.controller_tx, controller, grad_V)
        (r, grad_V), (stats, metrics) = jax.grad(train_pass.loss, argnums=(0, 1), has_aux=True)(
            train_pass.out, controller.params
        )
        if al.taught_by == "train":
            controller = descend(al.controller_tx, controller, grad_V)
        return train_pass.back(r)[0], (train_pass.stats, controller.replace(stats=stats), metrics)

    return advance(al, state, gradient, batch["x"], *looked_at)


def advance(
    al: AutoLoss, state: TrainState, gradient: Callable[..., Any], x, *looked_at
) -> TrainState:
    """The state after one step of W along `gradient`, whose aux is (statistics of W, the
    controller, Metrics).
    """
    W, opt_state, (stats, controller, metrics) = al.drs_tx.step(
        state.drs.params, state.drs.opt_state, state.lr_scale, gradient, x, *looked_at
    )
    return state.replace(
        step=state.step + 1,
        drs=Network(W, stats, opt_state),
        controller=controller,
        metrics=jax.tree.map(jnp.add, state.metrics, metrics),
    )


def descend(tx: optax.GradientTransformation, network: Network, gradient: Params) -> Network:
    """The network after one step of its optimiser along `gradient`."""
    updates, opt_state = tx.update(gradient, network.opt_state, network.params)
    return network.replace(params=optax.apply_updates(network.params, updates), opt_state=opt_state)


def settle(al: AutoLoss, state: TrainState) -> TrainState:
    """The state with every row of W up to date, for whoever reads it whole: evaluation, a change
    of rate, export.
    """
    W, opt_state = al.drs_tx.settle(state.drs.params, state.drs.opt_state, state.lr_scale)
    return state.replace(drs=state.drs.replace(params=W, opt_state=opt_state))


def mean_policy(
    al: AutoLoss, V: Params, stats: Params, logits: jax.Array, batch: Batch
) -> jax.Array:
    """Alpha [B, N] of a controller in evaluation mode, at logits [B, C] and a batch's y and
    seen; without noise.
    """
    return jnp.exp(_apply(al.controller, V, stats, None, *_inputs(batch, probabilities(logits)))[0])
