"""GDCN, the gated deep & cross network (Wang et al., CIKM 2023)."""

from typing import Literal

import jax
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.recommender import Recommender


class GDCN(Recommender):
    """Gated cross network and MLP, in parallel (GDCN-P) or stacked (GDCN-S).

    A cross layer is x0 * (W x + b) * sigmoid(W_g x) + x, Eq. (2): the gate decides what of the
    next order goes on.
    """

    layers: Count = 3
    structure: Literal["parallel", "stacked"] = "parallel"

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        x = x0 = rows.reshape(rows.shape[0], -1)
        init = nn.initializers.glorot_normal()
        for i in range(self.layers):
            crossed = x0 * nn.Dense(x.shape[1], kernel_init=init, name=f"cross_{i}")(x)
            gate = nn.Dense(x.shape[1], use_bias=False, kernel_init=init, name=f"gate_{i}")(x)
            x = crossed * jax.nn.sigmoid(gate) + x
        if self.structure == "stacked":
            return self.output(self.mlp(x, train=train))
        return self.output(x, self.mlp(rows, train=train))
