"""The state before the first step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Metrics, Network, TrainState, stream


def fresh(al: AutoLoss, seed: int = 0, embed_init_std: float = 0.01) -> TrainState:
    """The state before the first step, with the embedding table where `al.optimizer` wants it.

    Embeddings are N(0, embed_init_std^2), first-order weights zero. Devices that share the table
    make their own parts of it: none ever holds more.
    """
    table = al.optimizer.table

    def make(root: jax.Array) -> TrainState:
        key = functools.partial(stream, root, 0)
        W, drs_stats = _recommender(al, key, embed_init_std)
        V, stats = _controller(al, key)
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            key=root,
            lr_scale=jnp.ones(()),
            drs=Network(W, drs_stats, al.optimizer.init(W)),
            controller=Network(V, stats, al.controller_optimizer.init(V)),
            metrics=Metrics.empty(len(al.candidates.losses)),
        )
        return table.place("state", state)

    return jax.jit(make)(jax.random.key(seed))


def _recommender(al: AutoLoss, key: Any, embed_init_std: float) -> tuple[Any, Any]:
    """(W, batch statistics)."""
    table, module = al.optimizer.table, al.recommender.module
    num_rows, num_fields = sum(table.vocab_sizes), len(table.vocab_sizes)
    embedding, first_order = module.columns(num_fields)
    rows = jnp.zeros((2, num_fields, embedding + first_order))
    drs = module.init(key("drs"), rows, train=False)
    rows = embed_init_std * jax.random.normal(key("embeddings"), (num_rows, embedding))
    rows = jnp.pad(rows, ((0, table.num_rows - num_rows), (0, first_order)))
    return {"rows": rows, "dense": drs.get("params", {})}, drs.get("batch_stats", {})


def _controller(al: AutoLoss, key: Any) -> tuple[Any, Any]:
    """(V, batch statistics)."""
    context, y_hat = al.controller.context, jnp.zeros((2, al.recommender.module.num_outputs))
    inputs = [jnp.zeros(2, jnp.int32), y_hat]
    inputs += [jnp.zeros((2, len(context)), jnp.int32)] if context else []
    controller = al.controller.module.init(key("controller"), *inputs, train=False)
    return controller.get("params", {}), controller.get("batch_stats", {})


def num_params(state: TrainState) -> dict[str, int]:
    """How many parameters each part has."""

    def count(tree: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    W = state.drs.params
    return {
        "embedding": count(W["rows"]),
        "dense": count(W["dense"]),
        "controller": count(state.controller.params),
    }
