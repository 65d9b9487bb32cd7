"""Controllers: (y, y_hat) of each example -> log alpha over N candidate losses, Section 2.4."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from autoloss_jax.models.layers import MLP, several

WIDTH = 8  # of the vector of a value that is seen


def beginning(start: float, num_losses: int) -> nn.initializers.Initializer:
    """Logits [N] of which the softmax gives the first loss the weight `start`, the others the
    rest alike; 0: all alike.
    """
    odds = start / (1 - start) * (num_losses - 1) or 1.0  # 1 for a pool of one, too
    return nn.initializers.constant(math.log(odds) * np.eye(num_losses)[0])


class Controller(nn.Module):
    """The paper's controller (Section 2.4): an MLP on the label and prediction of each example.

    Its input is [y, p] (2 wide) for one logit and [one-hot y, softmax] (2 C wide) for C. The
    output layer starts at zero, so that the first mixture is the uniform one, or gives the first
    loss the weight `start`. Beyond the paper it may see K context fields of the example, each as
    a vector that starts at zero: a value that taught it nothing changes nothing. And it may know
    which member of the recommender predicts: that vector starts at random, so that members may
    come to differ.

    Args:
        num_losses: N, the number of candidates.
        hidden: widths of the MLP's layers.
        dropout: rate in them.
        start: the first loss's weight at the start; 0: all alike.
        sees: how many values each of the K context fields has.
        members: how many members of the recommender it tells apart.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from autoloss_jax import Controller
        >>> controller = Controller(num_losses=3, hidden=(8,))
        >>> y, y_hat = jnp.array([0, 1]), jnp.array([[0.2], [0.9]])
        >>> V = controller.init(jax.random.key(0), y, y_hat, train=False)
        >>> alpha = jnp.exp(controller.apply(V, y, y_hat, train=False))
        >>> [round(weight, 3) for weight in alpha[0].tolist()]
        [0.333, 0.333, 0.333]
    """

    num_losses: int
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    start: float = 0.0
    sees: tuple[int, ...] = ()  # how many values each of K fields has
    members: int = 1

    @nn.compact
    def __call__(
        self,
        labels: jax.Array,
        y_hat: jax.Array,
        seen: jax.Array | None = None,
        member: jax.Array | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        """Labels int32[B], y_hat [B, C], values int32[B, K] of what it sees, numbers int32[B] of
        the members that predict -> log alpha [B, N].
        """
        num_outputs = y_hat.shape[-1]
        y = labels[:, None] if num_outputs == 1 else jax.nn.one_hot(labels, num_outputs)
        x = [y.astype(y_hat.dtype), y_hat]
        context = zip(self.sees, () if seen is None else seen.T, strict=True)
        for k, (size, values) in enumerate(context):
            zeros = nn.initializers.zeros
            x.append(nn.Embed(size, WIDTH, embedding_init=zeros, name=_table(k))(values))
        if self.members > 1:
            x.append(nn.Embed(self.members, WIDTH, name="member")(member))
        x = jnp.concatenate(x, axis=-1)
        x = MLP(self.hidden, self.dropout)(x, train=train)
        first = beginning(self.start, self.num_losses)
        last = nn.Dense(self.num_losses, kernel_init=nn.initializers.zeros, bias_init=first)
        return jax.nn.log_softmax(last(x), axis=-1)


def with_context_rows(V: Any, rows: Mapping[int, np.ndarray]) -> Any:
    """V over other vocabularies of its context fields.

    `rows` holds, for the k-th field, int[values]: the row in V of each value of the new
    vocabulary.
    """
    moved = {
        _table(k): {"embedding": V[_table(k)]["embedding"][here]}
        for k, here in rows.items()
        if _table(k) in V
    }
    for name in V.keys() & {"rates", "prior"}:
        moved[name] = {kind: _moved_rates(V, part, rows) for kind, part in V[name].items()}
    return V | moved


def _moved_rates(V: Any, rates: Any, rows: Mapping[int, np.ndarray]) -> Any:
    """Those of label noise, over other vocabularies: of each combination of values, or parts of a
    sum over fields.
    """
    if isinstance(rates, Mapping) and "all" in rates:
        places = {str(k): here for k, here in rows.items()}
        return {n: part[places[n]] if n in places else part for n, part in rates.items()}
    if isinstance(rates, Mapping):
        return {name: _moved_rates(V, part, rows) for name, part in rates.items()}
    sizes = []
    while _table(len(sizes)) in V:
        sizes.append(V[_table(len(sizes))]["embedding"].shape[0])
    cells = np.ix_(*(rows.get(k, np.arange(size)) for k, size in enumerate(sizes)))
    return rates.reshape(sizes)[cells].ravel()


def _table(k: int) -> str:
    """The name in V of the k-th context field's vectors."""
    return f"Embed_{k}"


