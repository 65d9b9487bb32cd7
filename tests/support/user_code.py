"""What a user might bring: modules and losses that know nothing of this package but what its
README says.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from autoloss_jax.models.interactions import bi_interaction
from autoloss_jax.models.layers import MLP


class DeepFM(nn.Module):
    """Ours for one logit, on a plain Linen module; with our layers, so that its noise is the
    same.
    """

    num_outputs: int
    embed_dim: int
    hidden: tuple[int, ...]
    dropout: float
    batch_norm: bool

    def columns(self, num_fields):
        return self.embed_dim, 1

    @nn.compact
    def __call__(self, rows, *, train):
        h = MLP(self.hidden, self.dropout, self.batch_norm, None, self.embed_dim)(rows, train=train)
        pairs = bi_interaction(rows)[:, : self.embed_dim]
        first_order = jnp.sum(rows, axis=1)[:, -1:]
        output = nn.Dense(1, kernel_init=nn.initializers.glorot_normal())
        return first_order + jnp.sum(pairs, axis=-1, keepdims=True) + output(h)


class Tower(nnx.Module):
    """An NNX tower with batch norm and dropout; it sees a first-order column too."""

    def __init__(self, num_outputs, num_fields, embed_dim, dropout, *, width: int = 6, rngs):
        self.inner = nnx.Linear(num_fields * (embed_dim + 1), width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.outer = nnx.Linear(width, num_outputs, rngs=rngs)
        self.embed_dim = embed_dim

    def columns(self, num_fields):
        return self.embed_dim, 1

    def __call__(self, rows):
        x = nnx.tanh(self.norm(self.inner(rows.reshape(len(rows), -1))))
        return self.outer(self.dropout(x))


class TowerToldTheMode(Tower):
    """The same, told by an argument."""

    def __call__(self, rows, *, train):
        x = self.norm(self.inner(rows.reshape(len(rows), -1)), use_running_average=not train)
        return self.outer(self.dropout(nnx.tanh(x), deterministic=not train))


def brier(logits: jax.Array, labels: jax.Array, *, weight: float = 1.0) -> jax.Array:
    return weight * jnp.square(jax.nn.sigmoid(logits[:, 0]) - labels)


def contrast(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Looks at the whole batch."""
    return jax.nn.softplus((1 - 2 * labels) * (logits[:, 0] - jnp.mean(logits)))
