"""NFM, the neural factorisation machine (He & Chua, SIGIR 2017)."""

import jax
from flax import linen as nn

from autoloss_jax.models.interactions import bi_interaction
from autoloss_jax.models.layers import Dropout
from autoloss_jax.models.recommender import Recommender


class NFM(Recommender):
    """First-order terms + MLP(bi-interaction pooling), normalised and dropped out as its layers
    are; Eq. (2)-(4).
    """

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        x = self.norm(bi_interaction(rows)[:, : self.embed_dim], train=train)
        x = Dropout(self.dropout)(x, train=train)
        return self.linear(rows) + self.output(self.mlp(x, train=train))
