"""FM, the factorisation machine (Rendle, ICDM 2010)."""

import jax
from flax import linen as nn

from autoloss_jax.models.interactions import bi_interaction
from autoloss_jax.models.recommender import Recommender


class FM(Recommender):
    """First-order terms + sum_{i<j} <e_i, e_j>, Eq. (1)."""

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        return self.linear(rows) + self.total(bi_interaction(rows)[:, : self.embed_dim])
