"""FNN, the neural network supported by a factorisation machine (Zhang et al., ECIR 2016)."""

from typing import Literal

import jax
from flax import linen as nn

from autoloss_jax.models.recommender import Recommender


class FNN(Recommender):
    """MLP(E), from embeddings that learn with it from the start.

    The paper starts from a trained FM, hands the first-order weights to the MLP beside the
    embeddings, and squashes by tanh: `first_order=true` and `activation=tanh`. The defaults are
    torchfm's, and today's practice.
    """

    activation: Literal["relu", "tanh"] = "relu"
    first_order: bool = False

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding, and its first-order weights if the MLP reads them."""
        return self.embed_dim, self.num_outputs if self.first_order else 0

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, D] or [B, F, D + C] -> logits [B, C]."""
        x = rows.reshape(rows.shape[0], -1)
        return self.output(self.mlp(x, train=train, activation=getattr(jax.nn, self.activation)))
