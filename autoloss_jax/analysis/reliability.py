"""Whether probabilities mean what they say: a calibration curve, and scores by label.

Shapes: n rows, C classes.
"""

import numpy as np
import polars as pl

from autoloss_jax.analysis import significance
from autoloss_jax.training import metrics

BINS = 10  # of a calibration curve, of equally many rows each
BARS = 40  # of a histogram


def probabilities(logits: np.ndarray) -> np.ndarray:
    """float64[n, C], C at least 2. [n, 1] or [n, C]."""
    return np.exp(metrics.log_probabilities(logits))


def curve(labels: np.ndarray, p: np.ndarray) -> pl.DataFrame:
    """A row for each bin of predictions: "rows", their mean "predicted" probability, the share
    "observed", and its 95 % interval from "low" to "high".

    int[n], p [n, C]. Of two classes the probability is that of label 1. Of several it is that of
    the class that is predicted, and what is observed is how often it is right (Guo et al., ICML
    2017).
    """
    if p.shape[1] == 2:
        predicted, happened = p[:, 1], labels == 1
    else:
        predicted, happened = p.max(axis=1), labels == p.argmax(axis=1)
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    rows = np.array([len(part) for part in parts])
    counts = np.array([happened[part].sum() for part in parts])
    low, high = significance.share_interval(counts, rows)
    return pl.DataFrame(
        {
            "predicted": [predicted[part].mean() for part in parts],
            "observed": counts / rows,
            "low": low,
            "high": high,
            "rows": rows,
        }
    )


def error(bins: pl.DataFrame) -> float:
    """The expected calibration error of a `curve`: the mean distance of what is observed from
    what is predicted, by rows.
    """
    apart = (bins["predicted"] - bins["observed"]).abs()
    return float(np.average(apart, weights=bins["rows"]))


def means(bins: pl.DataFrame) -> tuple[float, float]:
    """What a `curve` predicts, and what is observed, over all rows."""
    predicted, observed = (
        float(np.average(bins[name], weights=bins["rows"])) for name in ("predicted", "observed")
    )
    return predicted, observed


def histogram(labels: np.ndarray, p: np.ndarray) -> pl.DataFrame:
    """Of each "label" the "share" of its rows whose score is from "low" to "high".

    int[n], p [n, C]. Of two classes the score is the probability of label 1. Of several it is
    that of the row's own label, and of more than three the lowest, middle and highest are shown.
    """
    classes = p.shape[1]
    scores = p[:, 1] if classes == 2 else p[np.arange(len(labels)), labels]
    shown = range(classes) if classes <= 3 else (0, (classes - 1) // 2, classes - 1)
    least, most = np.quantile(scores, (0.001, 0.999))
    edges = np.linspace(least, most, BARS + 1)
    edges = edges if edges[-1] > edges[0] else np.linspace(0, 1, BARS + 1)
    scores = np.clip(scores, edges[0], edges[-1])
    frames = []
    for label in shown:
        counts, _ = np.histogram(scores[labels == label], edges)
        share = counts / max(counts.sum(), 1)
        bars = {"label": label, "low": edges[:-1], "high": edges[1:], "share": share}
        frames.append(pl.DataFrame(bars))
    return pl.concat(frames)
