"""Two yardsticks for the test figures of a run: one probability for all rows, and a logistic
regression.

Shapes: n rows, S slots, C classes, N rows of the embedding table.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import host
from autoloss_jax.training import evaluation, metrics

MOST_ROWS = 200_000  # that the regression learns from
BLOCK = 1 << 18  # rows scored at a time
STEPS = 300  # of its solver, at most


class Rows(NamedTuple):
    """The rows of a run, by what they are for."""

    learned: tuple[host.Split, ...]  # the recommender learned from them
    val: host.Split  # calibrate
    test: host.Split


def constant(rows: Rows, classes: int) -> dict[str, Any]:
    """Test figures of the shares of the labels among the rows that were learned from."""
    labels = np.concatenate([np.asarray(part["y"]) for part in rows.learned])
    share = np.clip(np.bincount(labels, minlength=classes) / len(labels), 1e-6, None)
    logits = np.log(share) if classes > 2 else np.log(share[1:] / share[:1])
    of_val, of_test = (np.tile(logits, (len(split["y"]), 1)) for split in rows[1:])
    return _figures(rows, of_val, of_test)


def logistic(rows: Rows, classes: int, num_rows: int) -> tuple[dict[str, Any], int]:
    """(Test figures, rows it learned from) of scikit-learn's LogisticRegression, at its defaults
    (L2 of C = 1), on one-hot ids; numbers that are fed as values are columns of their own.

    It learns from a random sample of MOST_ROWS where there are more. UserError where the sample
    lacks a class.
    """
    sample = _sample(rows.learned)
    regression = _fitted(sample, num_rows)
    if len(regression.classes_) < classes:
        raise UserError(
            f"a logistic regression: only labels {regression.classes_.tolist()} among "
            f"{len(sample['y']):,} rows; it needs rows of all {classes} classes"
        )
    of_val, of_test = (_logits(regression, split) for split in rows[1:])
    return _figures(rows, of_val, of_test), len(sample["y"])


def _sample(parts: tuple[host.Split, ...]) -> host.Split:
    total = host.num_rows(parts)
    inputs = tuple({n: a for n, a in part.items() if n in ("x", "y", "v")} for part in parts)
    chosen = np.random.default_rng(0).choice(total, min(total, MOST_ROWS), replace=False)
    return host.gather(inputs, np.sort(chosen))


def _fitted(sample: host.Split, num_rows: int) -> Any:
    from sklearn.linear_model import LogisticRegression  # a second, for whoever asks for it

    n, slots = sample["x"].shape
    values = sample.get("v", np.ones((n, slots), np.float32)).astype(np.float64)
    places = (sample["x"].ravel(), np.arange(0, n * slots + 1, slots))
    features = scipy.sparse.csr_matrix((values.ravel(), *places), shape=(n, num_rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could go on: STEPS are enough for a yardstick
        return LogisticRegression(max_iter=STEPS).fit(features, sample["y"])


def _logits(regression: Any, split: host.Split) -> np.ndarray:
    """float64[n, 1], or [n, C]."""
    found = []
    for begin in range(0, len(split["y"]), BLOCK):
        x = np.asarray(split["x"][begin : begin + BLOCK])
        terms = regression.coef_.T[x]  # [n, S, 1 or C]
        if "v" in split:
            terms = terms * np.asarray(split["v"][begin : begin + BLOCK])[..., None]
        found.append(terms.sum(axis=1) + regression.intercept_)
    return np.concatenate(found)


def _figures(rows: Rows, of_val: np.ndarray, of_test: np.ndarray) -> dict[str, Any]:
    """As those of result.json: calibrated on the rows that calibrate a run."""
    labels = np.asarray(rows.test["y"])
    calibration = metrics.calibrate(of_val, np.asarray(rows.val["y"]))
    calibrated = metrics.logloss(labels, metrics.apply(calibration, of_test))
    return evaluation.figures(labels, of_test) | {"logloss_calibrated": float(calibrated)}
