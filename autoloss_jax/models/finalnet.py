"""FinalNet, factorised interaction layers (Zhu et al., SIGIR 2023)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.errors import UserError
from autoloss_jax.models.layers import Dropout
from autoloss_jax.models.recommender import Recommender


class FinalNet(Recommender):
    """The mean of the logits of one or two blocks of layers [h2; h1 * h2], (h2, h1) = W x + b.

    k layers hold interactions up to order 2^k. `residual=sum` is h2 + h1 * h2 instead. With
    `gating` the first block sees [E; E * (W E + b)], W across fields. The paper also teaches
    each of two blocks by their mean: that is a loss, and no part of this. Biases stay before
    batch norm: their products with h do not cancel.
    """

    blocks: Literal["1", "2"] = "2"
    gating: bool = False
    residual: Literal["concat", "sum"] = "concat"
    activation: Literal["identity", "relu"] = "identity"

    def check(self, num_fields: int) -> None:
        """What is concatenated of two halves is even."""
        if self.residual == "concat" and any(width % 2 for width in self.hidden):
            raise UserError(
                "--config.model.name=finalnet: residual=concat wants even widths, not "
                f"--config.model.hidden={self.hidden!r}; or take finalnet(residual=sum)"
            )

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        logits = []
        for block in range(int(self.blocks)):
            x = rows
            if self.gating and block == 0:
                gate = nn.Dense(
                    rows.shape[1],
                    kernel_init=nn.initializers.zeros,
                    bias_init=nn.initializers.ones,
                    name="gate",
                )
                x = jnp.concatenate([x, x * gate(x.swapaxes(1, 2)).swapaxes(1, 2)], axis=1)
            x = x.reshape(x.shape[0], -1)
            for i, width in enumerate(self.hidden):
                x = self.interact(x, width, f"block_{block}_layer_{i}")
                x = self.norm(x, train=train)
                x = nn.relu(x) if self.activation == "relu" else x
                x = Dropout(self.dropout)(x, train=train)
            logits.append(self.output(x))
        return jnp.mean(jnp.stack(logits), axis=0)

    def interact(self, x: jax.Array, width: int, name: str) -> jax.Array:
        """A factorised interaction layer. [B, any] -> [B, width]."""
        size = width if self.residual == "concat" else 2 * width
        h = nn.Dense(size, kernel_init=nn.initializers.glorot_normal(), name=name)(x)
        h2, h1 = jnp.split(h, 2, axis=-1)
        return (
            jnp.concatenate([h2, h1 * h2], axis=-1) if self.residual == "concat" else h2 + h1 * h2
        )
