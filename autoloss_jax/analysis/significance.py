"""Whether a difference over seeds is more than chance, and how far chance goes."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import scipy.stats

T = TypeVar("T")


def paired_t(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Two-sided p of a paired t-test, seed by seed; None for fewer than two pairs."""
    differences = np.subtract(ours, theirs)
    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:  # no spread: the statistic is 0 / 0, or infinite
        return 1.0 if differences[0] == 0 else 0.0
    return float(scipy.stats.ttest_rel(ours, theirs).pvalue)


def holm(p_values: Mapping[T, float]) -> dict[T, float]:
    """The same p-values, corrected for how many there are (Holm, 1979)."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda n: p_values[n])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def share_interval(counts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of each share counts / rows (Wilson, 1927); of no row it is 0 to 1."""
    z, n = scipy.stats.norm.ppf(0.975), np.maximum(rows, 1e-9)
    share = counts / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(middle - reach, 0, 1), np.clip(middle + reach, 0, 1)


def auc_error(auc: float, positives: int, negatives: int) -> float:
    """The standard error of an AUC (Hanley and McNeil, Radiology 1982)."""
    of_positives = auc / (2 - auc) - auc**2
    of_negatives = 2 * auc**2 / (1 + auc) - auc**2
    more = (positives - 1) * of_positives + (negatives - 1) * of_negatives
    return math.sqrt(max(auc * (1 - auc) + more, 0) / (positives * negatives))
