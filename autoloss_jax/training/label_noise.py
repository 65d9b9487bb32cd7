"""Rates of label noise by context, estimated from trusted rows: the forward correction's part.

Where labels get lost on some platforms and not on others, the share of positives in train, r, is
below that in a sample whose labels are trusted, q, by a factor that the platform decides. The two
numbers give a rate in each cell of the context, and with the rates cross-entropy is corrected
(`networks.CorrectedCE`): Patrini et al., CVPR 2017, with rates from trusted data as in Hendrycks et
al., NeurIPS 2018.

Shapes: n rows of train, m trusted rows, K context fields, M cells.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from autoloss_jax.algorithm import losses

PRIOR_ROWS = 20  # trusted rows that the prior of a cell is worth


@dataclasses.dataclass(frozen=True)
class NoiseRates:
    """What is known of each cell."""

    kind: str  # "missing" or "flipped"
    rate: np.ndarray  # float64[M]
    error: np.ndarray  # float64[M], its standard error
    rows: np.ndarray  # int64[M], rows of train
    trusted: np.ndarray  # int64[M], trusted rows
    contradicted: np.ndarray  # bool[M]: trusted rows say that the rate is below 0


def cells(values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """int32[n]: which combination of values int[n, K] each row has; each field has so many."""
    if not sizes:
        return np.zeros(len(values), np.int32)
    return np.ravel_multi_index(tuple(values.T), tuple(sizes)).astype(np.int32)


def estimate(
    kind: str,
    labels: np.ndarray,
    values: np.ndarray,
    trusted_labels: np.ndarray,
    trusted_values: np.ndarray,
    sizes: Sequence[int],
) -> NoiseRates:
    """The rates of all cells, from the labels and context values of train and of trusted rows.

    With r the share of positives in train and q that among trusted rows, in one cell: a share
    1 - r / q of its positives is missing, or (r - q) / (1 - 2 q) of its labels are flipped. q is a
    mean with a prior worth PRIOR_ROWS rows. The prior says that r / q is what it is over all rows,
    and, of several fields, what the values of each say by themselves. A cell without rows of
    train has the prior's rate.

    Args:
        kind: "missing" or "flipped".
        labels, trusted_labels: int[n], int[m]; 0 or 1.
        values, trusted_values: int[n, K], int[m, K].
        sizes: how many values each field has.
    """
    counts = _Counts.of(labels, values, sizes), _Counts.of(trusted_labels, trusted_values, sizes)
    train, trusted = counts
    r = np.where(train.rows > 0, train.positive / np.maximum(train.rows, 1), train.share)
    prior = np.clip(r * _prior_ratio(train, trusted, sizes), 1e-6, 1 - 1e-6)
    q = (trusted.positive + PRIOR_ROWS * prior) / (trusted.rows + PRIOR_ROWS)
    q = np.clip(q, 1e-6, 1 - 1e-6)
    q_error = np.sqrt(q * (1 - q) / (trusted.rows + PRIOR_ROWS))
    r_error = np.sqrt(r * (1 - r) / np.maximum(train.rows, 1))
    if kind == "missing":
        rate = 1 - r / q
        error = np.hypot(r_error / q, r * q_error / q**2)
    else:
        far = np.where(np.abs(1 - 2 * q) < 0.05, 0.05, 1 - 2 * q)  # at q = 1/2 nothing shows
        rate = (r - q) / far
        error = np.hypot(r_error / far, q_error * (2 * r - 1) / far**2)
    return NoiseRates(
        kind=kind,
        rate=np.clip(rate, 0, losses.MOST[kind]),
        error=np.abs(error),
        rows=train.rows,
        trusted=trusted.rows,
        contradicted=rate < -2 * np.abs(error),
    )


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Rows and positives of each cell, and of each value of each field."""

    rows: np.ndarray  # int64[M]
    positive: np.ndarray  # int64[M]
    share: float  # of positives, over all rows

    @classmethod
    def of(cls, labels: np.ndarray, values: np.ndarray, sizes: Sequence[int]) -> "_Counts":
        labels, of_row, number = np.asarray(labels) > 0, cells(values, sizes), int(np.prod(sizes))
        positive = np.bincount(of_row[labels], minlength=number)
        share = float(np.clip(labels.mean() if len(labels) else 0.5, 1e-6, 1 - 1e-6))
        return cls(np.bincount(of_row, minlength=number), positive, share)

    def of_field(self, axis: int, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(Rows, positives) of each value of a field."""
        others = tuple(i for i in range(len(sizes)) if i != axis)
        return self.rows.reshape(sizes).sum(others), self.positive.reshape(sizes).sum(others)


def _prior_ratio(train: _Counts, trusted: _Counts, sizes: Sequence[int]) -> np.ndarray:
    """Q / r of each cell, from all rows and, of several fields, from each field by itself."""
    overall = trusted.share / train.share
    ratio = np.full(tuple(sizes), overall)
    for axis in range(len(sizes)) if len(sizes) > 1 else ():
        rows, positive = train.of_field(axis, sizes)
        trusted_rows, trusted_positive = trusted.of_field(axis, sizes)
        r = np.where(positive > 0, positive / np.maximum(rows, 1), train.share)
        q = (trusted_positive + PRIOR_ROWS * r * overall) / (trusted_rows + PRIOR_ROWS)
        shape = [1] * len(sizes)
        shape[axis] = -1
        ratio = ratio * (q / r / overall).reshape(shape)
    return ratio.ravel()


def lines(rates: NoiseRates, names: Sequence[str], words: Sequence[Sequence[str]]) -> list[str]:
    """What was found, for people: a line for each of the ten largest cells, and what is odd.

    `names` are the context fields, `words` what the values of each are called.
    """
    what = {"missing": "of its positives are missing", "flipped": "of its labels are flipped"}
    sizes, said = [len(of_field) for of_field in words], []
    for cell in np.argsort(-rates.rows, kind="stable")[:10]:
        if rates.rows[cell]:
            places = np.unravel_index(cell, sizes)
            value = ", ".join(f"{n} {w[p]}" for n, w, p in zip(names, words, places, strict=True))
            value = value or "all rows"
            said.append(
                f"{value}: {100 * rates.rate[cell]:.1f} % ± {100 * rates.error[cell]:.1f} "
                f"{what[rates.kind]} ({rates.rows[cell]:,} rows, {rates.trusted[cell]:,} trusted)"
            )
    if rates.contradicted.any():
        said.append(
            f"in {int(rates.contradicted.sum())} of {len(rates.rate)} values of {', '.join(names)} "
            f"the trusted rows contradict method.noise={rates.kind}: their rate would be below 0, "
            "and is taken as 0"
        )
    return said


def record(rates: NoiseRates, names: Sequence[str]) -> dict[str, Any]:
    """The same for programs, as JSON."""
    return {
        "kind": rates.kind,
        "fields": list(names),
        "rate": rates.rate.tolist(),
        "error": rates.error.tolist(),
        "rows": rates.rows.tolist(),
        "trusted": rates.trusted.tolist(),
    }
