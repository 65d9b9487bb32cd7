"""K recommenders as one: they learn together, each from its own loss, and the mean of their logits
is the prediction.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.models.layers import Adapter, several
from autoloss_jax.models.recommender import Recommender


class Members(nn.Module):
    """K recommenders. They share nothing: each has its columns of every row, and a network.

    Or they share both. Then each sees the embeddings under signs of its own, random at first, and
    `member` tells them apart in its layers (`layers.Adapter`) and its output.

    Args:
        member: one of them; of those that share, all.
        size: K.
        shared: whether they share.
    """

    member: Recommender
    size: int
    shared: bool = False

    @property
    def num_outputs(self) -> int:
        """Logits of the prediction, C."""
        return self.member.num_outputs

    def columns(self, num_fields: int) -> tuple[int, int]:
        """Those of one member."""
        return self.member.columns(num_fields)

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """Rows [B, F, K R], or [B, F, R] where they share, -> logits [K B, C], member by member;
        in evaluation their mean [B, C].
        """
        logits = self._shared(rows, train) if self.shared else self._apart(rows, train)
        return logits.reshape(-1, self.num_outputs) if train else jnp.mean(logits, axis=0)

    def _apart(self, rows: jax.Array, train: bool) -> jax.Array:
        """Logits [K, B, C]; a parameter is [K, ...], one of each member."""

        def of_member(member: Any, rows: jax.Array) -> jax.Array:
            return member(rows, train=train)

        members = several(of_member, in_axes=2, axis_size=self.size)
        return members(self.member, rows.reshape(*rows.shape[:-1], self.size, -1))

    def _shared(self, rows: jax.Array, train: bool) -> jax.Array:
        """Logits [K, B, C]."""
        embeddings, _ = self.columns(rows.shape[1])
        every = jnp.tile(rows, (self.size, 1, 1))
        seen = Adapter(self.size, signs=True, shift=False)(every[..., :embeddings])
        every = jnp.concatenate([seen, every[..., embeddings:]], axis=-1)
        logits = self.member(every, train=train)
        return logits.reshape(self.size, -1, self.num_outputs)
