"""Layers that the recommender and the controller share."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend.random import threefry_2x32


class Dropout(nn.Module):
    """Zeroes each element with probability `rate`, in steps of 2^-16, and scales the others to keep the mean.

    Half a word of Threefry an element, where jax.random.bernoulli takes two: drawing the masks is a good part of a
    step on a CPU.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[any] -> [any]."""
        kept = round((1 - self.rate) * 2**16)
        if not train or kept == 2**16:
            return x
        key = jax.random.key_data(self.make_rng("dropout"))
        words = threefry_2x32(key, jnp.arange(-(-x.size // 4) * 2, dtype=jnp.uint32))
        halves = jnp.concatenate([words & 0xFFFF, words >> 16])[: x.size].reshape(x.shape)
        return jnp.where(halves < np.uint32(kept), x * (2**16 / kept), 0)


class MLP(nn.Module):
    """Eq. (5): dense, batch normalisation (momentum .9, epsilon 1e-5), ReLU and dropout, per hidden layer.

    Without an output layer: [B, any] -> [B, hidden[-1]]. Before a batch norm there is no bias: it would cancel, and
    Adam would make a random walk of its rounding noise, which the running mean follows late.
    """

    hidden: tuple[int, ...]
    dropout: float
    batch_norm: bool = True
    dtype: Any = None  # of the arithmetic; None: that of the parameters. Batch statistics are always float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, any] -> [B, hidden[-1]]."""
        dense = functools.partial(
            nn.Dense,
            use_bias=not self.batch_norm,
            kernel_init=nn.initializers.glorot_normal(),
            dtype=self.dtype,
        )
        norm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        for width in self.hidden:
            x = dense(width)(x)
            if self.batch_norm:
                x = norm(use_running_average=not train)(x)
            x = Dropout(self.dropout)(nn.relu(x), train=train)
        return x
