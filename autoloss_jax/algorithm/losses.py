"""Candidate losses l_i(y, y_hat) of Eq. (8): (logits, labels int[B]) -> [B], unreduced,
entropies in nats.

The last three rank: an example's loss looks at the others of its batch, and it is still the
example's own to weigh.

One logit [B, 1] is a binary task (sigmoid), C >= 3 logits [B, C] are C classes (softmax). Each
loss is written once for both, over K classes (K = 2 for one logit), and is finite with its first
two derivatives for logits in [-100, 100] in float32: every logarithm goes through log_sigmoid or
log_softmax. A parameter out of its range is a UserError, since it would be a NaN in training.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax.config.errors import UserError

Loss = Callable[..., jax.Array]
MOST = {"missing": 0.99, "flipped": 0.49}  # the highest rate that leaves something to learn
# where a label's chance goes at rate 1
MOVED = {"missing": np.array([[0, 0], [1, -1]]), "flipped": np.array([[-1, 1], [1, -1]])}


def log_probs(logits: jax.Array) -> jax.Array:
    """Log p over K classes. [B, 1] -> [B, 2]; [B, C] -> [B, C]."""
    if logits.shape[-1] == 1:
        return jnp.concatenate([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], axis=-1)
    return jax.nn.log_softmax(logits, axis=-1)


def one_hot(labels: jax.Array, like: jax.Array) -> jax.Array:
    """int32[B] -> [B, K], in the shape and type of `like`."""
    return jax.nn.one_hot(labels, like.shape[-1], dtype=like.dtype)


def log_p(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Log p_y, the log-probability of the label. [B]."""
    logp = log_probs(logits)
    return jnp.sum(one_hot(labels, logp) * logp, axis=-1)


def ce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy, -log p_y."""
    return -log_p(logits, labels)


def focal(logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    """(1 - p_y)^gamma times cross-entropy (Lin et al., 2017); gamma in [0, 100].

    The power is exp(gamma log(1 - p_y)), smooth at p_y = 1 for every gamma.
    """
    _require("focal", 0, 100, gamma=gamma)
    logp = log_probs(logits)
    y = one_hot(labels, logp)
    log_others = jax.nn.logsumexp(logp, axis=-1, where=y == 0)
    return jnp.exp(gamma * log_others) * -jnp.sum(y * logp, axis=-1)


def kl(logits: jax.Array, labels: jax.Array, *, epsilon: float = 0.05) -> jax.Array:
    """KL(q || p) against smoothed labels q = (1 - epsilon) one-hot + epsilon / K; epsilon in [1e-6,
    0.99].

    Against hard labels KL is cross-entropy itself (`kl_exact`), so that the paper's KL cannot be
    that.
    """
    _require("kl", 1e-6, 0.99, epsilon=epsilon)
    logp = log_probs(logits)
    q, log_q = _smoothed(labels, logp, epsilon)
    return jnp.sum(q * (log_q - logp), axis=-1)


def kl_exact(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """KL(one-hot || p): the entropy of a hard label is zero, so this equals `ce`."""
    return ce(logits, labels)


def kl_reverse(logits: jax.Array, labels: jax.Array, *, epsilon: float = 0.05) -> jax.Array:
    """KL(p || q) against the smoothed labels of `kl`."""
    _require("kl_reverse", 1e-6, 0.99, epsilon=epsilon)
    logp = log_probs(logits)
    _, log_q = _smoothed(labels, logp, epsilon)
    return jnp.sum(jnp.exp(logp) * (logp - log_q), axis=-1)


def _smoothed(labels: jax.Array, logp: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    q = (1 - epsilon) * one_hot(labels, logp) + epsilon / logp.shape[-1]
    return q, jnp.log(q)


def hinge(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """max(0, 1 - s z) for one logit, s = +-1; max(0, 1 + max_{j != y} z_j - z_y) for several.

    Crammer & Singer, 2001. At the kink and at ties the derivative is the mean of its one-sided
    values.
    """
    z = (
        jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
        if logits.shape[-1] == 1
        else logits
    )
    return jnp.maximum(0.0, 1.0 + _margin(z, labels))


def hinge_prob(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """max(0, 1 + max_{j != y} p_j - p_y), Keras's categorical hinge; binary: max(0, 1 - s (2 p -
    1)).
    """
    return jnp.maximum(0.0, 1.0 + _margin(jnp.exp(log_probs(logits)), labels))


def _margin(scores: jax.Array, labels: jax.Array) -> jax.Array:
    y = one_hot(labels, scores)
    return jnp.max(jnp.where(y == 1, -jnp.inf, scores), axis=-1) - jnp.sum(y * scores, axis=-1)


def mse(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over K classes of (one-hot - p)^2: the Brier score, (y - p)^2 for one logit."""
    p = jnp.exp(log_probs(logits))
    return jnp.mean(jnp.square(one_hot(labels, p) - p), axis=-1)


