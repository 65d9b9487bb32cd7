"""DCN, the deep & cross network (Wang et al., ADKDD 2017)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.recommender import Recommender


class DCN(Recommender):
    """A dense layer over [cross network; MLP(E)]; a layer of the cross network is x0 (x . w) + b
    + x, Eq. (3).
    """

    layers: Count = 3

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        x = x0 = rows.reshape(rows.shape[0], -1)
        shape = self.layers, x.shape[1]
        kernel = self.param("cross_kernel", nn.initializers.normal(x.shape[1] ** -0.5), shape)
        bias = self.param("cross_bias", nn.initializers.zeros, shape)
        for w, b in zip(kernel, bias, strict=True):
            x = x0 * jnp.sum(x * w, axis=-1, keepdims=True) + b + x
        return self.output(x, self.mlp(rows, train=train))
