"""MaskNet (Wang et al., DLP-KDD 2021)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Count
from autoloss_jax.models.layers import Dropout
from autoloss_jax.models.recommender import Recommender


class MaskNet(Recommender):
    """Blocks whose input is multiplied by a mask made of the embeddings.

    `form=serial`: a block for each width in `hidden`, one after another, Fig. 3.
    `form=parallel`: `blocks` of `width` side by side over the normalised embeddings, then the
    MLP, Fig. 4 (in FuxiCTR without batch norm). A mask has `ratio` times its width hidden
    numbers.
    """

    form: Literal["serial", "parallel"] = "serial"
    blocks: Count = 3
    width: Count = 64
    ratio: Count = 1

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        num_rows = rows.shape[0]
        e = rows.reshape(num_rows, -1)
        # a scale and a shift of its own for each field
        norm = nn.LayerNorm(
            epsilon=1e-5, reduction_axes=-1, feature_axes=(-2, -1), use_fast_variance=False
        )
        x = norm(rows).reshape(num_rows, -1)
        if self.form == "parallel":
            parts = [
                MaskBlock(self.width, self.ratio, self.dropout)(e, x, train=train)
                for _ in range(self.blocks)
            ]
            return self.output(self.mlp(jnp.concatenate(parts, axis=-1), train=train))
        for width in self.hidden:
            x = MaskBlock(width, self.ratio, self.dropout)(e, x, train=train)
        return self.output(x)


class MaskBlock(nn.Module):
    """ReLU(LayerNorm(W (mask(e) * x))) with dropout; the mask is two dense layers, Eq. (3)-(7)."""

    width: int
    ratio: int
    dropout: float

    @nn.compact
    def __call__(self, e: jax.Array, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, any], [B, n] -> [B, width]."""
        init = nn.initializers.glorot_normal()
        mask = nn.relu(nn.Dense(self.ratio * x.shape[1], kernel_init=init, name="aggregate")(e))
        mask = nn.Dense(x.shape[1], kernel_init=init, name="project")(mask)
        x = nn.Dense(self.width, use_bias=False, kernel_init=init)(mask * x)
        x = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)(x)
        return Dropout(self.dropout)(nn.relu(x), train=train)
