"""Noise in train's labels by context, estimated from trusted rows: the forward correction's part.

Where labels get lost on some platforms and not on others, the share of positives in train, r, is
below that in a sample whose labels are trusted, q, by a factor that the platform decides. The two
numbers give a rate in each cell of the context, and with the rates cross-entropy is corrected
(`networks.Transitions`): Patrini et al., CVPR 2017, with rates from trusted data as in Hendrycks
et al., NeurIPS 2018.

Shapes: n rows of train, m trusted rows, K context fields, M cells, C classes.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autoloss_jax.algorithm import losses

PRIOR_ROWS = 20  # trusted rows that the prior of a cell is worth
MOST_CELLS = 1 << 20  # of more combinations than that, only those of train have a number


@dataclasses.dataclass(frozen=True)
class Cells:
    """The combinations of the values of K context fields, numbered from 0 to M - 1."""

    sizes: tuple[int, ...]  # how many values each field has
    codes: np.ndarray | None = None  # int64[M], ascending, where only some have a number

    @classmethod
    def of(cls, values: np.ndarray, sizes: Sequence[int]) -> "Cells":
        """Those of train's rows, values int[n, K]."""
        if math.prod(sizes) <= MOST_CELLS:
            return cls(tuple(sizes))
        return cls(tuple(sizes), np.unique(_codes(values, sizes)))

    def __len__(self) -> int:
        return math.prod(self.sizes) if self.codes is None else len(self.codes)

    def number(self, values: np.ndarray) -> np.ndarray:
        """The cell of each row, values int[n, K] -> int32[n]; M for one without a number."""
        codes = _codes(values, self.sizes)
        if self.codes is None:
            return codes.astype(np.int32)
        places = np.minimum(np.searchsorted(self.codes, codes), len(self) - 1)
        return np.where(self.codes[places] == codes, places, len(self)).astype(np.int32)

    def values(self) -> np.ndarray:
        """The combination of each cell, int[M, K]."""
        if not self.sizes:
            return np.zeros((1, 0), np.int32)
        codes = np.arange(len(self)) if self.codes is None else self.codes
        return np.stack(np.unravel_index(codes, self.sizes), axis=1)


