"""LR, logistic regression (as in Richardson et al., WWW 2007): softmax regression for several
classes.
"""

import jax
from flax import linen as nn

from autoloss_jax.models.recommender import Recommender


class LR(Recommender):
    """The sum of the first-order weights and a bias; no embeddings."""

    def columns(self, num_fields: int) -> tuple[int, int]:
        """First-order weights alone."""
        return 0, self.num_outputs

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, C] -> logits [B, C]."""
        return self.linear(rows) + self.bias()
