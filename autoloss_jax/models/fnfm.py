"""FNFM, the field-aware neural factorisation machine (Zhang et al., PAKDD 2019)."""

import jax
from flax import linen as nn

from autoloss_jax.models.interactions import field_aware_pairs
from autoloss_jax.models.layers import Dropout
from autoloss_jax.models.recommender import Recommender


class FNFM(Recommender):
    """First-order terms + MLP(v_ij * v_ji for i < j), normalised and dropped out as its layers
    are.
    """

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding for each field that a feature may meet, and its first-order weights."""
        return num_fields * self.embed_dim, self.num_outputs

    def least_fields(self) -> int:
        """Two make a pair."""
        return 2

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, F D + C] -> logits [B, C]."""
        v = rows[..., : -self.num_outputs].reshape(*rows.shape[:2], rows.shape[1], self.embed_dim)
        x = self.norm(field_aware_pairs(v).reshape(rows.shape[0], -1), train=train)
        x = Dropout(self.dropout)(x, train=train)
        return self.linear(rows) + self.output(self.mlp(x, train=train))
