"""HOFM, the higher-order factorisation machine (Blondel et al., NIPS 2016)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from autoloss_jax.config.specs import Order
from autoloss_jax.models.interactions import anova, bi_interaction
from autoloss_jax.models.recommender import Recommender


class HOFM(Recommender):
    """First-order terms + the ANOVA kernels of orders 2 to `order`, Eq. (4), each over
    embeddings of its own.
    """

    order: Order = 3

    def columns(self, num_fields: int) -> tuple[int, int]:
        """An embedding for each order, and its first-order weights."""
        return (self.order - 1) * self.embed_dim, self.num_outputs

    def least_fields(self) -> int:
        """As many as the highest order takes."""
        return self.order

    @nn.compact
    def __call__(self, rows: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, (order - 1) D + C] -> logits [B, C]."""
        parts = jnp.split(rows[..., : -self.num_outputs], self.order - 1, axis=-1)
        kernels = [
            bi_interaction(parts[0]),
            *(anova(e, t) for t, e in enumerate(parts[1:], start=3)),
        ]
        return self.linear(rows) + self.total(jnp.concatenate(kernels, axis=-1))
