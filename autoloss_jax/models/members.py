"""K recommenders as one: they learn together, each from its own loss, and the mean of their logits
is the prediction.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.models.recommender import Recommender


class Members(nn.Module):
    """K recommenders that share nothing: each has its columns of every row, and a network.

    Args:
        member: one of them.
        size: K.
    """

    member: Recommender
    size: int

    @property
    def num_outputs(self) -> int:
        """Logits of the prediction, C."""
        return self.member.num_outputs

    def columns(self, num_fields: int) -> tuple[int, int]:
        """Those of one member."""
        return self.member.columns(num_fields)

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """Rows [B, F, K R] -> logits [K B, C], member by member; in evaluation their mean [B, C].

        A parameter is [K, ...], one of each member.
        """
        members = nn.vmap(
            functools.partial(_logits, train=train),
            in_axes=2,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True, "dropout": True},
            axis_size=self.size,
        )
        logits = members(self.member, rows.reshape(*rows.shape[:-1], self.size, -1))
        return logits.reshape(-1, self.num_outputs) if train else jnp.mean(logits, axis=0)


def _logits(member: Any, rows: jax.Array, train: bool) -> jax.Array:
    return member(rows, train=train)
