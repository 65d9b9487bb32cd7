"""Layers that the recommender and the controller share."""

import jax
from flax import linen as nn


class MLP(nn.Module):
    """Eq. (5): dense, batch normalisation (momentum .9, epsilon 1e-5), ReLU and dropout, per hidden layer.

    Without an output layer: [B, any] -> [B, hidden[-1]].
    """

    hidden: tuple[int, ...]
    dropout: float
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, any] -> [B, hidden[-1]]."""
        for width in self.hidden:
            x = nn.Dense(width, kernel_init=nn.initializers.glorot_normal())(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return x
