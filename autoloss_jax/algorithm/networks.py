"""Flax modules as the functions that Algorithm 1 calls.

What a batch holds beside x and y is read here and nowhere else in the algorithm: v, the weights
of bags and numbers, `seen`, the context fields, `cell`, their combination, and `transition`, how
its label may be wrong; but for `weight`, how much an example counts, which is `losses.counted`'s.
L2 that a candidate brings is computed here, too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax.algorithm import losses
from autoloss_jax.algorithm.autoloss import AutoLoss, probabilities
from autoloss_jax.algorithm.state import Batch, Params, TrainState


class Output(NamedTuple):
    """What the recommender puts out: what the candidates are functions of, beside the labels."""

    logits: jax.Array  # [B, C]
    l2: jax.Array | None = None  # [B, N], where some candidate brings L2


def scaled(rows: jax.Array, v: jax.Array) -> jax.Array:
    """Rows times their weights, for data without bags. [B, S, R], [B, S] -> [B, F, R]."""
    return v[..., None] * rows


@dataclasses.dataclass(frozen=True)
class RecommenderFn:
    """A recommender over the embedding table: rows of a batch's ids, pooled, through a module.

    Args:
        module: a Linen module, (rows [B, F, R], train) -> logits [B, C].
        pooled: from the rows of slots to the rows of fields, where a batch has weights v.
        l2: what each candidate adds as L2 on the rows of the batch, [B, N]; None: nothing.

    Example: `examples/own_loop.py` trains with it.
    """

    module: Any  # Linen: (rows [B, F, R], train) -> logits [B, C]
    pooled: Callable[..., jax.Array] = scaled  # ([B, S, R], [B, S]) -> [B, F, R]
    l2: Callable[..., jax.Array] | None = None  # (rows [any, R], x, v) -> [B, N]
    members: int = 1  # that have columns of their own in a row, side by side

    def __call__(
        self, W: Params, stats: Params, batch: Batch, key: jax.Array | None = None
    ) -> tuple[Output, Params]:
        """(Output, new batch statistics). Without a key, in evaluation mode and without L2.

        In training logits, and L2, are those of the members one after another, [K B, any].
        """
        rows = W["rows"].at[batch["x"]].get(mode="promise_in_bounds")  # ids are checked on the host
        if "v" in batch:
            rows = self.pooled(rows, batch["v"])
        logits, stats = _apply(self.module, W["dense"], stats, key, rows)
        if key is None or self.l2 is None:
            return Output(logits), stats
        of_member = W["rows"].reshape(len(W["rows"]), self.members, -1)
        l2 = jax.vmap(lambda rows: self.l2(rows, batch["x"], batch.get("v")), 1)(of_member)
        l2 = l2.reshape(-1, l2.shape[-1])
        alike = len(logits) // len(l2)  # members that share their rows have the same L2
        return Output(logits, jnp.tile(l2, (alike, 1))), stats


@dataclasses.dataclass(frozen=True)
class ControllerFn:
    """A controller over labels, predictions and, if it has any, context fields.

    Args:
        module: a Linen module, (labels [B], y_hat [B, C], [context [B, K],] train) -> log alpha
            [B, N]; `Controller` is one.
        context: how many values each of its K context fields has.
        members: how many recommenders it tells apart, by their number, after the context.

    Example: `examples/own_loop.py` trains with it.
    """

    module: Any  # Linen: (labels [B], y_hat [B, C], [context [B, K],] train) -> log alpha [B, N]
    context: tuple[int, ...] = ()  # how many values each of its K context fields has
    members: int = 1

    def __call__(
        self, V: Params, stats: Params, batch: Batch, y_hat: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, Params]:
        """(Log alpha [B, N], new batch statistics). Without a key, in evaluation mode.

        Where the batch does not say whose predictions these are, alpha is the mean over members.
        """
        inputs = [batch["y"], y_hat, *([batch["seen"]] if self.context else [])]
        if self.members == 1:
            return _apply(self.module, V, stats, key, *inputs)
        if "member" in batch:
            return _apply(self.module, V, stats, key, *inputs, member=batch["member"])

        def of_member(number):
            member = jnp.full(len(batch["y"]), number)
            return _apply(self.module, V, stats, None, *inputs, member=member)[0]

        each = jax.vmap(of_member)(jnp.arange(self.members))
        return jax.nn.logmeanexp(each, axis=0), stats


@dataclasses.dataclass(frozen=True)
class CandidateLosses:
    """The candidate losses of Eq. (8), of one batch.

    Args:
        losses: N functions (logits [B, C], labels int32[B]) -> [B], as those of `losses`.

    Example:
        >>> import jax.numpy as jnp
        >>> from autoloss_jax import CandidateLosses, losses
        >>> from autoloss_jax.algorithm.networks import Output
        >>> pool = CandidateLosses((losses.ce, losses.focal))
        >>> values = pool(Output(jnp.zeros((2, 1))), {"y": jnp.array([0, 1])}, {})
        >>> [round(value, 3) for value in values[0].tolist()]
        [0.693, 0.173]
    """

    losses: tuple[Callable[..., jax.Array], ...]

    def __call__(self, output: Output, batch: Batch, V: Params) -> jax.Array:
        """Losses [B, N] of a batch; V is for candidates that have parameters in it."""
        values = [loss(output.logits, batch["y"]) for loss in self.of(batch, V)]
        stacked = losses.counted(jnp.stack(values, axis=-1), batch)
        return stacked if output.l2 is None else stacked + output.l2

    def of(self, batch: Batch, V: Params) -> tuple[Callable[..., jax.Array], ...]:
        """The losses as functions of logits and labels, under V."""
        del batch, V
        return self.losses

    def parameters(self) -> dict[str, Any]:
        """What the candidates keep in V, at the start."""
        return {}


class Transitions:
    """The noise in the labels, known: each example brings its matrix.

    `transition` [B, C, C] of a batch is the chance that a true class reads as another in train.
    Without it labels are trusted.
    """

    def loss(self, batch: Batch, V: Params) -> Callable[..., jax.Array]:
        """Cross-entropy corrected by the matrix of each example."""
        del V
        if "transition" not in batch:
            return losses.ce
        return lambda logits, labels: losses.forward_ce(logits, labels, batch["transition"])


@dataclasses.dataclass(frozen=True)
class Rates:
    """The noise in the labels of M cells of the context, at rates that V has: a logit for each.

    An example says in `cell` which is its own; the number M, and no `cell`, mean that its label
    is trusted. `start` and `error` are what the rates begin at.
    """

    kind: str  # "missing" or "flipped"
    start: np.ndarray  # [M]
    error: np.ndarray  # [M], its standard error

    def parameters(self) -> jax.Array:
        """The logits at the start, [M]."""
        share = np.clip(self.start / losses.MOST[self.kind], 0.005, 0.995)
        return jnp.asarray(np.log(share / (1 - share)), jnp.float32)

    def at(self, V: Params, values: jax.Array | None = None) -> jax.Array:
        """The rates of all cells, [M]."""
        del values
        return losses.MOST[self.kind] * jax.nn.sigmoid(V["rates"][self.kind])

    def loss(self, batch: Batch, V: Params) -> Callable[..., jax.Array]:
        """Cross-entropy corrected by the rates."""
        if "cell" not in batch:
            return losses.ce
        rate = jnp.append(self.at(V), 0.0)[batch["cell"]]
        transition = losses.transition(self.kind, rate)
        return lambda logits, labels: losses.forward_ce(logits, labels, transition)

    def prior(self) -> dict[str, jax.Array]:
        """Mean and deviation of the rates before anything is learned, each [M]."""
        return {
            "mean": jnp.asarray(self.start, jnp.float32),
            "deviation": jnp.asarray(self.error, jnp.float32),
        }

    def surprise(self, V: Params) -> jax.Array:
        """-log of a normal prior, without its constant, summed over cells. []."""
        prior = jax.lax.stop_gradient(V["prior"][self.kind])
        return 0.5 * jnp.sum(jnp.square((self.at(V) - prior["mean"]) / prior["deviation"]))


@dataclasses.dataclass(frozen=True)
class AdditiveRates:
    """The same where the cells are too many: a rate's logit is a sum over the context fields.

    An example says in `seen` [B, K] what its values are; a `cell` of 0 means that its label is
    not trusted.
    """

    kind: str  # "missing" or "flipped"
    start: dict[str, np.ndarray]  # logits: "all" [], and of each field, by its number, [values]

    def parameters(self) -> dict[str, jax.Array]:
        """The logits at the start."""
        return {name: jnp.asarray(part, jnp.float32) for name, part in self.start.items()}

    def at(self, V: Params, values: jax.Array) -> jax.Array:
        """The rates of combinations of values. int[..., K] -> [...]."""
        logits = V["rates"][self.kind]
        parts = [logits[str(k)][values[..., k]] for k in range(values.shape[-1])]
        return losses.MOST[self.kind] * jax.nn.sigmoid(logits["all"] + sum(parts))

    def loss(self, batch: Batch, V: Params) -> Callable[..., jax.Array]:
        """Cross-entropy corrected by the rates."""
        if "cell" not in batch:
            return losses.ce
        rate = jnp.where(batch["cell"] == 0, self.at(V, batch["seen"]), 0.0)
        transition = losses.transition(self.kind, rate)
        return lambda logits, labels: losses.forward_ce(logits, labels, transition)

    def prior(self) -> dict[str, jax.Array]:
        """The means of the logits, which are where they begin."""
        return self.parameters()

    def surprise(self, V: Params) -> jax.Array:
        """-log of a normal prior of deviation 1, without its constant, summed. []."""
        mean = jax.lax.stop_gradient(V["prior"][self.kind])
        moved = jax.tree.map(jnp.subtract, V["rates"][self.kind], mean)
        squares = [jnp.sum(jnp.square(part)) for part in jax.tree.leaves(moved)]
        return 0.5 * sum(squares, jnp.zeros(()))


@dataclasses.dataclass(frozen=True)
class CorrectedLosses(CandidateLosses):
    """Candidates of which some are cross-entropy corrected for label noise.

    Args:
        losses: the candidates; those that are corrected are not read.
        noise: of each candidate the noise that it is corrected for, or None.
        trusted_rows: how many rows told the start of `Rates`; the prior is worth one of them each.
    """

    noise: tuple[Transitions | Rates | AdditiveRates | None, ...] = ()
    trusted_rows: int = 1

    def of(self, batch: Batch, V: Params) -> tuple[Callable[..., jax.Array], ...]:
        """The losses as functions of logits and labels, under V."""
        return tuple(
            loss if noise is None else noise.loss(batch, V)
            for loss, noise in zip(self.losses, self.noise, strict=True)
        )

    @property
    def rates(self) -> dict[str, Rates | AdditiveRates]:
        """Those that V has, by kind."""
        learned = (Rates, AdditiveRates)
        return {noise.kind: noise for noise in self.noise if isinstance(noise, learned)}

    def parameters(self) -> dict[str, Any]:
        """{"rates": {kind: logits}, "prior": {kind: what is known of them}}, or nothing.

        The prior never moves. It is in V, as an array is, so that one compiled program serves runs
        with other rates.
        """
        found, rates = {}, self.rates
        if rates:
            found["rates"] = {kind: of.parameters() for kind, of in rates.items()}
            found["prior"] = {kind: of.prior() for kind, of in rates.items()}
        return found

    def prior(self, V: Params) -> jax.Array:
        """What pulls the rates to where they began, by their standard errors. V -> []."""
        pulls = [rates.surprise(V) for rates in self.rates.values()]
        return sum(pulls, jnp.zeros(())) / self.trusted_rows


def mean_policy(
    al: AutoLoss, V: Params, stats: Params, logits: jax.Array, batch: Batch
) -> jax.Array:
    """Alpha [B, N] of a controller in evaluation mode, at these logits [B, C] of a batch."""
    return jnp.exp(al.controller(V, stats, batch, probabilities(logits))[0])


def settle(al: AutoLoss, state: TrainState) -> TrainState:
    """The state with every row of W up to date, for whoever reads it whole."""
    W, opt_state = al.optimizer.settle(state.drs.params, state.drs.opt_state, state.lr_scale)
    return state.replace(drs=state.drs.replace(params=W, opt_state=opt_state))


def _apply(network, params, stats, key, *inputs, **others):
    variables = {"params": params, "batch_stats": stats}
    if key is None:
        return network.apply(variables, *inputs, **others, train=False), stats
    output, new = network.apply(
        variables, *inputs, **others, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return output, new.get("batch_stats", stats)
