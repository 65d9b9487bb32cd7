"""A searched loss for click prediction, in numpy, PyTorch, JAX, LightGBM and CatBoost, from the
table in searched_loss.json beside this file.

    import searched_loss
    loss = searched_loss.torch_loss(logits, labels).mean()  # PyTorch; loss.backward() as ever
    loss = searched_loss.jax_loss(logits, labels).mean()    # JAX; jax.grad as ever
    values = searched_loss.value(logits, labels)            # numpy
    gradients = searched_loss.gradient(logits, labels)

Where the loss looks at context fields, `contexts` numbers their values, and the functions take
the numbers as a third argument, of the labels' shape:

    numbers = searched_loss.contexts([["ios"], ["android"]])  # the values of an example, in order
    loss = searched_loss.torch_loss(logits, labels, torch.tensor(numbers)).mean()

Gradient boosting takes it as the objective; probabilities are then sigmoid(raw score):

    parameters = {"objective": searched_loss.lightgbm_objective(numbers), "metric": "auc"}
    lightgbm.train(parameters, lightgbm.Dataset(columns, labels))

    objective = searched_loss.CatBoostObjective()
    model = catboost.CatBoost({"loss_function": objective, "eval_metric": "RMSE"})
    model.fit(columns, searched_loss.targets(labels, numbers))

Logits z are real numbers before the sigmoid, labels are 0 or 1, of one shape; so is what comes
back, in the logits' type, float32 or float64. The value is v(y, z) = sum_i alpha_i l_i, where a
controller chose the weights alpha from (y, sigmoid z). The gradient is g(y, z) = sum_i alpha_i
dl_i/dz with alpha held fixed, which is what the recommender was trained with. So g is not the
derivative of v, and the functions above hand g to automatic differentiation in its place. The
hessian is h(y, z) = sum_i alpha_i d2l_i/dz2, and may be negative.
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
LEAST = 1e-6  # curvature


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


def hessian(logits: Any, labels: Any, context: Any = None) -> np.ndarray:
    """h(y, z), in numpy."""
    return _look_up(np, "hessian", _floats(logits), np.asarray(labels), context)


def curvature(logits: Any, context: Any = None) -> np.ndarray:
    """What a Newton step divides by, positive: the mean of h over labels whose share of ones, q,
    is the one at which the loss would stay at z, q g(1, z) + (1 - q) g(0, z) = 0.

    Of cross-entropy q is sigmoid z, and this is q (1 - q).
    """
    of_label = np.zeros(np.shape(logits), int), np.ones(np.shape(logits), int)
    down, up = (gradient(logits, labels, context) for labels in of_label)
    at_zero, at_one = (hessian(logits, labels, context) for labels in of_label)
    share = np.clip(down / np.maximum(down - up, LEAST), 0, 1)
    return np.maximum(share * at_one + (1 - share) * at_zero, LEAST)


def lightgbm_objective(context: Any = None) -> Any:
    """For `objective` of lightgbm.train: (raw scores, Dataset) -> the gradient and curvature of
    each row; `context` are the numbers of the Dataset's rows, in their order.
    """

    def objective(raw: np.ndarray, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        labels, weight = dataset.get_label().astype(int), dataset.get_weight()
        found = gradient(raw, labels, context), curvature(raw, context)
        return found if weight is None else tuple(part * weight for part in found)

    return objective


def targets(labels: Any, context: Any = None) -> np.ndarray:
    """For CatBoostObjective, which sees no more of a row than its target: label + 2 number."""
    labels = np.asarray(labels).astype(int)
    return labels if context is None else labels + 2 * np.asarray(context)


class CatBoostObjective:
    """For `loss_function` of CatBoost, whose targets are those of `targets`."""

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple]:
        """First and second derivative, of each row, of what CatBoost maximises."""
        code, raw = np.asarray(targets).astype(int), np.asarray(approxes)
        context = code // 2 if fields() else None
        weight = np.ones(len(code)) if weights is None else np.asarray(weights)
        found = gradient(raw, code % 2, context), curvature(raw, context)
        return list(zip(*((-weight * part).tolist() for part in found), strict=True))


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
    tabulated = ("value", "gradient", "hessian")
    columns = ("logits", *tabulated, *(f"{name}_slope" for name in tabulated))
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
