"""Optimisers of both networks, and the direction that the virtual step takes through Adam."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from autoloss_jax import config

B1, B2, EPS = 0.9, 0.999, 1e-8  # Adam's, as everywhere


def recommender(optimizer: config.Optimizer) -> optax.GradientTransformation:
    """Adam on W, with (lambda / 2) ||rows||^2 over the whole table added to the loss's gradient, then clipping."""
    return optax.chain(
        optax.add_decayed_weights(optimizer.l2, mask={"rows": True, "dense": False})
        if optimizer.l2
        else optax.identity(),
        optax.clip_by_global_norm(optimizer.clip_norm) if optimizer.clip_norm else optax.identity(),
        optax.adam(optimizer.learning_rate, B1, B2, EPS),
    )


def controller(optimizer: config.Optimizer) -> optax.GradientTransformation:
    """Adam on V."""
    return optax.adam(optimizer.controller_learning_rate, B1, B2, EPS)


def adam_direction(gradient: Any, opt_state: Any) -> Any:
    """G / (sqrt(v) + eps), v being Adam's second moment once this gradient has entered it, as a constant.

    A diagonal preconditioner for Eq. (13): the virtual step is then as long in every coordinate as a real one, and
    linear in g. That g enters v keeps rows that were never seen from an unbounded step.
    """
    nu, count = (optax.tree_utils.tree_get(opt_state, name) for name in ("nu", "count"))

    def direction(g, v):
        v = B2 * v + (1 - B2) * jnp.square(jax.lax.stop_gradient(g))
        return g / (jnp.sqrt(v / (1 - B2 ** (count + 1))) + EPS)

    return jax.tree.map(direction, gradient, nu)
