"""DeepFM (Guo et al., IJCAI 2017), as in Fig. 2 and Eq. (1)-(6) of the AutoLoss paper."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.models.interactions import bi_interaction
from autoloss_jax.models.recommender import Recommender


class DeepFM(Recommender):
    """First-order terms + factorisation machine + MLP.

    One logit: h_out = l_fm + W_o MLP(E). C logits: a scalar l_fm would shift all of them alike,
    and softmax would not see it; so the first-order weights are per class, and Eq. (6)'s dense
    layer takes [FM per dimension; MLP(E)].
    """

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding and its first-order weights."""
        return self.embed_dim, self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D + C] -> logits [B, C]."""
        h = self.mlp(rows, train=train)
        interactions = bi_interaction(rows)[:, : self.embed_dim]
        if self.num_outputs == 1:
            return (
                self.linear(rows) + jnp.sum(interactions, axis=-1, keepdims=True) + self.output(h)
            )
        return self.linear(rows) + self.output(interactions, h)
