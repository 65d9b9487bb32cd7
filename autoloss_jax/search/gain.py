"""How much better one finished run is than another on the early-stopping rows, and how far chance
goes: what is better by chance alone is not shipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats

from autoloss_jax.config import Config
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.training import checkpoint, evaluation, evaluator, metrics, prediction
from autoloss_jax.training.splits import divide

RESAMPLES = 200
MOST_ROWS = 100_000  # of a resample; of more rows the interval is that of so many
LEVEL = 0.95


class Scores(NamedTuple):
    """What a run says of the rows that decided when it stopped."""

    rows: host.Split  # their labels y [n], and weights where they have any
    logits: np.ndarray  # [n, 1] or [n, C]


class Gain(NamedTuple):
    """A difference in the figure that decides; above 0 is better."""

    figure: str  # for people
    value: float
    reach: float  # of its interval, to either side

    @property
    def certain(self) -> bool:
        """Whether it is more than chance."""
        return self.value > self.reach

    def __str__(self) -> str:
        return f"{self.value:+.5f} ± {self.reach:.5f}"


def scores(run: Path, say: Callable[[str], None]) -> Scores:
    """Of the best checkpoint of a finished run."""
    loaded = checkpoint.load(checkpoint.best(run))
    rows = divide(loaded.run, pipeline.prepare(loaded.run.data, say)).val
    counted = {name: np.asarray(rows[name]) for name in ("y", "weight") if name in rows}
    return Scores(counted, prediction.logits_of(loaded)(rows))


def between(cfg: Config, ours: Scores, theirs: Scores, tried: int = 1) -> Gain:
    """In `cfg.train.monitor`, by a paired bootstrap over the rows (Efron, 1979).

    Where ours is the best of several, `tried` says of how many, and the interval is as wide as
    all of them together need (Bonferroni).
    """
    n = len(ours.rows["y"])
    both = [_as_judged(cfg, side) for side in (ours, theirs)]

    def difference(chosen: np.ndarray | slice) -> float:
        rows = {name: array[chosen] for name, array in ours.rows.items()}
        of_ours, of_theirs = (_figure(cfg, rows, logits[chosen]) for logits in both)
        return of_ours - of_theirs

    rng = np.random.default_rng(0)
    resampled = [difference(rng.integers(n, size=min(n, MOST_ROWS))) for _ in range(RESAMPLES)]
    z = scipy.stats.norm.ppf(1 - (1 - LEVEL) / 2 / tried)
    reach = z * np.nanstd(resampled)  # of few positives some draw has none
    return Gain(evaluator.MONITORED[cfg.train.monitor], difference(slice(None)), float(reach))


def _as_judged(cfg: Config, side: Scores) -> np.ndarray:
    """The logits, calibrated on these rows where that is judged."""
    if cfg.train.monitor != "calibrated":
        return side.logits
    return metrics.apply(evaluation.calibration(*side), side.logits)


def _figure(cfg: Config, rows: host.Split, logits: np.ndarray) -> float:
    """Greater is better; NaN where it is undefined."""
    if cfg.train.monitor == "auc":
        auc = evaluation.figures(rows, logits)["auc"]
        return float("nan") if auc is None else auc
    return -evaluation.logloss(rows, logits)
