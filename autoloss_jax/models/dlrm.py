"""DLRM, the deep learning recommendation model (Naumov et al., 2019)."""

import jax
from flax import linen as nn

from autoloss_jax.models.interactions import inner_products
from autoloss_jax.models.recommender import Recommender


class DLRM(Recommender):
    """MLP(<e_i, e_j> for i < j): the top of DLRM.

    Its bottom, an MLP over numeric features whose output is one more field, has nothing to do
    here: a numeric column comes in buckets, as a field like any other.
    """

    def least_fields(self) -> int:
        """Two make a pair."""
        return 2

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        return self.output(self.mlp(inner_products(rows), train=train))
