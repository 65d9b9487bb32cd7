"""OPNN, the outer-product neural network (Qu et al., ICDM 2016, and TOIS 2018)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.models.interactions import bilinear, inner_products, outer_of_sum, pairs
from autoloss_jax.models.recommender import Recommender


class OPNN(Recommender):
    """MLP([E; products]).

    `kernel=sum` is the paper of 2016: the outer products of all pairs superposed, D^2 numbers.
    The others are the paper of 2018: e_i' W_ij e_j a pair, with a matrix (the default, and
    torchfm's), a vector or a number for W_ij.
    """

    kernel: Literal["matrix", "vector", "number", "sum"] = "matrix"

    def least_fields(self) -> int:
        """Two make a pair."""
        return 2

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        num_pairs, d = rows.shape[1] * (rows.shape[1] - 1) // 2, self.embed_dim
        if self.kernel == "sum":
            products = outer_of_sum(rows)
        elif self.kernel == "matrix":
            init = nn.initializers.glorot_normal(batch_axis=0)
            products = jnp.sum(
                bilinear(rows, self.param("kernel", init, (num_pairs, d, d))), axis=-1
            )
        elif self.kernel == "vector":
            kernel = self.param("kernel", nn.initializers.ones, (num_pairs, d))
            products = jnp.sum(pairs(rows) * kernel, axis=-1)
        else:
            products = inner_products(rows) * self.param(
                "kernel", nn.initializers.ones, (num_pairs,)
            )
        x = jnp.concatenate([rows.reshape(rows.shape[0], -1), products], axis=-1)
        return self.output(self.mlp(x, train=train))