def mae(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over K classes of |one-hot - p|, |y - p| for one logit."""
    p = jnp.exp(log_probs(logits))
    return jnp.mean(jnp.abs(one_hot(labels, p) - p), axis=-1)


def poly1(logits: jax.Array, labels: jax.Array, *, epsilon: float = 1.0) -> jax.Array:
    """Cross-entropy + epsilon (1 - p_y) (Leng et al., 2022); epsilon in [-1, 100]."""
    _require("poly1", -1, 100, epsilon=epsilon)
    logp = log_p(logits, labels)
    return -logp + epsilon * (1 - jnp.exp(logp))


def gce(logits: jax.Array, labels: jax.Array, *, q: float = 0.7) -> jax.Array:
    """(1 - p_y^q) / q, robust to wrong labels (Zhang & Sabuncu, 2018); q in [1e-3, 1].

    Cross-entropy as q -> 0, 1 - p_y at q = 1.
    """
    _require("gce", 1e-3, 1, q=q)
    return -jnp.expm1(q * log_p(logits, labels)) / q


def asymmetric_ce(
    logits: jax.Array, labels: jax.Array, *, positive: float = 1.0, negative: float = 1.0
) -> jax.Array:
    """Cross-entropy weighted by `negative` where the label is 0, by `positive` elsewhere; in [0,
    1e6].
    """
    _require("asymmetric_ce", 0, 1e6, positive=positive)
    _require("asymmetric_ce", 0, 1e6, negative=negative)
    return jnp.where(labels == 0, negative, positive) * ce(logits, labels)


def ordinal(logits: jax.Array, labels: jax.Array, *, spread: float = 0.1) -> jax.Array:
    """KL(q || p) against q = 1 - 2 spread on the label and `spread` on each neighbouring class;
    spread in [1e-6, 0.5].

    For classes in an order, as stars are. At an end what has no neighbour stays on the label.
    """
    _require("ordinal", 1e-6, 0.5, spread=spread)
    logp = log_probs(logits)
    places = jnp.arange(logp.shape[-1])
    below, above = (jnp.clip(labels + d, 0, logp.shape[-1] - 1)[:, None] == places for d in (-1, 1))
    q = (1 - 2 * spread) * one_hot(labels, logp) + spread * (below + above.astype(logp.dtype))
    return jnp.sum(jax.scipy.special.xlogy(q, q) - q * logp, axis=-1)


def missing_ce(logits: jax.Array, labels: jax.Array, *, rate: float = 0.3) -> jax.Array:
    """Cross-entropy where each label above 0 was lost, and reads 0, with probability `rate`; in [0,
    0.99].

    The forward correction of Patrini et al., CVPR 2017, for conversions that have not arrived
    yet: p is of the true label.
    """
    _require("missing_ce", 0, 0.99, rate=rate)
    logp = log_probs(logits)
    others = jax.nn.logsumexp(logp[..., 1:], axis=-1)
    lost = -jnp.logaddexp(logp[..., 0], jnp.log(jnp.maximum(rate, 1e-30)) + others)
    return jnp.where(labels == 0, lost, ce(logits, labels) - jnp.log1p(-rate))


def flipped_ce(logits: jax.Array, labels: jax.Array, *, rate: float = 0.1) -> jax.Array:
    """Cross-entropy where each label was replaced by another class, any alike, with probability
    `rate`; in [1e-6, 0.99].

    The forward correction of Patrini et al., CVPR 2017: p is of the true label.
    """
    _require("flipped_ce", 1e-6, 0.99, rate=rate)
    logp = log_probs(logits)
    log_py = log_p(logits, labels)
    log_others = jax.nn.logsumexp(logp, axis=-1, where=one_hot(labels, logp) == 0)
    return -jnp.logaddexp(
        jnp.log1p(-rate) + log_py, jnp.log(rate / (logp.shape[-1] - 1)) + log_others
    )


def forward_ce(logits: jax.Array, labels: jax.Array, transition: jax.Array) -> jax.Array:
    """Cross-entropy of the observed labels: -log sum_k p_k T[k, y], p being of the true label.

    `transition` [K, K], or [B, K, K], holds the chance T[k, y] that label k is observed as y. The
    forward correction of Patrini et al., CVPR 2017; `missing_ce` and `flipped_ce` are two of its
    kinds, with one rate.
    """
    logp = log_probs(logits)
    chance = jnp.sum(transition * one_hot(labels, logp)[:, None, :], axis=-1)  # [B, K]
    return -jax.nn.logsumexp(logp + jnp.log(jnp.maximum(chance, 1e-30)), axis=-1)


def transition(kind: str, rate: Any) -> Any:
    """T of `forward_ce` for two classes where a share of labels is wrong. [...] -> [..., 2, 2].

    "missing": of the positives, which read 0; "flipped": of all labels, which read the other. An
    array of numpy gives one of numpy.
    """
    return np.eye(2) + rate[..., None, None] * MOVED[kind]


def pairwise(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the batch's members j of another label of softplus(-(s_i - s_j)), s the score of
    i's label; 0 without any.

    RankNet's pairs (Burges et al., 2005), as combined with cross-entropy by Lin et al., KDD
    2024. O(B^2).
    """
    scores, y, own = _scores(logits, labels)
    other = labels[:, None] != labels
    pairs = jnp.where(other, jax.nn.softplus(y @ scores.T - own[:, None]), 0.0)
    return jnp.sum(pairs, axis=1) / jnp.maximum(jnp.sum(other, axis=1), 1)


def generative(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log of the softmax over the batch's members of the score of i's label, at i: JRC's second
    term.

    Sheng et al., KDD 2023, with the whole batch as context.
    """
    scores, y, own = _scores(logits, labels)
    return y @ jax.nn.logsumexp(scores, axis=0) - own


def listwise(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """`generative` where the label is above 0, else 0: the softmax loss of a list with several
    positives.
    """
    return jnp.where(labels > 0, generative(logits, labels), 0.0)


def ranks(loss: Loss, num_outputs: int) -> bool:
    """Whether a loss looks at the other examples of the batch, as found by taking some together
    and one by one.
    """
    logits = jax.random.normal(jax.random.key(0), (16, num_outputs))
    labels = jnp.arange(16) % max(num_outputs, 2)

    @jax.jit
    def same(logits, labels):
        alone = jax.vmap(lambda z, y: loss(z[None], y[None])[0])(logits, labels)
        return jnp.allclose(loss(logits, labels), alone, rtol=1e-3, atol=1e-5)

    return not same(logits, labels)


def _scores(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(Scores of the K labels [B, K], one-hot labels [B, K], the label's score [B]); one logit
    scores its labels -z and z.
    """
    scores = jnp.concatenate([-logits, logits], axis=-1) if logits.shape[-1] == 1 else logits
    y = one_hot(labels, scores)
    return scores, y, jnp.sum(y * scores, axis=-1)


def _require(loss: str, low: float, high: float, **parameter: float) -> None:
    for name, value in parameter.items():
        if not low <= value <= high:
            raise UserError(f"loss {loss}({name}={value:g}): wants {low:g} <= {name} <= {high:g}")


LOSSES: dict[str, Loss] = {
    "ce": ce,
    "focal": focal,
    "kl": kl,
    "kl_exact": kl_exact,
    "kl_reverse": kl_reverse,
    "hinge": hinge,
    "hinge_prob": hinge_prob,
    "mse": mse,
    "mae": mae,
    "poly1": poly1,
    "gce": gce,
    "asymmetric_ce": asymmetric_ce,
    "ordinal": ordinal,
    "missing_ce": missing_ce,
    "flipped_ce": flipped_ce,
    "pairwise": pairwise,
    "generative": generative,
    "listwise": listwise,
}


def counted(losses: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
    """Losses [B, any] of a batch, each as often as its example counts: times `weight`, if any."""
    if "weight" not in batch:
        return losses
    return losses * batch["weight"].reshape(-1, *[1] * (losses.ndim - 1))
