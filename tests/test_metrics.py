"""AUC and logloss equal scikit-learn's; calibration is what a solver finds."""

import numpy as np
import pytest
from scipy import optimize

from autoloss_jax.training import metrics


def scores(kind, n=3000):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    raw = rng.standard_normal(n) + labels
    kinds = {
        "continuous": raw,
        "ties": np.round(raw),
        "constant": np.zeros(n),
        "tiny": raw * 1e-300,
    }
    return labels, kinds[kind]


def five_classes(n=2000):
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, n), rng.standard_normal((n, 5))
    logits[np.arange(n), labels] += 1
    return labels, logits


@pytest.mark.parametrize("kind", ["continuous", "ties", "constant", "tiny"])
def test_auc_equals_scikit_learns(kind):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, values = scores(kind)
    assert abs(metrics.auc(labels, values) - sklearn.roc_auc_score(labels, values)) < 1e-12


def test_auc_counts_pairs_with_half_for_ties():
    labels, values = scores("ties", 200)
    pos, neg = values[labels == 1][:, None], values[labels == 0][None]
    assert abs(metrics.auc(labels, values) - np.mean((pos > neg) + 0.5 * (pos == neg))) < 1e-12


def test_ovr_auc_and_logloss_equal_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, logits = five_classes()
    p = np.exp(metrics.log_probabilities(logits))
    assert (
        abs(metrics.ovr_auc(labels, p) - sklearn.roc_auc_score(labels, p, multi_class="ovr"))
        < 1e-12
    )
    assert abs(metrics.logloss(labels, logits) - sklearn.log_loss(labels, p)) < 1e-12
    binary, high = logits[:, :1], (labels > 2).astype(int)
    q = 1 / (1 + np.exp(-binary[:, 0]))
    assert abs(metrics.logloss(high, binary) - sklearn.log_loss(high, q)) < 1e-12


def test_logloss_is_finite_and_exact_far_out():
    assert metrics.logloss(np.array([0]), np.array([[1000.0]])) == pytest.approx(1000.0)
    assert metrics.logloss(np.array([1]), np.array([[1000.0]])) == 0.0


def test_an_undefined_auc_has_a_reason():
    assert np.isnan(metrics.auc(np.zeros(5), np.arange(5)))
    assert metrics.undefined_reason(np.zeros(5, int), 2) == "no example of class 1 among 5 rows"
    assert metrics.undefined_reason(np.array([0, 1]), 2) is None
    assert "class 1, 3" in metrics.undefined_reason(np.array([0, 2, 4]), 5)


def test_auc_of_a_nan_score_is_nan():
    assert np.isnan(metrics.auc(np.array([0, 1, 1]), np.array([0.1, np.nan, 0.3])))


def test_platt_scaling_equals_scikit_learns_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    labels, z = scores("continuous", 4000)
    z = 3 * z - 5
    model = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        z[:, None], labels
    )
    found = metrics.calibrate(z[:, None], labels)
    assert found.scale == pytest.approx(model.coef_.item(), abs=1e-5)
    assert found.shift == pytest.approx(model.intercept_.item(), abs=1e-5)
    before, after = (
        metrics.logloss(labels, x) for x in (z[:, None], metrics.apply(found, z[:, None]))
    )
    assert after < before


def solved(logits, labels, prior=None):
    """(Scale, shifts) by SciPy, from the definition, without a derivative of ours."""

    def loss(theta):
        z = theta[0] * logits + theta[1:]
        value = metrics.logloss(labels, z)
        if prior:
            off = (theta - np.array([prior.scale, *np.full(z.shape[1], prior.shift)])) / [
                metrics.SCALE_DEVIATION,
                *np.full(z.shape[1], metrics.SHIFT_DEVIATION),
            ]
            value += off @ off / 2 / len(labels)
        return value

    start = np.array([1.0, *np.zeros(logits.shape[1])])
    return optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-9}).x


def test_several_classes_have_a_scale_and_a_shift_each():
    labels, logits = five_classes()
    logits = 4 * logits + np.array([0, 1, -2, 0.5, 0])
    found, best = metrics.calibrate(logits, labels), solved(logits, labels)
    assert found.scale == pytest.approx(best[0], abs=1e-5)
    shifts = np.array(found.shift)
    assert np.allclose(shifts - shifts.mean(), best[1:] - best[1:].mean(), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("n", [30, 30_000])
def test_a_prior_counts_for_few_rows_and_not_for_many(classes, n):
    labels, logits = five_classes(n)
    labels = labels if classes == 5 else (labels > 2).astype(int)
    logits = 3 * (logits if classes == 5 else logits[:, 4:])
    found = metrics.calibrate(logits, labels, metrics.IDENTITY)
    free = metrics.calibrate(logits, labels).scale
    best = solved(logits, labels, metrics.IDENTITY)
    assert found.scale == pytest.approx(best[0], abs=1e-5)
    assert np.allclose(found.shift, best[1:], atol=1e-4)
    assert (found.scale == pytest.approx(free, abs=0.02)) == (n > 30)


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
def test_calibration_does_not_depend_on_the_scale_of_logits(scale):
    labels, z = scores("continuous")
    plain, scaled = (
        metrics.calibrate(z[:, None], labels),
        metrics.calibrate(scale * z[:, None] + scale, labels),
    )
    assert scaled.scale * scale == pytest.approx(plain.scale, rel=1e-6)
    assert scaled.shift + scaled.scale * scale == pytest.approx(plain.shift, rel=1e-6)
    labels, logits = five_classes()
    assert metrics.calibrate(scale * logits, labels).scale * scale == pytest.approx(
        metrics.calibrate(logits, labels).scale, rel=1e-6
    )


@pytest.mark.parametrize("logits", ["separable", "one label", "constant", "zero"])
def test_calibration_of_degenerate_data_is_finite(logits):
    labels = np.repeat([0, 1], 50) * (logits != "one label")
    values = {"constant": np.full(100, 0.1), "zero": np.zeros(100)}.get(
        logits, np.linspace(-5, 5, 100)
    )
    found = metrics.calibrate(values[:, None], labels)
    assert np.isfinite([found.scale, found.shift]).all() and abs(found.scale) < 1e3
    best = 0.0 if logits in ("separable", "one label") else np.log(2)
    assert metrics.logloss(labels, metrics.apply(found, values[:, None])) == pytest.approx(
        best, abs=1e-3
    )
