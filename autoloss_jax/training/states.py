"""The state before the first step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from autoloss_jax.algorithm.autoloss import AutoLoss
from autoloss_jax.algorithm.state import Metrics, Network, Params, TrainState, stream
from autoloss_jax.distributed import sharding
from autoloss_jax.models.regression import Regression


def fresh(al: AutoLoss, seed: int = 0, embed_init_std: float = 0.01) -> TrainState:
    """The state before the first step, with the embedding table where `al.optimizer` wants it.

    Embeddings are N(0, embed_init_std^2), first-order weights zero. Devices that share the table
    make their own parts of it: none ever holds more.
    """
    table = al.optimizer.table
    made = functools.partial(_make, al, embed_init_std=embed_init_std)
    known = al.candidates.parameters()  # given, not built in: the program serves other rates too
    return jax.jit(lambda *given: table.place("state", made(*given)))(jax.random.key(seed), known)


def abstract(al: AutoLoss, mesh: jax.sharding.Mesh, *, regression: bool = False) -> TrainState:
    """The shapes, types and places of `fresh`, of which nothing is compiled or computed; with
    those of a regression beside the recommender, if it has one.
    """
    shapes = jax.eval_shape(
        functools.partial(_make, al), jax.random.key(0), al.candidates.parameters()
    )
    if regression:
        sizes = al.optimizer.table.num_rows, al.recommender.module.num_outputs
        shapes = shapes.replace(regression=jax.eval_shape(lambda: Regression.empty(*sizes)))
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        sharding.shardings(mesh, "state", shapes),
    )


def _make(al: AutoLoss, root: jax.Array, known: Params, embed_init_std: float = 0.01) -> TrainState:
    key = functools.partial(stream, root, 0)
    W, drs_stats = _recommender(al, key, embed_init_std)
    V, stats = _controller(al, key)
    V = {**V, **known}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=root,
        lr_scale=jnp.ones(()),
        drs=Network(W, drs_stats, al.optimizer.init(W)),
        controller=Network(V, stats, al.controller_optimizer.init(V)),
        metrics=Metrics.empty(len(al.candidates.losses)),
    )


def _recommender(al: AutoLoss, key: Any, embed_init_std: float) -> tuple[Any, Any]:
    """(W, batch statistics)."""
    table, module = al.optimizer.table, al.recommender.module
    num_rows, num_fields = sum(table.vocab_sizes), len(table.vocab_sizes)
    embedding, first_order = module.columns(num_fields)
    rows = jnp.zeros((2, num_fields, al.recommender.members * (embedding + first_order)))
    drs = module.init(key("drs"), rows, train=False)
    shape = (num_rows, al.recommender.members, embedding)
    rows = embed_init_std * jax.random.normal(key("embeddings"), shape)
    rows = jnp.pad(rows, ((0, table.num_rows - num_rows), (0, 0), (0, first_order)))
    W = {"rows": rows.reshape(len(rows), -1), "dense": drs.get("params", {})}
    return W, drs.get("batch_stats", {})


def _controller(al: AutoLoss, key: Any) -> tuple[Any, Any]:
    """(V, batch statistics)."""
    context, y_hat = al.controller.context, jnp.zeros((2, al.recommender.module.num_outputs))
    inputs = [jnp.zeros(2, jnp.int32), y_hat]
    inputs += [jnp.zeros((2, len(context)), jnp.int32)] if context else []
    others = {"member": jnp.zeros(2, jnp.int32)} if al.controller.members > 1 else {}
    controller = al.controller.module.init(key("controller"), *inputs, **others, train=False)
    return controller.get("params", {}), controller.get("batch_stats", {})


def num_params(state: TrainState) -> dict[str, int]:
    """How many parameters each part has."""

    def count(tree: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    W = state.drs.params
    return {
        "embedding": count(W["rows"]),
        "dense": count(W["dense"]),
        "controller": count({n: p for n, p in state.controller.params.items() if n != "prior"}),
    } | ({"regression": count(state.regression)} if state.regression else {})
