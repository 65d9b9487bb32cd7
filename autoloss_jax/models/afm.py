"""AFM, the attentional factorisation machine (Xiao et al., IJCAI 2017)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.interactions import pairs
from autoloss_jax.models.layers import Dropout
from autoloss_jax.models.recommender import Recommender


class AFM(Recommender):
    """First-order terms + a dense layer over the pairs e_i * e_j, pooled by attention; Eq.
    (5)-(7).

    Dropout acts on the attention and on what it pools, in training alone (torchfm's acts in
    evaluation too). The scores have no bias: softmax would cancel it.
    """

    width: Count = 16  # of the attention

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    def least_fields(self) -> int:
        """Two make a pair."""
        return 2

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        x = pairs(rows[..., : self.embed_dim])
        init = nn.initializers.glorot_normal()
        scores = nn.relu(nn.Dense(self.width, kernel_init=init, name="attention")(x))
        scores = nn.Dense(1, use_bias=False, kernel_init=init, name="projection")(scores)
        weights = Dropout(self.dropout)(jax.nn.softmax(scores, axis=1), train=train)
        pooled = Dropout(self.dropout)(jnp.sum(weights * x, axis=1), train=train)
        return self.linear(rows) + self.output(pooled)
