"""What a person would pick instead, on the rows of a run: one probability for all rows, and a
logistic regression; `boosting.py` has LightGBM and CatBoost.

Shapes: n rows, S slots, C classes.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load import host
from autoloss_jax.data.store import Store
from autoloss_jax.training import evaluation, metrics

MOST_ROWS = 200_000  # that the regression learns from
BLOCK = 1 << 18  # rows scored at a time
STEPS = 300  # of its solver, at most


class Rows(NamedTuple):
    """The rows of a run, by what they are for."""

    learned: tuple[host.Split, ...]  # the recommender learned from them
    val: host.Split  # calibrate, and say how many trees there are
    test: host.Split


class Fitted(NamedTuple):
    """What a model says of the rows that it has not learned from."""

    val: np.ndarray  # logits float64[n, 1] or [n, C]
    test: np.ndarray
    steps: int  # trees, or steps of its solver
    rows: int  # that it learned from


def figures(rows: Rows, fitted: Fitted) -> dict[str, Any]:
    """As those of test in result.json: calibrated on the rows that calibrate a run."""
    return evaluation.calibrated_figures(rows.test, fitted.test, calibrated(rows, fitted))


def calibrated(rows: Rows, fitted: Fitted) -> metrics.Calibration:
    """The calibration that the rows for it give."""
    return evaluation.calibration(rows.val, fitted.val)


def constant(rows: Rows, data: Store, seed: int = 0) -> Fitted:
    """The shares of the labels among the rows that were learned from."""
    del seed
    labels = np.concatenate([np.asarray(part["y"]) for part in rows.learned])
    classes = data.schema.num_classes
    counts = np.bincount(labels, minlength=classes)
    share = np.clip(counts / len(labels), 1e-6, None)
    logits = np.log(share) if classes > 2 else np.log(share[1:] / share[:1])
    of_val, of_test = (np.tile(logits, (len(split["y"]), 1)) for split in rows[1:])
    return Fitted(of_val, of_test, 1, len(labels))


def logistic(rows: Rows, data: Store, seed: int = 0) -> Fitted:
    """`regression` from a random sample of MOST_ROWS where there are more rows."""
    learned = sample(rows.learned, seed)
    model = regression(learned, data)
    of_val, of_test = (linear(model, split) for split in rows[1:])
    return Fitted(of_val, of_test, int(max(model.n_iter_)), len(learned["y"]))


def regression(learned: host.Split, data: Store, C: float = 1.0) -> Any:
    """scikit-learn's LogisticRegression, with an L2 of C, 1 as its default, on one-hot ids;
    numbers that are fed as values are columns of their own. UserError where the rows lack a class.
    """
    from sklearn.linear_model import LogisticRegression  # a second, for whoever asks for it

    n, slots = learned["x"].shape
    values = learned.get("v", np.ones((n, slots), np.float32)).astype(np.float64)
    places = (learned["x"].ravel(), np.arange(0, n * slots + 1, slots))
    features = scipy.sparse.csr_matrix((values.ravel(), *places), shape=(n, data.schema.num_rows))
    there, classes = np.unique(learned["y"]).tolist(), data.schema.num_classes
    if len(there) < classes:
        raise UserError(
            f"a logistic regression: only labels {there} among {n:,} rows; it needs rows of all "
            f"{classes} classes"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could go on: STEPS are enough for a yardstick
        return LogisticRegression(C=C, max_iter=STEPS).fit(
            features, learned["y"], sample_weight=learned.get("weight")
        )


def sample(parts: tuple[host.Split, ...], seed: int) -> host.Split:
    """At most MOST_ROWS of the rows, at random."""
    total = host.num_rows(parts)
    inputs = tuple(
        {n: a for n, a in part.items() if n in ("x", "y", "v", "weight")} for part in parts
    )
    chosen = np.random.default_rng(seed).choice(total, min(total, MOST_ROWS), replace=False)
    return host.gather(inputs, np.sort(chosen))


def linear(regression: Any, split: host.Split) -> np.ndarray:
    """Its logits, float64[n, 1] or [n, C]."""
    found = []
    for begin in range(0, len(split["y"]), BLOCK):
        x = np.asarray(split["x"][begin : begin + BLOCK])
        terms = regression.coef_.T[x]  # [n, S, 1 or C]
        if "v" in split:
            terms = terms * np.asarray(split["v"][begin : begin + BLOCK])[..., None]
        found.append(terms.sum(axis=1) + regression.intercept_)
    return np.concatenate(found)
