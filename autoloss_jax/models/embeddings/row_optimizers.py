"""How the rows that a batch touches move, and what they keep beside them.

Shapes: K rows of R numbers each; V rows in the table.
"""

from typing import Protocol

import jax
import jax.numpy as jnp

from autoloss_jax import config
from autoloss_jax.models.embeddings import deferred_adam

B1, B2, EPS = 0.9, 0.999, 1e-8  # Adam's, as everywhere

RowState = dict[str, jax.Array]


class Rule(Protocol):
    """How the rows of a batch move. Every function is row-wise: p and g [K, R], s a row's slice
    of SparseState.rows.
    """

    def init(self, p: jax.Array) -> RowState:
        """The rule's state beside the rows."""
        ...

    def catch_up(self, o: config.Optimizer, p, s, now, lr_scale) -> tuple[jax.Array, RowState]:
        """(p, s) after the steps up to `now` in which the rows had no gradient."""
        ...

    def update(self, o: config.Optimizer, p, s, g, now, lr_scale) -> tuple[jax.Array, RowState]:
        """(p, s) after step `now` along g."""
        ...

    def scale(self, g, s, count) -> jax.Array:
        """The factor of g in the next step, the rate and momentum aside."""
        ...


class LazyAdam:
    """Adam on the rows of the batch alone; the moments of the others rest (TensorFlow's
    LazyAdam, torch's SparseAdam).

    Another model than Adam's: a rare row keeps its momentum until it is seen again, and does not
    move in between.
    """

    def init(self, p: jax.Array) -> RowState:
        """Both moments."""
        return {"mu": jnp.zeros_like(p), "nu": jnp.zeros_like(p)}

    def catch_up(self, o, p, s, now, lr_scale):
        """Nothing was missed."""
        return p, s

    def update(self, o, p, s, g, now, lr_scale):
        """One step of Adam, with decoupled weight decay."""
        mu, nu = B1 * s["mu"] + (1 - B1) * g, B2 * s["nu"] + (1 - B2) * jnp.square(g)
        t = now.astype(p.dtype)
        u = mu / (1 - B1**t) / (jnp.sqrt(nu / (1 - B2**t)) + EPS) + o.weight_decay * p
        return p - o.learning_rate * lr_scale * u, {**s, "mu": mu, "nu": nu}

    def scale(self, g, s, count):
        """Adam's."""
        return adam_scale(g, s["nu"], count)


class SparseAdam(LazyAdam):
    """Adam exactly: what a row would have done while it was not in the batch is made up when it
    is next read.
    """

    def catch_up(self, o, p, s, now, lr_scale):
        """The steps since `last`, without gradient; see catchup.py."""
        rate = o.learning_rate * lr_scale
        decay = rate * o.weight_decay if o.weight_decay else None
        moved, mu, nu = deferred_adam.missed_steps(
            s["mu"], s["nu"], s["last"], now, b1=B1, b2=B2, eps=EPS, weight_decay=decay
        )
        if decay is not None:
            p *= jnp.exp(jnp.log1p(-decay) * (now - s["last"]).astype(p.dtype))[:, None]
        return p - rate * moved, {**s, "mu": mu, "nu": nu}


class RowwiseAdagrad:
    """One accumulator a row, of the mean squared gradient (as in DLRM and FBGEMM): an eighth of
    Adam's memory or less.

    Another model than Adam's. Weight decay acts on the rows of the batch alone.
    """

    def init(self, p: jax.Array) -> RowState:
        """The accumulator, [V]."""
        return {"acc": jnp.zeros_like(p[:, 0])}

    def catch_up(self, o, p, s, now, lr_scale):
        """Nothing was missed."""
        return p, s

    def update(self, o, p, s, g, now, lr_scale):
        """One step of row-wise Adagrad, with decoupled weight decay."""
        acc = s["acc"] + jnp.mean(jnp.square(g), axis=-1)
        u = g / (jnp.sqrt(acc)[:, None] + EPS) + o.weight_decay * p
        return p - o.learning_rate * lr_scale * u, {**s, "acc": acc}

    def scale(self, g, s, count):
        """1 / (sqrt(acc) + eps), once g has entered acc; rows that neither g nor acc has moved
        stay.
        """
        acc = s["acc"] + jnp.mean(jnp.square(g), axis=-1)
        return jnp.broadcast_to(1 / (jnp.sqrt(acc)[:, None] + EPS), g.shape)


def adam_scale(g: jax.Array, nu: jax.Array, count: jax.Array) -> jax.Array:
    """1 / (sqrt(v) + eps), v being Adam's second moment once this gradient has entered it.

    As a diagonal of Eq. (13) it makes the virtual step as long in every coordinate as a real
    one. That g enters v keeps rows that were never seen from an unbounded step.
    """
    v = B2 * nu + (1 - B2) * jnp.square(g)
    return 1 / (jnp.sqrt(v / (1 - B2 ** (count + 1))) + EPS)


RULES: dict[str, Rule] = {
    "sparse_adam": SparseAdam(),
    "lazy_adam": LazyAdam(),
    "rowwise_adagrad": RowwiseAdagrad(),
}
