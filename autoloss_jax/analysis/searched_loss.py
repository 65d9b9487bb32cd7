"""A searched loss for click prediction, in numpy, PyTorch and JAX, from the table in
searched_loss.json beside this file.

    import searched_loss
    loss = searched_loss.torch_loss(logits, labels).mean()  # PyTorch; loss.backward() as ever
    loss = searched_loss.jax_loss(logits, labels).mean()    # JAX; jax.grad as ever
    values = searched_loss.value(logits, labels)            # numpy
    gradients = searched_loss.gradient(logits, labels)

Where the loss looks at context fields, `contexts` numbers their values, and the functions take
the numbers as a third argument, of the labels' shape:

    numbers = searched_loss.contexts([["ios"], ["android"]])  # the values of an example, in order
    loss = searched_loss.torch_loss(logits, labels, torch.tensor(numbers)).mean()

Logits z are real numbers before the sigmoid, labels are 0 or 1, of one shape; so is what comes
back, in the logits' type, float32 or float64. The value is v(y, z) = sum_i alpha_i l_i, where a
controller chose the weights alpha from (y, sigmoid z). The gradient is g(y, z) = sum_i alpha_i
dl_i/dz with alpha held fixed, which is what the recommender was trained with. So g is not the
derivative of v, and the functions above hand g to automatic differentiation in its place.
Between the points of the table both are monotone cubics, beyond it straight lines; where a hinge
breaks, g is that of its right-hand side.

This file needs nothing but numpy and, for their functions, PyTorch or JAX. It may be copied with
its table.
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).with_name("searched_loss.json")


def fields() -> list[str]:
    """The context fields that the loss looks at; none: the functions take no third argument."""
    return _record()["context"]["fields"]


def contexts(rows: Any) -> np.ndarray:
    """The number of each row's values of the context fields, as words; int[rows].

    A value that training did not know has the number of the unknown one.
    """
    found = 0
    for values, words in zip(zip(*rows, strict=True), _record()["context"]["words"], strict=True):
        places = {word: place for place, word in enumerate(words, 1)}
        of_field = np.array([places.get(str(value), 0) for value in values])
        found = found * (len(words) + 1) + of_field
    return np.asarray(found)


def value(logits: Any, labels: Any, context: Any = None) -> np.ndarray:
    """v(y, z), in numpy."""
    return _look_up(np, "value", _floats(logits), np.asarray(labels), context)


def gradient(logits: Any, labels: Any, context: Any = None) -> np.ndarray:
    """g(y, z), in numpy."""
    return _look_up(np, "gradient", _floats(logits), np.asarray(labels), context)


def torch_loss(logits: Any, labels: Any, context: Any = None) -> Any:
    """v(y, z) as a tensor whose gradient in the logits is g(y, z)."""
    return _torch_function().apply(logits, labels, context)


def jax_loss(logits: Any, labels: Any, context: Any = None) -> Any:
    """v(y, z) as a JAX array whose derivative in the logits is g(y, z)."""
    import jax.numpy as jnp

    return _jax_function()(jnp.asarray(logits), jnp.asarray(labels), context)


@functools.cache
def _torch_function() -> Any:
    import torch

    class SearchedLoss(torch.autograd.Function):
        """The value forwards, the tabulated gradient backwards."""

        @staticmethod
        def forward(ctx, logits, labels, context):
            """v(y, z)."""
            ctx.save_for_backward(logits, labels, context)
            return _look_up(torch, "value", logits, labels, context)

        @staticmethod
        def backward(ctx, *upstream):
            """g(y, z), times what comes from above."""
            return upstream[0] * _look_up(torch, "gradient", *ctx.saved_tensors), None, None

    return SearchedLoss


@functools.cache
def _jax_function() -> Any:
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def searched_loss(logits, labels, context):
        return _look_up(jnp, "value", logits, labels, context)

    @searched_loss.defjvp
    def _(primals, tangents):
        return searched_loss(*primals), _look_up(jnp, "gradient", *primals) * tangents[0]

    return searched_loss


@functools.cache
def _table() -> dict[str, dict[str, np.ndarray]]:
    columns = ("logits", "value", "value_slope", "gradient", "gradient_slope")
    return {
        label: {name: np.asarray(table[name]) for name in columns}
        for label, table in _record()["labels"].items()
    }


@functools.cache
def _record() -> dict[str, Any]:
    return json.loads(TABLE.read_text())


def _floats(logits: Any) -> np.ndarray:
    logits = np.asarray(logits)
    return logits if np.issubdtype(logits.dtype, np.floating) else logits.astype(np.float64)


def _look_up(xp: Any, name: str, logits: Any, labels: Any, context: Any) -> Any:
    """`name` at logits, labels and contexts of one shape; xp is numpy, torch or jax.numpy."""
    if (context is None) != (not fields()):
        raise ValueError(
            f"this loss looks at {', '.join(fields())}: give the numbers of `contexts` too"
            if fields()
            else "this loss looks at no context: leave the third argument out"
        )
    if context is None:
        context = xp.zeros_like(labels)
    if logits.shape != labels.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} differ in shape"
        )
    zero, one = (interpolate(xp, _table()[label], name, logits, context) for label in ("0", "1"))
    return xp.where(labels == 1, one, zero)


def interpolate(xp: Any, table: dict[str, np.ndarray], name: str, z: Any, context: Any) -> Any:
    """`name` at logits z, under contexts int of the same shape: the cubic through two neighbours,
    with their slopes, and straight lines beyond the table.

    Where a hinge breaks, two points lie on one place, and no cubic goes between them.
    """
    like = {"dtype": z.dtype, "device": z.device} if xp.__name__ == "torch" else {"dtype": z.dtype}
    x, y, slope = (xp.asarray(table[key], **like) for key in ("logits", name, f"{name}_slope"))
    y, slope = (a.reshape((len(x), -1)) for a in (y, slope))
    inside = xp.clip(z, x[0], x[-1])
    i = xp.clip(xp.searchsorted(x, inside, side="right") - 1, 0, len(x) - 2)
    here, following = (i, context), (i + 1, context)
    width = x[i + 1] - x[i]
    t = (inside - x[i]) / width
    cubic = (
        y[here] * (1 + 2 * t) * (1 - t) ** 2
        + y[following] * t**2 * (3 - 2 * t)
        + width * (slope[here] * t * (1 - t) ** 2 - slope[following] * t**2 * (1 - t))
    )
    return cubic + xp.where(z < inside, slope[0][context], slope[-1][context]) * (z - inside)
