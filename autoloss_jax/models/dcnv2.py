"""DCN-V2, the improved deep & cross network (Wang et al., WWW 2021)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.recommender import Recommender


class DCNv2(Recommender):
    """Cross network and MLP, in parallel or stacked; a cross layer is x0 * (W x + b) + x, Eq.
    (1).

    `cross=low_rank`: W = U V', Eq. (3). `cross=mixture`: experts of low rank with tanh between,
    mixed by a softmax over gates that all layers share, Eq. (4)-(5); as in FuxiCTR.
    """

    layers: Count = 3
    cross: Literal["full", "low_rank", "mixture"] = "full"
    rank: Count = 32
    experts: Count = 4
    structure: Literal["parallel", "stacked"] = "parallel"

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        x = x0 = rows.reshape(rows.shape[0], -1)
        init = nn.initializers.glorot_normal()
        if self.cross == "mixture":
            gate = nn.Dense(self.experts, use_bias=False, kernel_init=init, name="gate")
            for i in range(self.layers):
                experts = Experts(self.rank, self.experts, name=f"cross_{i}")
                x = x0 * experts(x, jax.nn.softmax(gate(x))) + x
        else:
            low = {"features": self.rank, "use_bias": False, "kernel_init": init}
            for i in range(self.layers):
                h = nn.Dense(**low, name=f"low_{i}")(x) if self.cross == "low_rank" else x
                x = x0 * nn.Dense(x.shape[1], kernel_init=init, name=f"cross_{i}")(h) + x
        if self.structure == "stacked":
            return self.output(self.mlp(x, train=train))
        return self.output(x, self.mlp(rows, train=train))


class Experts(nn.Module):
    """sum_e g_e U_e tanh(C_e tanh(V_e' x)) + b, the mixture of Eq. (5)."""

    rank: int
    experts: int

    @nn.compact
    def __call__(self, x: jax.Array, gates: jax.Array) -> jax.Array:
        """[B, n], [B, E] -> [B, n]."""
        n, init = x.shape[1], nn.initializers.glorot_normal(batch_axis=0)
        v = self.param("V", init, (self.experts, n, self.rank))
        c = self.param("C", init, (self.experts, self.rank, self.rank))
        u = self.param("U", init, (self.experts, n, self.rank))
        h = jnp.tanh(jnp.einsum("bn,enr->ber", x, v))
        h = jnp.tanh(jnp.einsum("ber,esr->bes", h, c))
        mixed = jnp.einsum("bes,ens->bn", gates[:, :, None] * h, u)
        return mixed + self.param("bias", nn.initializers.zeros, (n,))
