"""FFM, the field-aware factorisation machine (Juan et al., RecSys 2016)."""

import jax
from flax import linen as nn

from autoloss_jax.models.interactions import field_aware
from autoloss_jax.models.recommender import Recommender


class FFM(Recommender):
    """First-order terms + sum_{i<j} <v_ij, v_ji>, Eq. (4): a feature of field i meets field j
    with an embedding for j.
    """

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding for each field that a feature may meet, and its first-order weights."""
        return num_fields * self.embed_dim, self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, F D + C] -> logits [B, C]."""
        v = rows[..., : -self.num_outputs].reshape(*rows.shape[:2], rows.shape[1], self.embed_dim)
        return self.linear(rows) + self.total(field_aware(v))
