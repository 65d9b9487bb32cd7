"""What the recommenders share: the common options, the columns of a row, and a few pieces of a
forward pass.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.models.layers import MLP, several


class Recommender(nn.Module):
    """Rows [B, F, R] to logits [B, C]. A subclass is one paper; its own fields are the options
    in its spec.
    """

    num_outputs: int
    embed_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    batch_norm: bool = True
    dtype: Any = None  # of the MLP's arithmetic
    members: int = 1  # that share it (`members.Members`): examples stand member by member

    def columns(self, num_fields: int) -> tuple[int, int]:
        """How many numbers of a row are embeddings, and how many after them first-order weights;
        R is the sum.
        """
        return self.embed_dim, 0

    def least_fields(self) -> int:
        """How many fields there must be."""
        return 1

    def check(self, num_fields: int) -> None:
        """UserError if the options do not fit each other, or the fields."""

    def linear(self, rows: jax.Array) -> jax.Array:
        """The sum of the first-order weights, the last C columns. [B, F, R] -> [B, C]."""
        return jnp.sum(rows, axis=1)[:, -self.num_outputs :]

    def norm(self, x: jax.Array, *, train: bool, axis: int = -1) -> jax.Array:
        """Batch normalisation, if there is any, of each index of `axis`. [B, ...] -> the same."""
        if not self.batch_norm:
            return x
        return nn.BatchNorm(use_running_average=not train, axis=axis, momentum=0.9, epsilon=1e-5)(x)

    def mlp(self, x: jax.Array, *, train: bool, activation: Callable = nn.relu) -> jax.Array:
        """The hidden layers over [B, any], or over the first D numbers of rows. -> [B,
        hidden[-1]].
        """
        layers = MLP(
            self.hidden,
            self.dropout,
            self.batch_norm,
            self.dtype,
            self.embed_dim,
            activation,
            self.members,
        )
        return layers(x, train=train)

    def output(self, *parts: jax.Array) -> jax.Array:
        """A dense layer over the concatenation of [B, any], one a member. -> [B, C]."""
        x = jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        dense = functools.partial(
            nn.Dense, self.num_outputs, kernel_init=nn.initializers.glorot_normal()
        )
        if self.members == 1:
            return dense()(x)
        heads = several(lambda head, x: head(x))
        logits = heads(dense(), x.reshape(self.members, -1, x.shape[-1]))
        return logits.reshape(-1, self.num_outputs)

    def total(self, interactions: jax.Array) -> jax.Array:
        """What a sum of interactions contributes. [B, any] -> [B, C].

        One logit: their sum, and a bias. C logits: a scalar would shift all of them alike, and
        softmax would not see it; so a dense layer.
        """
        if self.num_outputs > 1:
            return self.output(interactions)
        return jnp.sum(interactions, axis=-1, keepdims=True) + self.bias()

    def bias(self) -> jax.Array:
        """A number a logit. [C]."""
        return self.param("bias", nn.initializers.zeros, (self.num_outputs,))
