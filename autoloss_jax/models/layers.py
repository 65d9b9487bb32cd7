"""Layers that the recommender and the controller share."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from autoloss_jax.data.hashing import mix

# Of a module several, each with parameters, statistics and noise of its own: [size, ...].
several = functools.partial(
    nn.vmap,
    variable_axes={"params": 0, "batch_stats": 0},
    split_rngs={"params": True, "dropout": True},
)


class Dropout(nn.Module):
    """Zeroes each element with probability `rate`, in steps of 2^-32, and scales the others to
    keep the mean.

    An element's mask hashes its place with the key: no bits are stored, so that the compiler
    draws them where they are used. Threefry's, drawn ahead, took a tenth of a training step on a
    CPU.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[any] -> [any]."""
        if not train or self.rate == 0:
            return x
        one, two = jax.random.key_data(self.make_rng("dropout"))
        place = jnp.arange(x.size, dtype=jnp.uint32).reshape(x.shape)
        bits = mix(mix(place ^ one) + two)
        dropped = round(self.rate * 2**32)
        return jnp.where(bits >= np.uint32(dropped), x * (1 / (1 - dropped / 2**32)), 0)


class RowsDense(nn.Module):
    """A dense layer over the embeddings in rows, without bias: [B, F, R] -> [B, features].

    What else a row holds meets zeros: some products more, and no copy of the batch to cut it
    out.
    """

    features: int
    embed_dim: int
    use_bias: bool
    kernel_init: nn.initializers.Initializer
    dtype: Any = None

    @nn.compact
    def __call__(self, rows: jax.Array) -> jax.Array:
        """[B, F, R] -> [B, features]."""
        num_rows, num_fields, row_dim = rows.shape
        kernel = self.param(
            "kernel", self.kernel_init, (num_fields * self.embed_dim, self.features)
        )
        kernel = kernel.reshape(num_fields, self.embed_dim, self.features)
        kernel = jnp.pad(kernel, ((0, 0), (0, row_dim - self.embed_dim), (0, 0)))
        kernel = kernel.reshape(num_fields * row_dim, self.features)
        x, kernel = nn.dtypes.promote_dtype(rows.reshape(num_rows, -1), kernel, dtype=self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else 0
        return x @ kernel + bias


class Adapter(nn.Module):
    """x * s_k + b_k, of the k-th member of several that share a layer: rank one, as in
    BatchEnsemble (Wen et al., ICLR 2020) and TabM (Gorishniy et al., ICLR 2025).

    Args:
        members: K.
        signs: s begins at 1 or -1 at random, which sets members apart; else at 1.
        shift: whether there is b.
    """

    members: int
    signs: bool = False
    shift: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[K B, ...], member by member -> the same."""
        shape = (self.members, *x.shape[1:])
        scale = self.param("scale", _signs if self.signs else nn.initializers.ones, shape)
        parts = x.reshape(self.members, -1, *x.shape[1:]) * scale[:, None]
        if self.shift:
            parts = parts + self.param("shift", nn.initializers.zeros, shape)[:, None]
        return parts.reshape(x.shape)


def _signs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.rademacher(key, shape, float)


class MLP(nn.Module):
    """Eq. (5): dense, batch normalisation (momentum .9, epsilon 1e-5), ReLU and dropout, per
    hidden layer.

    Without an output layer: [B, any] -> [B, hidden[-1]]. Before a batch norm there is no bias:
    it would cancel, and Adam would make a random walk of its rounding noise, which the running
    mean follows late.
    """

    hidden: tuple[int, ...]
    dropout: float
    batch_norm: bool = True
    # Of the arithmetic; None: that of the parameters. Batch statistics are always float32.
    dtype: Any = None
    # If not 0, the input is rows [B, F, R], and this many numbers of each are meant.
    embed_dim: int = 0
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    members: int = 1  # that share it; what they see and give stands member by member

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, any] or [B, F, R] -> [B, hidden[-1]]."""
        dense = functools.partial(
            nn.Dense,
            use_bias=not self.batch_norm,
            kernel_init=nn.initializers.glorot_normal(),
            dtype=self.dtype,
        )
        norm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        for i, width in enumerate(self.hidden):
            if x.ndim == 3:
                x = RowsDense(width, self.embed_dim, **dense.keywords, name="Dense_0")(x)
            else:
                x = dense(width, name=f"Dense_{i}")(x)
            if self.members > 1:
                x = Adapter(self.members)(x)
            if self.batch_norm:
                x = norm(use_running_average=not train)(x)
            x = Dropout(self.dropout)(self.activation(x), train=train)
        return x
