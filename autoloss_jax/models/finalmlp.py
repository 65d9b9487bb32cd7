"""FinalMLP, two streams of MLPs (Mao et al., AAAI 2023)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.errors import UserError
from autoloss_jax.config.specs import Choice, Count
from autoloss_jax.models.layers import MLP
from autoloss_jax.models.recommender import Recommender


class FinalMLP(Recommender):
    """Two MLPs o1, o2 over gated embeddings, fused by w1 o1 + w2 o2 + sum_heads o1' W o2, Eq.
    (3)-(10).

    Each stream has a gate, 2 sigmoid(MLP(context)), on every number of E. Its context is a field
    of its own embedding (`context1=0`: another D columns in every row), or, by default, a
    learned vector: a gate that is the same for all.
    """

    heads: Count = 1
    second: tuple[int, ...] = ()  # widths of the second stream; by default those of the first
    gates: bool = True
    gate_width: Count = 64
    context1: Choice = -1
    context2: Choice = -1

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding, and one more for each context that is a field."""
        contexts = (self.context1 >= 0) + (self.context2 >= 0) if self.gates else 0
        return (1 + contexts) * self.embed_dim, 0

    def check(self, num_fields: int) -> None:
        """The heads share both streams evenly, and the contexts are fields."""
        last = self.hidden[-1], (self.second or self.hidden)[-1]
        if last[0] % self.heads or last[1] % self.heads:
            raise UserError(
                f"--config.model.name=finalmlp: heads={self.heads} must divide the last widths of "
                f"both streams, {last[0]} and {last[1]}: change heads, --config.model.hidden or "
                "second"
            )
        for name, field in (("context1", self.context1), ("context2", self.context2)):
            if field >= num_fields:
                raise UserError(
                    f"--config.model.name=finalmlp: {name}={field} must be one of the data's "
                    f"{num_fields} fields, counted from 0, or -1 for none"
                )

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] and more columns for contexts -> logits [B, C]."""
        num_rows, d = rows.shape[0], self.embed_dim
        e, column, streams = rows[..., :d].reshape(num_rows, -1), d, []
        for context, hidden in (
            (self.context1, self.hidden),
            (self.context2, self.second or self.hidden),
        ):
            x = e
            if self.gates:
                own = None if context < 0 else rows[:, context, column : column + d]
                x = x * Gate(self.gate_width, d)(own, e.shape[1])
                column += d if context >= 0 else 0
            streams.append(MLP(hidden, self.dropout, self.batch_norm, self.dtype)(x, train=train))
        x, y = (s.reshape(num_rows, self.heads, -1) for s in streams)
        init = nn.initializers.glorot_normal(in_axis=1, out_axis=2, batch_axis=(0, 3))
        kernel = self.param("fusion", init, (self.heads, x.shape[2], y.shape[2], self.num_outputs))
        return self.output(*streams) + jnp.einsum("bhx,hxyc,bhy->bc", x, kernel, y)


class Gate(nn.Module):
    """2 sigmoid(MLP(context)), Eq. (4): 1 where nothing is learned yet."""

    width: int
    embed_dim: int

    @nn.compact
    def __call__(self, context: jax.Array | None, size: int) -> jax.Array:
        """[B, D] -> [B, size], or None -> [1, size]."""
        if context is None:
            context = self.param("context", nn.initializers.zeros, (1, self.embed_dim))
        init = nn.initializers.glorot_normal()
        h = nn.relu(nn.Dense(self.width, kernel_init=init)(context))
        return 2 * jax.nn.sigmoid(nn.Dense(size, kernel_init=init)(h))
