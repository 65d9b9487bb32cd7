"""Figures of merit, on the host in float64: exact AUC with ties, logloss, calibration; and an AUC that merges."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """P(score of a positive > score of a negative) + half of P(equal): rank AUC, exact with ties. [n], [n] -> float.

    NaN if there is no positive or no negative (`undefined_reason` says so in words).
    """
    positive = np.asarray(labels) > 0
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return float("nan")
    _, inverse, counts = np.unique(np.asarray(scores, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2.0
    rank_sum = mean_rank[inverse][positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2.0) / (float(num_positive) * num_negative))


def ovr_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """One-vs-rest AUC, the mean over classes (macro). int[n], [n, C] -> float; NaN if a class is absent."""
    num_classes = probabilities.shape[-1]
    return float(np.mean([auc(labels == c, probabilities[:, c]) for c in range(num_classes)]))


def undefined_reason(labels: np.ndarray, num_classes: int) -> str | None:
    """Why AUC is undefined on these labels, or None."""
    absent = sorted(set(range(num_classes)) - set(np.unique(labels).tolist()))
    return f"no example of class {', '.join(map(str, absent))} among {len(labels)} rows" if absent else None


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log p over K classes in float64: [n, 1] -> [n, 2] (sigmoid), [n, C] -> [n, C] (softmax)."""
    z = np.asarray(logits, np.float64)
    z = np.concatenate([np.zeros_like(z), z], axis=-1) if z.shape[-1] == 1 else z
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def logloss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of -log p_y, unclipped. int[n], [n, 1] or [n, C] -> float, in nats."""
    return float(-log_probabilities(logits)[np.arange(len(labels)), labels].mean())


@dataclasses.dataclass(frozen=True)
class Calibration:
    """logits -> scale * logits + shift: Platt scaling of one logit, temperature (shift 0) of several."""

    scale: float
    shift: float


def apply(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Calibrated logits, in the shape given."""
    return calibration.scale * np.asarray(logits, np.float64) + calibration.shift


def calibrate(logits: np.ndarray, labels: np.ndarray, iterations: int = 50) -> Calibration:
    """The Calibration that minimises logloss, by damped Newton steps on a convex function.

    logits' = sum_k theta_k phi_k with phi = (z, 1) for one logit, in the class of label 1, and phi = (z) for several.
    A tiny ridge around the identity keeps separable data finite.
    """
    z = np.asarray(logits, np.float64)
    if z.shape[-1] == 1:
        zero = np.zeros_like(z)
        phi = np.stack([np.concatenate([zero, z], axis=1), np.concatenate([zero, zero + 1], axis=1)], axis=-1)
    else:
        phi = z[:, :, None]
    identity = np.eye(phi.shape[-1])[0]
    ridge = 1e-6
    y = np.eye(phi.shape[1])[labels]

    def value(theta):
        logp = log_probabilities(phi @ theta)
        return -np.mean(np.sum(y * logp, axis=1)) + ridge / 2 * np.sum((theta - identity) ** 2), np.exp(logp)

    theta, (loss, p) = identity, value(identity)
    for _ in range(iterations):
        gradient = np.einsum("nc,nck->k", p - y, phi) / len(z) + ridge * (theta - identity)
        mean = np.einsum("nc,nck->nk", p, phi)
        hessian = (np.einsum("nc,nck,ncl->kl", p, phi, phi) - mean.T @ mean) / len(z) + ridge * np.eye(
            len(theta)
        )
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-8 and value(theta - length * step)[0] > loss:
            length /= 2
        theta, before = theta - length * step, loss
        loss, p = value(theta)
        if before - loss < 1e-14:
            break
    return Calibration(float(theta[0]), float(theta[1]) if len(theta) > 1 else 0.0)


class ScoreHistogram(struct.PyTreeNode):
    """Counts of negatives and positives per bin of a probability: an AUC that merges over batches and devices.

    Scores in one bin count as tied, so that the error is at most half the share of (positive, negative) pairs that
    fall into one bin; with 2^20 bins and scores that are not concentrated it is below 1e-9. Counts are exact below
    2^31 per bin.
    """

    counts: jax.Array  # int32[2, bins]

    @classmethod
    def empty(cls, bins: int = 2**20) -> "ScoreHistogram":
        """No scores."""
        return cls(jnp.zeros((2, bins), jnp.int32))

    def update(self, labels: jax.Array, probabilities: jax.Array) -> "ScoreHistogram":
        """With more scores. labels int[n] in {0, 1}, probabilities [n] in [0, 1]."""
        bins = self.counts.shape[1]
        index = jnp.clip((probabilities * bins).astype(jnp.int32), 0, bins - 1)
        return self.replace(counts=self.counts.at[labels, index].add(1))

    def merge(self, other: "ScoreHistogram") -> "ScoreHistogram":
        """The histogram of both."""
        return self.replace(counts=self.counts + other.counts)

    def auc(self) -> float:
        """AUC of the binned scores; NaN without a positive or a negative."""
        negative, positive = np.asarray(self.counts, np.float64)
        below = np.cumsum(negative) - negative
        pairs = negative.sum() * positive.sum()
        return float(np.sum(positive * (below + negative / 2)) / pairs) if pairs else float("nan")