def _codes(values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    if not sizes:
        return np.zeros(len(values), np.int64)
    return np.ravel_multi_index(tuple(values.T.astype(np.int64)), tuple(sizes))


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of some rows, and where they are from."""

    y: np.ndarray  # int[n]
    context: np.ndarray  # int[n, K], the values of the context fields


@dataclasses.dataclass(frozen=True)
class LabelNoise:
    """What is known of each cell: the chances that a true label reads as another."""

    kind: str  # "missing" or "flipped", at a rate; "any": a matrix
    cells: Cells
    transition: np.ndarray  # float64[M, C, C]: from the true label to that in train
    error: np.ndarray  # float64[M, C, C], standard errors
    rows: np.ndarray  # int64[M], rows of train
    trusted: np.ndarray  # int64[M], trusted rows
    contradicted: np.ndarray  # bool[M]: trusted rows say that the rate is below 0

    @property
    def rate(self) -> np.ndarray:
        """Of positives that read 0, float64[M]; of flipped labels the share of all of them."""
        return self.transition[:, 1, 0]

    @property
    def rate_error(self) -> np.ndarray:
        """Its standard error, float64[M]."""
        return self.error[:, 1, 0]


def estimate(
    kind: str,
    train: Labels,
    trusted: Labels,
    sizes: Sequence[int],
    guesses: tuple[np.ndarray, np.ndarray] | None = None,
) -> LabelNoise:
    """The rates of all cells, from the labels of train and of trusted rows.

    With r the share of positives in train and q the true one, in one cell: a share 1 - r / q of
    its positives is missing, or (r - q) / (1 - 2 q) of its labels are flipped. A cell without rows
    of train has the rate of all.

    Args:
        kind: "missing" or "flipped".
        train, trusted: their labels are 0 or 1.
        sizes: how many values each context field has.
        guesses: a model's chance that the true label is 1, of each row of train, float[n], and
            of each trusted one, float[m]. With them q is what the model says of the cell's rows
            of train, plus what it is wrong by on trusted rows.
    """
    cells = Cells.of(train.context, sizes)
    counts, known = (_Counts.of(labels, cells) for labels in (train, trusted))
    r = (counts.positive + PRIOR_ROWS * counts.share) / (counts.rows + PRIOR_ROWS)
    if guesses is None:
        q, q_error = _counted_share(train, trusted, cells, counts, known, r)
    else:
        q, q_error = _guessed_share(train, trusted, cells, counts, known, guesses)
    # what one more of the rate does to the share that is seen; at q = 1/2 no flip shows
    slope = -q if kind == "missing" else np.where(np.abs(1 - 2 * q) < 0.05, 0.05, 1 - 2 * q)
    rate = _rate(cells, counts, q, slope)
    r_error = np.sqrt(r * (1 - r) / (counts.rows + PRIOR_ROWS))
    error = np.hypot(r_error, q_error * (r / q if kind == "missing" else (2 * r - 1) / slope))
    error = np.abs(error / slope)
    found = np.clip(rate, 0, losses.MOST[kind])
    return LabelNoise(
        kind=kind,
        cells=cells,
        transition=losses.transition(kind, found),
        error=np.broadcast_to(error[:, None, None], (len(cells), 2, 2)),
        rows=counts.rows,
        trusted=known.rows,
        contradicted=rate < -2 * error,
    )


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Rows and positives of each cell."""

    rows: np.ndarray  # int64[M]
    positive: np.ndarray  # int64[M]
    share: float  # of positives, over all rows

    @classmethod
    def of(cls, labels: Labels, cells: Cells) -> "_Counts":
        positive, number = labels.y > 0, cells.number(labels.context)
        share = float(np.clip(positive.mean() if len(positive) else 0.5, 1e-6, 1 - 1e-6))
        return cls(
            _sums(number, np.ones(len(number)), len(cells)).astype(np.int64),
            _sums(number, positive, len(cells)).astype(np.int64),
            share,
        )


def _sums(number: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """float64[size]: the sum of values over the rows of each number below `size`."""
    return np.bincount(number, values, size + 1)[:size]


def _rate(cells: Cells, counts: _Counts, q: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The rate at which q becomes the share of positives in train, q + rate slope; float64[M].

    That of all rows first, then what the values of each of several fields add, then the cells,
    each with a prior worth PRIOR_ROWS rows: a cell of few rows of train says little.
    """
    values, rows, sign = cells.values(), counts.rows, np.sign(slope)
    prior = PRIOR_ROWS * np.average(np.abs(slope), weights=rows)
    fields = [*values.T] if len(cells.sizes) > 1 else []
    rate = np.zeros(len(cells))
    for group in (np.zeros(len(cells), int), *fields, np.arange(len(cells))):
        size = group.max(initial=0) + 1
        missed = _sums(group, sign * (counts.positive - rows * (q + rate * slope)), size)
        weight = _sums(group, rows * np.abs(slope), size)
        rate = rate + (missed / (weight + (prior if size > 1 else 0)))[group]
    return rate


def _counted_share(
    train: Labels, trusted: Labels, cells: Cells, counts: _Counts, known: _Counts, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(q, its standard error), float64[M]: a mean with a prior worth PRIOR_ROWS rows.

    The prior says that q / r is what it is over all rows, and, of several fields, what the values
    of each say by themselves.
    """
    overall = known.share / counts.share
    ratio, values = np.full(len(cells), overall), cells.values()
    for axis, size in enumerate(cells.sizes if len(cells.sizes) > 1 else ()):
        rows, positive = _of_field(train, axis, size)
        trusted_rows, trusted_positive = _of_field(trusted, axis, size)
        of_value = np.where(positive > 0, positive / np.maximum(rows, 1), counts.share)
        q = (trusted_positive + PRIOR_ROWS * of_value * overall) / (trusted_rows + PRIOR_ROWS)
        ratio = ratio * (q / of_value / overall)[values[:, axis]]
    prior = np.clip(r * ratio, 1e-6, 1 - 1e-6)
    q = (known.positive + PRIOR_ROWS * prior) / (known.rows + PRIOR_ROWS)
    q = np.clip(q, 1e-6, 1 - 1e-6)
    return q, np.sqrt(q * (1 - q) / (known.rows + PRIOR_ROWS))


def _of_field(labels: Labels, axis: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(Rows, positives) of each value of a field, float64[size]."""
    values = labels.context[:, axis]
    return _sums(values, np.ones(len(values)), size), _sums(values, labels.y > 0, size)


def _guessed_share(
    train: Labels,
    trusted: Labels,
    cells: Cells,
    counts: _Counts,
    known: _Counts,
    guesses: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The same with guesses: a difference estimator (Cassel, Saerndal, Wretman, Biometrika 1976).

    q is the mean guess over the cell's rows of train, plus the mean residual of its trusted rows
    with a prior of 0. Residuals vary less than labels, and so fewer trusted rows do. Of several
    fields the values of each have their part of the residuals first.
    """
    of_train, of_trusted = guesses
    number = cells.number(train.context)
    q = _sums(number, of_train, len(cells)) / np.maximum(counts.rows, 1)
    q = np.where(counts.rows > 0, q, of_train.mean())
    residual, values = (trusted.y > 0) - of_trusted, cells.values()
    for axis, size in enumerate(cells.sizes if len(cells.sizes) > 1 else ()):
        of_row = trusted.context[:, axis]
        rows = _sums(of_row, np.ones(len(of_row)), size)
        part = _sums(of_row, residual, size) / (rows + PRIOR_ROWS)
        q, residual = q + part[values[:, axis]], residual - part[of_row]
    number = cells.number(trusted.context)
    q = q + _sums(number, residual, len(cells)) / (known.rows + PRIOR_ROWS)
    error = np.sqrt(np.mean(np.square(residual)) / (known.rows + PRIOR_ROWS))
    return np.clip(q, 1e-6, 1 - 1e-6), error


def additive(noise: LabelNoise, sweeps: int = 10) -> dict[str, np.ndarray]:
    """Logits of the rates as sums over the fields: {"all": [], "0": [values of field 0], ...}.

    Fitted to the cells by their rows of train, field by field in turn (backfitting), each value's
    part with a prior of 0 worth PRIOR_ROWS rows. A logit is that of rate / MOST.
    """
    share = np.clip(noise.rate / losses.MOST[noise.kind], 0.005, 0.995)
    logits, rows, values = np.log(share / (1 - share)), noise.rows, noise.cells.values()
    total = np.average(logits, weights=rows)
    parts, rest = [np.zeros(size) for size in noise.cells.sizes], logits - total
    for _ in range(sweeps):
        for k, of_cell in enumerate(values.T):
            rest = rest + parts[k][of_cell]
            size = len(parts[k])
            weight = _sums(of_cell, rows, size) + PRIOR_ROWS
            parts[k] = _sums(of_cell, rows * rest, size) / weight
            rest = rest - parts[k][of_cell]
    return {"all": np.asarray(total)} | {str(k): part for k, part in enumerate(parts)}


def gold(train: Labels, trusted: Labels, chances: np.ndarray, sizes: Sequence[int]) -> LabelNoise:
    """Gold Loss Correction by context (Hendrycks et al., NeurIPS 2018).

    A row of a cell's matrix is the mean prediction, by a model of train's labels as they are, over
    the trusted rows of that true class, with a prior worth PRIOR_ROWS rows of all cells.

    Args:
        train, trusted: labels in C classes.
        chances: float[m, C], the predictions for the trusted rows.
        sizes: how many values each context field has.
    """
    cells, classes = Cells.of(train.context, sizes), chances.shape[1]
    number = cells.number(trusted.context)
    transition, error = np.zeros((2, len(cells), classes, classes))
    for label in range(classes):
        mine = trusted.y == label
        prior = chances[mine].mean(0) if mine.any() else np.eye(classes)[label]
        rows = _sums(number[mine], np.ones(mine.sum()), len(cells)) + PRIOR_ROWS
        for other in range(classes):
            total = _sums(number[mine], chances[mine, other], len(cells))
            transition[:, label, other] = (total + PRIOR_ROWS * prior[other]) / rows
        of_label = transition[:, label]
        error[:, label] = np.sqrt(of_label * (1 - of_label) / rows[:, None])
    counts, known = (_Counts.of(labels, cells) for labels in (train, trusted))
    never = np.zeros(len(cells), bool)
    return LabelNoise("any", cells, transition, error, counts.rows, known.rows, never)


def made(
    kind: str, train: Labels, clean: np.ndarray, sizes: Sequence[int], classes: int
) -> LabelNoise:
    """The noise that a study made, `clean` int[n] being train's labels before it: the truth."""
    cells = Cells.of(train.context, sizes)
    number = cells.number(train.context)
    pairs = np.zeros((len(cells), classes, classes))
    np.add.at(pairs, (number, clean, train.y), 1)
    of_label = pairs.sum(-1, keepdims=True)
    overall = pairs.sum(0) / np.maximum(pairs.sum((0, 2))[:, None], 1)
    transition = np.where(of_label > 0, pairs / np.maximum(of_label, 1), overall)
    if kind == "flipped":  # one rate for both classes
        wrong = (pairs[:, 0, 1] + pairs[:, 1, 0]) / np.maximum(pairs.sum((1, 2)), 1)
        transition = losses.transition(kind, wrong)
    rows, none = pairs.sum((1, 2)).astype(np.int64), np.zeros(len(cells), np.int64)
    return LabelNoise(kind, cells, transition, 0 * transition, rows, none, none > 0)


def lines(noise: LabelNoise, names: Sequence[str], words: Sequence[Sequence[str]]) -> list[str]:
    """What was found, for people: a line for each of the ten largest cells, and what is odd.

    `names` are the context fields, `words` what the values of each are called.
    """
    said, values = [], noise.cells.values()
    for cell in np.argsort(-noise.rows, kind="stable")[:10]:
        if noise.rows[cell]:
            of_cell = zip(names, words, values[cell], strict=True)
            where = ", ".join(f"{name} {called[value]}" for name, called, value in of_cell)
            what = ", ".join(_wrong(noise, cell))
            rows = f"{noise.rows[cell]:,} rows, {noise.trusted[cell]:,} trusted"
            said.append(f"{where or 'all rows'}: {what} ({rows})")
    if noise.contradicted.any():
        said.append(
            f"in {int(noise.contradicted.sum())} of {len(noise.cells)} values of "
            f"{', '.join(names)} the trusted rows contradict method.noise={noise.kind}: their rate "
            "would be below 0, and is taken as 0"
        )
    return said


def _wrong(noise: LabelNoise, cell: int) -> Iterator[str]:
    """What is wrong with a cell's labels."""
    rates = {"missing": "of its positives are missing", "flipped": "of its labels are flipped"}
    if noise.kind in rates:
        yield f"{_percent(noise.rate[cell], noise.rate_error[cell])} {rates[noise.kind]}"
        return
    for label, (chances, errors) in enumerate(
        zip(noise.transition[cell], noise.error[cell], strict=True)
    ):
        yield f"{_percent(1 - chances[label], errors[label])} of its labels {label} read another"


def _percent(share: float, error: float) -> str:
    return f"{100 * share:.1f} % ± {100 * error:.1f}"


def record(
    noise: LabelNoise,
    names: Sequence[str],
    words: Sequence[Sequence[str]],
    learned: np.ndarray | None = None,
) -> dict[str, Any]:
    """The same for programs, as JSON: the cells that train or trusted rows have.

    `learned` [M] are the rates that training began at these and moved.
    """
    values = noise.cells.values()
    cells = []
    for cell in np.flatnonzero((noise.rows > 0) | (noise.trusted > 0)):
        called = [of_field[value] for of_field, value in zip(words, values[cell], strict=True)]
        of_cell: dict[str, Any] = {"values": called}
        if noise.kind == "any":
            of_cell |= {"transition": noise.transition[cell].tolist()}
        else:
            of_cell |= {
                "rate": float(noise.rate[cell]),
                "error": float(noise.rate_error[cell]),
            }
        if learned is not None:
            of_cell["learned"] = float(learned[cell])
        counts = {"rows": int(noise.rows[cell]), "trusted": int(noise.trusted[cell])}
        cells.append(of_cell | counts)
    return {"kind": noise.kind, "fields": list(names), "cells": cells}
