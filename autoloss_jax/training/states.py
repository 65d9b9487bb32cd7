"""From a config and a dataset's shape to what is closed over (AutoLoss) and what changes
(TrainState).
"""

import functools

import jax
import jax.numpy as jnp

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, gumbel, methods
from autoloss_jax.algorithm.autoloss import AutoLoss, Metrics, Network, TrainState
from autoloss_jax.data.schema import Schema
from autoloss_jax.distributed import sharding
from autoloss_jax.models import registry
from autoloss_jax.models.embeddings import lookup, optimizers, pooling
from autoloss_jax.models.embeddings.lookup import Table


def build(
    cfg: config.Config, num_classes: int, table: Table, total_steps: int, sees: tuple[int, ...] = ()
) -> AutoLoss:
    """Networks, losses and optimisers of a run; UserError for anything unknown or degenerate.

    `sees`: how many values each of the fields has that the controller sees.
    """
    method, pool = methods.resolve(cfg.method)
    l2 = tuple(candidate.l2 for candidate in pool.values())
    return AutoLoss(
        drs=registry.make(
            cfg.model, 1 if num_classes == 2 else num_classes, len(table.vocab_sizes)
        ),
        pooled=functools.partial(pooling.pooled, slots=table.slots),
        controller=methods.controller(cfg.method, method, len(pool), sees),
        seen=sees,
        losses=tuple(candidate.loss for candidate in pool.values()),
        l2=functools.partial(lookup.l2, l2) if any(l2) else None,
        weights=method.weights,
        temperature=functools.partial(
            gumbel.annealed_temperature,
            floor=cfg.temperature.floor,
            horizon=cfg.temperature.horizon or max(total_steps, 1),
        ),
        drs_tx=optimizers.recommender(cfg.optimizer, table, cfg.train.batch_size),
        controller_tx=optimizers.controller(cfg.optimizer),
        taught_by=method.taught_by,
        xi=cfg.method.xi,
        precondition=cfg.method.virtual_step == "adam",
        val_loss=methods.val_loss(cfg.method),
        detach=cfg.method.detach,
    )


def build_for(
    cfg: config.Config, schema: Schema, mesh: jax.sharding.Mesh, total_steps: int
) -> AutoLoss:
    """`build` for a prepared dataset, on these devices."""
    table = Table(schema.vocab_sizes, schema.slots, sharding.Placement(mesh))
    sees = tuple(size for *_, size in methods.seen(cfg.method, schema))
    return build(cfg, schema.num_classes, table, total_steps, sees)


def empty_metrics(num_losses: int) -> Metrics:
    """Metrics of no step."""
    zero = jnp.zeros(())
    return Metrics(zero, zero, jnp.zeros(num_losses), jnp.zeros(num_losses), zero)


def initial(al: AutoLoss, cfg: config.Config) -> TrainState:
    """The state before the first step of the run that a config describes."""
    return fresh(al, cfg.run.seed, cfg.model.embed_init_std)


def fresh(al: AutoLoss, seed: int = 0, embed_init_std: float = 0.01) -> TrainState:
    """The state before the first step; embeddings ~ N(0, embed_init_std^2), first-order weights
    zero.

    Devices that share the table make their own parts of it: none ever holds more.
    """
    whole = al.drs_tx.table
    num_rows, num_fields = sum(whole.vocab_sizes), len(whole.vocab_sizes)
    num_outputs, (embedding, first_order) = al.drs.num_outputs, al.drs.columns(num_fields)

    def make(root: jax.Array) -> TrainState:
        key = functools.partial(autoloss.stream, root, 0)
        rows = jnp.zeros((2, num_fields, embedding + first_order))
        drs = al.drs.init(key("drs"), rows, train=False)
        seen = [jnp.zeros((2, len(al.seen)), jnp.int32)] if al.seen else []
        controller = al.controller.init(
            key("controller"),
            jnp.zeros(2, jnp.int32),
            jnp.zeros((2, num_outputs)),
            *seen,
            train=False,
        )
        table = embed_init_std * jax.random.normal(key("embeddings"), (num_rows, embedding))
        table = jnp.pad(table, ((0, whole.num_rows - num_rows), (0, first_order)))
        W = {"rows": table, "dense": drs.get("params", {})}
        V = controller.get("params", {})
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            key=root,
            lr_scale=jnp.ones(()),
            drs=Network(W, drs.get("batch_stats", {}), al.drs_tx.init(W)),
            controller=Network(V, controller.get("batch_stats", {}), al.controller_tx.init(V)),
            metrics=empty_metrics(len(al.losses)),
        )
        return whole.place("state", state)

    return jax.jit(make)(jax.random.key(seed))


def num_params(state: TrainState) -> dict[str, int]:
    """How many parameters each part has."""

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    W = state.drs.params
    return {
        "embedding": count(W["rows"]),
        "dense": count(W["dense"]),
        "controller": count(state.controller.params),
    }
