"""Whether a difference over seeds is more than chance."""

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