class Ensemble(nn.Module):
    """Several controllers, each searched on rows of its own: alpha is the mean of theirs
    (cross-fitting).
    """

    member: Controller
    size: int

    @nn.compact
    def __call__(
        self, labels: jax.Array, y_hat: jax.Array, *seen: jax.Array, train: bool, **others: Any
    ) -> jax.Array:
        """As the members; a parameter is [size, ...], one of each member."""
        members = several(
            lambda member: member(labels, y_hat, *seen, **others, train=train),
            axis_size=self.size,
        )
        return jax.nn.logmeanexp(members(self.member), axis=0)


def ensemble(members: Sequence[Any]) -> Any:
    """The parameters, or statistics, of an `Ensemble` of these; of one, its own."""
    if len(members) == 1:
        return jax.tree.map(jnp.array, members[0])
    return {"member": jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)}


class SharedVector(nn.Module):
    """One alpha for all examples (DARTS, Table 2)."""

    num_losses: int
    start: float = 0.0

    @nn.compact
    def __call__(self, labels: jax.Array, y_hat: jax.Array, *, train: bool) -> jax.Array:
        """Labels int32[B], y_hat [B, C] -> log alpha [B, N]."""
        theta = self.param("theta", beginning(self.start, self.num_losses), (self.num_losses,))
        return jnp.broadcast_to(jax.nn.log_softmax(theta), (labels.shape[0], self.num_losses))


def shared_weights(V: Any) -> jax.Array:
    """Alpha [N] of a `SharedVector` with parameters V."""
    return jax.nn.softmax(V["theta"])


class Static(nn.Module):
    """The same weights for all examples, or for all of a member, given, and nothing to learn.

    Args:
        weights: N of them; or K N, those of each member of the recommender in turn.
        members: K, where each has its own.
    """

    weights: tuple[float, ...]
    members: int = 1

    @nn.compact
    def __call__(
        self,
        labels: jax.Array,
        y_hat: jax.Array,
        member: jax.Array | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        """Labels int32[B], y_hat [B, C], numbers int32[B] of the members that predict -> log
        alpha [B, N].
        """
        # a parameter, though nothing moves it, so that one compiled program serves all weights
        alpha = self.param("alpha", lambda _: self._shares())
        log_alpha = jnp.log(jnp.maximum(alpha, 1e-30))
        if self.members > 1:
            return log_alpha[member]
        return jnp.broadcast_to(log_alpha, (labels.shape[0], len(log_alpha)))

    def _shares(self) -> jax.Array:
        """[N], or [K, N]; each member's sum to 1."""
        weights = np.reshape(self.weights, (self.members, -1))
        shares = jnp.asarray(weights / weights.sum(axis=1, keepdims=True))
        return shares if self.members > 1 else shares[0]


class Uniform(nn.Module):
    """alpha = 1 / N, nothing to learn (AL-1, Table 3; with a pool of one, a fixed loss)."""

    num_losses: int

    @nn.compact
    def __call__(self, labels: jax.Array, y_hat: jax.Array, *, train: bool) -> jax.Array:
        """Labels int32[B], y_hat [B, C] -> log alpha [B, N]."""
        return jnp.full(
            (labels.shape[0], self.num_losses), -jnp.log(float(self.num_losses)), y_hat.dtype
        )
