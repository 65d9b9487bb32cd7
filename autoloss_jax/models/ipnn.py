"""IPNN, the inner-product neural network (Qu et al., ICDM 2016), as in Fig. 2 of the AutoLoss
paper.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.models.interactions import inner_products
from autoloss_jax.models.recommender import Recommender


class IPNN(Recommender):
    """h_out = MLP([E; <e_i, e_j> for i < j]), Eq. (3)."""

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        x = jnp.concatenate([rows.reshape(rows.shape[0], -1), inner_products(rows)], axis=-1)
        return self.output(self.mlp(x, train=train))
