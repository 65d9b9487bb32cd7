"""Figures of merit, on the host in float64: AUC with ties, logloss, calibration."""

import dataclasses

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """P(positive scores above negative) + half of P(equal): rank AUC, exact with ties. [n], [n]
    -> float.

    NaN if there is no positive or no negative (`undefined_reason` says so in words), or if a
    score is NaN.
    """
    positive, scores = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    low, high = (
        np.sort(scores[~positive]),
        np.sort(scores[positive]),
    )  # sorted queries keep the search in cache
    if not len(low) or not len(high) or np.isnan(scores).any():
        return float("nan")
    twice = np.searchsorted(low, high, "left").sum() + np.searchsorted(low, high, "right").sum()
    return float(twice / (2.0 * len(low) * len(high)))


def ovr_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """One-vs-rest AUC, the mean over classes (macro). int[n], [n, C] -> float; NaN if a class is
    absent.
    """
    num_classes = probabilities.shape[-1]
    return float(np.mean([auc(labels == c, probabilities[:, c]) for c in range(num_classes)]))


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


def logloss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of -log p_y, unclipped. int[n], [n, 1] or [n, C] -> float, in nats."""
    if logits.shape[-1] == 1:
        z = np.asarray(logits[:, 0], np.float64)
        return float(np.logaddexp(0, np.where(labels, -z, z)).mean())
    return float(-log_probabilities(logits)[np.arange(len(labels)), labels].mean())


@dataclasses.dataclass(frozen=True)
class Calibration:
    """logits -> scale * logits + shift: Platt scaling of one logit, temperature (shift 0) of
    several.
    """

    scale: float
    shift: float


def apply(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Calibrated logits, in the shape given."""
    return calibration.scale * np.asarray(logits, np.float64) + calibration.shift


def calibrate(logits: np.ndarray, labels: np.ndarray, iterations: int = 50) -> Calibration:
    """The Calibration that minimises logloss, by damped Newton steps on a convex function.

    float[n, 1] or [n, C], int[n]. logits' = sum_k theta_k phi_k with phi = (z, 1) for one logit,
    in the class of label 1, and phi = (z) for several. z is standardised, so that the scale of
    the logits does not matter (softmax ignores the shift); a tiny ridge keeps separable data
    finite.
    """
    z = np.asarray(logits, np.float64)
    mean, std = z.mean(), z.std()
    std = std if std > 1e-12 * np.abs(z).max() else 1.0  # constant logits
    z = (z - mean) / std
    if z.shape[-1] == 1:
        phi = np.stack(
            [np.pad(f, ((0, 0), (1, 0))) for f in (z, np.ones_like(z))], axis=-1
        )  # [n, 2, 2]
    else:
        phi = z[:, :, None]
    y, ridge = np.eye(phi.shape[1])[labels], 1e-8

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        logp = log_probabilities(phi @ theta)
        return -np.mean(np.sum(y * logp, axis=1)) + ridge / 2 * theta @ theta, np.exp(logp)

    theta = np.zeros(phi.shape[-1])
    loss, p = value(theta)
    for _ in range(iterations):
        expected = np.einsum("nc,nck->nk", p, phi)
        gradient = np.einsum("nc,nck->k", p - y, phi) / len(z) + ridge * theta
        centred = phi - expected[:, None]
        hessian = np.einsum("nck,ncl->kl", p[:, :, None] * centred, centred) / len(z)
        step = np.linalg.solve(hessian + ridge * np.eye(len(theta)), gradient)
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
    scale = theta[0] / std
    return Calibration(float(scale), float(theta[1] - scale * mean) if len(theta) > 1 else 0.0)
