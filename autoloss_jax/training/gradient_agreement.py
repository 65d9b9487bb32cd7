"""The signal in what teaches V: how far two batches of validation agree on where the controller
should go.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from autoloss_jax.algorithm import fused
from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Batch, TrainState, stream
from autoloss_jax.data.load import host
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding


def cosine(al: AutoLoss, state: TrainState, batch: Batch, first: Batch, second: Batch) -> jax.Array:
    """Cosine between V's hypergradients on two batches of val at one train batch, in [-1, 1];
    NaN if one is zero.

    1 is a direction that any batch would give, 0 is noise. Each batch of val has dropout of its
    own.
    """

    def measure(W, opt_state, x, *val_x):
        train_pass = fused.forward_pass(al, W, state, {**batch, "x": x})

        def direction(of):
            number, val = of
            own = state.replace(key=stream(state.key, number, "signal"))
            V = state.controller.params
            return ravel_pytree(fused.hypergradient(V, al, W, own, opt_state, train_pass, val))[0]

        vals = ({**val, "x": x} for val, x in zip((first, second), val_x, strict=True))
        pair = jax.tree.map(lambda *a: jnp.stack(a), *vals)
        agreement = optax.losses.cosine_similarity(*jax.lax.map(direction, (jnp.arange(2), pair)))
        return jax.tree.map(jnp.zeros_like, W), agreement

    *_, agreement = al.optimizer.step(  # for its rows alone: what it moves is not looked at
        state.drs.params,
        state.drs.opt_state,
        state.lr_scale,
        measure,
        batch["x"],
        first["x"],
        second["x"],
    )
    return agreement


PAIRS = 16  # over which a meter takes the mean: one cosine alone says little


def meter(
    al: AutoLoss,
    mesh: jax.sharding.Mesh,
    train: tuple[host.Split, ...],
    controller: tuple[host.Split, ...],
    batch_size: int,
) -> Callable[[TrainState], float]:
    """State -> the mean of `cosine` over pairs that its key and step draw; the two batches of
    val of a pair share no row.
    """
    half = (
        min(batch_size, host.num_rows(controller) // 2) // mesh.shape["data"] * mesh.shape["data"]
    )
    orders = (
        Order("signal train", host.num_rows(train), batch_size),
        Order("signal val", host.num_rows(controller), 2 * half),
    )
    jitted = jax.jit(functools.partial(cosine, al))

    def one(state: TrainState, root: np.ndarray, step: int, pair: int) -> jax.Array:
        rows, val_rows = (order.rows(root, PAIRS * step + pair) for order in orders)
        drawn = ((train, rows), (controller, val_rows[:half]), (controller, val_rows[half:]))
        shares = (host.gather(parts, r[sharding.share(mesh, len(r))]) for parts, r in drawn)
        own = state.replace(key=stream(state.key, pair, "pair"))
        return jitted(own, *(sharding.put(mesh, "batch", share) for share in shares))

    def measure(state: TrainState) -> float:
        root, step = np.asarray(jax.random.key_data(state.key)), int(state.step)
        return float(np.mean([one(state, root, step, pair) for pair in range(PAIRS)]))

    return measure
