"""DeepFM (Guo et al., IJCAI 2017), as in Fig. 2 and Eq. (1)-(6) of the AutoLoss paper."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.interactions import bi_interaction
from autoloss_jax.layers import MLP


class DeepFM(nn.Module):
    """First-order terms + factorisation machine + MLP.

    One logit: h_out = l_fm + W_o MLP(E). C logits: a scalar l_fm would shift all of them alike, and softmax would
    not see it; so the first-order weights are per class, and Eq. (6)'s dense layer takes [FM per dimension; MLP(E)].
    """

    num_outputs: int
    embed_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    batch_norm: bool = True
    dtype: Any = None  # of the MLP's arithmetic

    @property
    def row_dim(self) -> int:
        """R: an embedding and its first-order weights."""
        return self.embed_dim + self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, R] -> logits [B, C]."""
        d = self.embed_dim
        mlp = MLP(self.hidden, self.dropout, self.batch_norm, self.dtype, d)
        h = mlp(rows, train=train)
        output = nn.Dense(self.num_outputs, kernel_init=nn.initializers.glorot_normal())
        linear, interactions = jnp.sum(rows, axis=1)[:, d:], bi_interaction(rows)[:, :d]
        if self.num_outputs == 1:
            return linear + jnp.sum(interactions, axis=-1, keepdims=True) + output(h)
        return linear + output(jnp.concatenate([interactions, h], axis=-1))
