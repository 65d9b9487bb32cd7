"""A searched loss as data: its value, gradient and curvature over the logit, at as many points
as a bound on the error wants.

Shapes: K points of one label, M combinations of context values (1 without), N candidate losses.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import PchipInterpolator

from autoloss_jax.algorithm import losses, mixture
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Params
from autoloss_jax.analysis import searched_loss
from autoloss_jax.config.errors import UserError

BOUND = 1e-4  # on the error, relative to max(1, |what is tabulated|)
REACH = 20.0  # of a table: beyond it sigmoid is 0 or 1 in float32, and every loss is straight
MOST_POINTS = 20_000
CHUNK = 8192  # points evaluated at once
KINKS = {losses.hinge: 1.0}  # where a loss breaks, as s z with s = +-1 the sign of the label

TABULATED = ("value", "gradient", "hessian")


class Curve(NamedTuple):
    """A mixture of losses at some logits, its weights held fixed in both derivatives."""

    weights: Any  # [K, M, N], alpha
    value: Any  # [K, M], sum_i alpha_i l_i
    gradient: Any  # [K, M], sum_i alpha_i dl_i/dz
    hessian: Any  # [K, M], sum_i alpha_i d2l_i/dz2


Exact = Callable[[np.ndarray], Curve]  # of logits float64[K]
Table = dict[str, np.ndarray]


def exact(
    al: AutoLoss,
    V: Params,
    stats: Params,
    label: int,
    context: np.ndarray,
    transition: np.ndarray | None = None,
) -> Exact:
    """What a controller makes of one label's logits, in float64, under each of M combinations of
    context values, int[M, fields]; `transition` [M, 2, 2] is the label noise of each, if known.
    """

    @jax.jit
    def chunk(V, stats, logits, cell, seen, noise):
        size = logits.shape[0]
        batch = {
            "y": jnp.full(size, label),
            "seen": jnp.broadcast_to(seen, (size, len(seen))),
            "cell": jnp.full(size, cell),
        } | {name: jnp.broadcast_to(a, (size, *a.shape)) for name, a in noise.items()}
        found = mixture.searched(al, V, stats, logits, batch)
        pool = al.candidates.of(batch, V)
        hessian = mixture.hessian(pool, found.weights, logits, batch["y"])
        return Curve(found.weights, found.value, found.gradient[:, 0], hessian)

    def under(logits: np.ndarray, cell: int) -> Curve:
        noise = {} if transition is None else {"transition": transition[cell]}
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (V, stats))
            padded = np.resize(logits, (-(-len(logits) // CHUNK), CHUNK, 1))
            parts = [jax.device_get(chunk(*wide, z, cell, context[cell], noise)) for z in padded]
        return Curve(*(np.concatenate(p)[: len(logits)] for p in zip(*parts, strict=True)))

    def at(logits: np.ndarray) -> Curve:
        cells = [under(logits, cell) for cell in range(len(context))]
        return Curve(*(np.stack(parts, axis=1) for parts in zip(*cells, strict=True)))

    return at


def kinks(pool: Sequence[Callable], label: int) -> list[float]:
    """The logits at which the gradient of some candidate jumps."""
    sign = 2 * label - 1
    return sorted({sign * KINKS[f] for f in pool if f in KINKS})


def tabulate(at: Exact, breaks: Sequence[float]) -> tuple[Table, dict[str, float]]:
    """A table for `searched_loss.interpolate`, with the weights beside, and its errors, each
    below BOUND.

    The errors are the largest on logits that had no part in making the table, to twice its
    reach. UserError if that takes too many points.
    """
    tolerance = BOUND / 2
    while True:
        ends = [-REACH, *breaks, REACH]
        parts = [_interval(at, low, high, tolerance) for low, high in itertools.pairwise(ends)]
        table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        errors = measure(at, table)
        if max(errors.values()) < BOUND:
            return table, errors
        tolerance /= 2


def measure(at: Exact, table: Table) -> dict[str, float]:
    """What is tabulated -> the largest error, relative to max(1, |.|), of a table on points drawn
    at random.
    """
    random = np.random.default_rng(0)
    z = np.concatenate([random.uniform(-r, r, 4 * CHUNK) for r in (2 * REACH, 6.0)])
    return {name: float(error.max()) for name, error in _errors(at, table, z).items()}


def _errors(at: Exact, table: Table, z: np.ndarray) -> dict[str, np.ndarray]:
    """The largest error over contexts at each logit, [K]."""
    curve, found = at(z), {}
    for name in TABULATED:
        true = getattr(curve, name)
        cells = [np.full(len(z), cell) for cell in range(true.shape[1])]
        ours = [searched_loss.interpolate(np, table, name, z, cell) for cell in cells]
        errors = np.abs(np.stack(ours, axis=1) - true) / np.maximum(1, np.abs(true))
        found[name] = errors.max(axis=1)
    return found


def _interval(at: Exact, low: float, high: float, tolerance: float) -> Table:
    """Points from one break to the next; an interval is halved until the error at three places
    in it is small.
    """
    x = np.arange(low, high + 0.125, 0.25)  # halves of these are exact in float32
    while True:
        table = _fit(at, x)
        width = np.diff(x)
        probes = x[:-1, None] + width[:, None] * np.array([0.25, 0.5, 0.75])
        errors = _errors(at, table, probes.ravel())
        coarse = (
            functools.reduce(np.maximum, errors.values()).reshape(probes.shape).max(axis=1)
            > tolerance
        )
        if not coarse.any():
            return table
        if len(x) > MOST_POINTS:
            raise UserError(
                f"the controller is too steep for a table of {MOST_POINTS} points, or a loss of "
                f"your own is not straight beyond logits of {REACH:g}; export another run's, or "
                "raise BOUND in autoloss_jax/analysis/tabulation.py"
            )
        x = np.sort(np.concatenate([x, probes[coarse, 1]]))


def _fit(at: Exact, x: np.ndarray) -> Table:
    """The table at these points, its ends approached from inside."""
    curve = at(np.clip(x, np.nextafter(x[0], np.inf), np.nextafter(x[-1], -np.inf)))
    table = {"logits": x, "weights": _rounded(curve.weights)}
    for name in TABULATED:
        table[name] = _rounded(getattr(curve, name))
        table[f"{name}_slope"] = _rounded(PchipInterpolator(x, table[name]).derivative()(x))
    return table


def _rounded(a: Any) -> np.ndarray:
    """To nine significant digits, as they are written."""
    return np.vectorize(lambda number: float(f"{number:.9g}"), otypes=[float])(a)
