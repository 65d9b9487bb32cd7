"""Wide & Deep learning (Cheng et al., DLRS 2016)."""

import jax
from flax import linen as nn

from autoloss_jax.models.recommender import Recommender


class WideDeep(Recommender):
    """First-order terms (the wide part, without products crossed by hand) + MLP(E)."""

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        return self.linear(rows) + self.output(self.mlp(rows, train=train))
