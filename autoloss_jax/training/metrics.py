"""Figures of merit, on the host in float64: AUC with ties, logloss, calibration."""

import dataclasses

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray, weight: np.ndarray | None = None) -> float:
    """P(positive scores above negative) + half of P(equal): rank AUC, exact with ties. [n], [n]
    -> float. A row of weight 3 counts as three rows.

    NaN if there is no positive or no negative (`undefined_reason` says so in words), or if a
    score is NaN.
    """
    if weight is not None:
        return _weighted_auc(np.asarray(labels) > 0, scores, np.asarray(weight, np.float64))
    positive, scores = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    low, high = (
        np.sort(scores[~positive]),
        np.sort(scores[positive]),
    )  # sorted queries keep the search in cache
    if not len(low) or not len(high) or np.isnan(scores).any():
        return float("nan")
    twice = np.searchsorted(low, high, "left").sum() + np.searchsorted(low, high, "right").sum()
    return float(twice / (2.0 * len(low) * len(high)))


def _weighted_auc(positive: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> float:
    if np.isnan(scores).any():
        return float("nan")
    _, place = np.unique(scores, return_inverse=True)
    high, low = (np.bincount(place, weight * side) for side in (positive, ~positive))
    pairs = high.sum() * low.sum()
    return float((high * (low.cumsum() - low / 2)).sum() / pairs) if pairs else float("nan")


def ovr_auc(
    labels: np.ndarray, probabilities: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """One-vs-rest AUC, the mean over classes (macro). int[n], [n, C] -> float; NaN if a class is
    absent.
    """
    num_classes = probabilities.shape[-1]
    of_class = [auc(labels == c, probabilities[:, c], weight) for c in range(num_classes)]
    return float(np.mean(of_class))


def undefined_reason(labels: np.ndarray, num_classes: int) -> str | None:
    """Why AUC is undefined on these labels, or None."""
    absent = sorted(set(range(num_classes)) - set(np.unique(labels).tolist()))
    return (
        f"no example of class {', '.join(map(str, absent))} among {len(labels)} rows"
        if absent
        else None
    )


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log p over K classes in float64: [n, 1] -> [n, 2] (sigmoid), [n, C] -> [n, C] (softmax)."""
    z = np.asarray(logits, np.float64)
    z = np.concatenate([np.zeros_like(z), z], axis=-1) if z.shape[-1] == 1 else z
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def logloss(labels: np.ndarray, logits: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean of -log p_y, unclipped, by the rows' weights. int[n], [n, 1] or [n, C], float[n] ->
    float, in nats.
    """
    if logits.shape[-1] == 1:
        z = np.asarray(logits[:, 0], np.float64)
        losses = np.logaddexp(0, np.where(labels, -z, z))
    else:
        losses = -log_probabilities(logits)[np.arange(len(labels)), labels]
    return float(np.average(losses, weights=weight))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """logits -> scale * logits + shift: Platt scaling of one logit; one scale and a shift a class
    of several.
    """

    scale: float
    shift: float | tuple[float, ...]


IDENTITY = Calibration(1.0, 0.0)
SCALE_DEVIATION, SHIFT_DEVIATION = 0.1, 0.2  # of a prior
MOST_SHIFTS = 10  # classes; more have none


def apply(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Calibrated logits, in the shape given."""
    return calibration.scale * np.asarray(logits, np.float64) + np.asarray(calibration.shift)


def calibrate(
    logits: np.ndarray,
    labels: np.ndarray,
    prior: Calibration | None = None,
    weight: np.ndarray | None = None,
    iterations: int = 50,
) -> Calibration:
    """The Calibration that minimises logloss, by damped Newton steps on a convex function.

    logits' = sum_k theta_k phi_k with phi = (z, 1) for one logit, in the class of label 1, and
    phi = (z, one a class) for several. z is standardised, so that the scale of the logits does
    not matter; a tiny ridge keeps separable data finite.

    Args:
        logits: float[n, 1] or [n, C].
        labels: int[n].
        prior: what is believed before any row is seen, with normal deviations of SCALE_DEVIATION
            and SHIFT_DEVIATION: a few rows move it little. None: nothing is.
        weight: float[n], how much each row counts; None: all alike.
    """
    z, classes = np.asarray(logits, np.float64), max(logits.shape[-1], 2)
    mean, std = z.mean(), z.std()
    std = std if std > 1e-12 * np.abs(z).max() else 1.0  # constant logits
    if classes == 2:
        shifts = np.array([[0.0], [1.0]])
        phi = _features((z - mean) / std, shifts)
        means = np.array([[1 / std, 0], [-mean / std, 1]])  # (scale, shift) = means @ theta
    else:
        shifts = np.eye(classes) if classes <= MOST_SHIFTS else np.zeros((classes, 0))
        phi = _features(z / std, shifts)
        means = np.diag([1 / std, *np.ones(shifts.shape[1])])
    counts = np.ones(len(z)) if weight is None else np.asarray(weight, np.float64)
    counts, total = counts[:, None], counts.sum()
    y, precision, centre = np.eye(classes)[labels], 1e-8 * np.eye(len(means)), np.zeros(len(means))
    if prior is not None:
        deviations = np.array([SCALE_DEVIATION, *np.full(shifts.shape[1], SHIFT_DEVIATION)])
        weighted = means / deviations[:, None]
        precision = precision + weighted.T @ weighted / total
        believed = np.full(len(means), prior.shift, np.float64)
        believed[0] = prior.scale
        centre = np.linalg.solve(means, believed)

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        logp, off = log_probabilities(phi @ theta), theta - centre
        return -np.sum(counts * y * logp) / total + off @ precision @ off / 2, np.exp(logp)

    theta = centre
    loss, p = value(theta)
    for _ in range(iterations):
        expected = np.einsum("nc,nck->nk", p, phi)
        gradient = np.einsum("nc,nck->k", counts * (p - y), phi) / total + precision @ (
            theta - centre
        )
        centred = phi - expected[:, None]
        curvature = (counts * p)[:, :, None] * centred
        hessian = np.einsum("nck,ncl->kl", curvature, centred) / total
        step = np.linalg.solve(hessian + precision, gradient)
        for halvings in range(40):
            trial = theta - step / 2**halvings
            trial_loss, trial_p = value(trial)
            if trial_loss <= loss:
                break
        else:
            break
        theta, p, before, loss = trial, trial_p, loss, trial_loss
        if before - loss < 1e-14:
            break
    scale, *shift = (means @ theta).tolist()
    return Calibration(scale, (tuple(shift) or 0.0) if classes > 2 else shift[0])


def _features(z: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Phi [n, C, K]: the logits, that of label 0 being 0 where there is one, and the shifts [C,
    K - 1].
    """
    z = np.pad(z, ((0, 0), (len(shifts) - z.shape[-1], 0)))
    return np.concatenate(
        [z[:, :, None], np.broadcast_to(shifts, (len(z), *shifts.shape))], axis=-1
    )
