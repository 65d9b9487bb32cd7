"""IPNN, the inner-product neural network (Qu et al., ICDM 2016), as in Fig. 2 of the AutoLoss paper."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.interactions import inner_products
from autoloss_jax.layers import MLP


class IPNN(nn.Module):
    """h_out = MLP([E; <e_i, e_j> for i < j]), Eq. (3)."""

    num_outputs: int
    embed_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    batch_norm: bool = True
    dtype: Any = None  # of the MLP's arithmetic

    @property
    def row_dim(self) -> int:
        """R: an embedding; there are no first-order weights."""
        return self.embed_dim

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] -> logits [B, C]."""
        x = jnp.concatenate([rows.reshape(rows.shape[0], -1), inner_products(rows)], axis=-1)
        h = MLP(self.hidden, self.dropout, self.batch_norm, self.dtype)(x, train=train)
        return nn.Dense(self.num_outputs, kernel_init=nn.initializers.glorot_normal())(h)
