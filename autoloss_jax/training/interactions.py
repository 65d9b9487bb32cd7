"""Pairs of fields whose values act together, found in train's labels before a model is trained.

As FAST does (Lou et al., KDD 2013): fit what each field says by itself, then look at what is left
in the cells of each pair. Here the first is a logistic regression, and what is left is measured
against what chance leaves there.

Shapes: n rows, M cells of a pair.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import scipy.special

from autoloss_jax.data.load import host
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.store import Store
from autoloss_jax.training import baselines

PRIOR_ROWS = 10  # a cell's mean residual is shrunk by so many, each of variance p (1 - p)
LEAST = 3.0  # standard deviations above chance
MOST = 16  # pairs
ROWS_A_CELL = 8  # at least, on average, of a pair that is a field
LEAST_ROWS_A_CELL = 1.1  # of a pair of which only that is asked


class Interactions:
    """What a regression on the fields by themselves leaves to pairs of them, on a sample of the
    rows; both are made when they are first asked for. Of more than two classes there is nothing.
    """

    def __init__(self, learned: tuple[host.Split, ...], data: Store):
        self.learned, self.data = learned, data

    @functools.cached_property
    def sample(self) -> host.Split:
        """The rows that are looked at."""
        return baselines.sample(self.learned, seed=0)

    @property
    def known(self) -> bool:
        """Whether labels are of two classes, and both are there."""
        return self.data.schema.num_classes == 2 and len(np.unique(self.sample["y"])) == 2

    @functools.cached_property
    def left(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each label what is left, and its variance by chance."""
        alone = baselines.linear(baselines.regression(self.sample, self.data), self.sample)
        p = scipy.special.expit(alone[:, 0])
        return np.asarray(self.sample["y"]) - p, p * (1 - p)

    def found(self) -> tuple[str, ...]:
        """The pairs that act together as `data.crosses` names them, the strongest first."""
        if not self.known:
            return ()
        pairs = _cells(self.sample, self.data.schema)
        scores = {pair: excess(cells, *self.left) for pair, cells in pairs}
        strongest = sorted(scores, key=lambda pair: -scores[pair])
        return tuple(pair for pair in strongest if scores[pair] > LEAST)[:MOST]

    def told_by_others(self, group: tuple[str, ...]) -> float:
        """How much less logloss a row has, in nats, where the other rows with its values of a
        group of fields are known beside the fields by themselves.
        """
        if not self.known:
            return 0.0
        schema = self.data.schema
        slots = [schema.place(name, "--config.data.target_encoding")[0] for name in group]
        _, cells = np.unique(np.asarray(self.sample["x"])[:, slots], axis=0, return_inverse=True)
        if len(cells) < LEAST_ROWS_A_CELL * (cells.max() + 1):  # hardly any are there twice
            return 0.0
        return gain(cells, *self.left)


def gain(cells: np.ndarray, residual: np.ndarray, variance: np.ndarray) -> float:
    """The fall of logloss, in nats a row, to second order, if each logit moves by the mean residual
    of its cell's other rows, times what is best for all; over the rows that are not alone.

    Args:
        cells, residual, variance: as those of `excess`.
    """
    total, weight = np.bincount(cells, residual), np.bincount(cells, variance)
    others = (total[cells] - residual) / (weight[cells] - variance + PRIOR_ROWS * variance.mean())
    known = np.bincount(cells)[cells] > 1
    slope, curvature = (np.sum((of * others)[known]) for of in (residual, variance * others))
    if slope <= 0:
        return 0.0
    return float(slope**2 / max(curvature, 1e-12) / 2 / known.sum())


def excess(cells: np.ndarray, residual: np.ndarray, variance: np.ndarray) -> float:
    """How many standard deviations the residuals' sums in the cells are larger than by chance.

    With R and W the sums of a cell, R^2 / (W + c) is by chance W / (W + c) on average, c being
    PRIOR_ROWS mean variances: then a cell of few rows says little.

    Args:
        cells: int[n], from 0.
        residual: float[n], label minus probability.
        variance: float[n], p (1 - p).
    """
    total, chance = np.bincount(cells, residual), np.bincount(cells, variance)
    shrunk = chance + PRIOR_ROWS * variance.mean()
    deviation = np.sqrt(2 * np.sum(np.square(chance / shrunk)))
    return float(np.sum((np.square(total) - chance) / shrunk) / max(deviation, 1e-12))


def _cells(sample: host.Split, schema: Schema) -> Iterator[tuple[str, np.ndarray]]:
    """(Name, cell of each row) of every pair of fields of words with enough rows a cell."""
    words = [
        (name, *schema.place(name, "--config.data.crosses"))
        for field, name in enumerate(schema.fields[: schema.num_inputs])
        if schema.slots[field] == 1 and name not in schema.scales and name not in schema.buckets
    ]
    x, n = np.asarray(sample["x"]), len(sample["y"])
    for (a, slot_a, first_a, size_a), (b, slot_b, first_b, size_b) in itertools.combinations(
        words, 2
    ):
        if size_a * size_b * ROWS_A_CELL <= n:
            yield f"{a}*{b}", (x[:, slot_a] - first_a) * size_b + x[:, slot_b] - first_b
