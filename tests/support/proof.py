"""Small AutoLosses in float64 with all noise on, their hypergradient, and what it is compared
with: central differences through the whole table.
"""

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss, fused
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training.run import Run

VOCAB_SIZES, BATCH = (150, 150, 150, 250), 24
MODEL = {"embed_dim": 3, "embed_init_std": 0.4, "hidden": (8, 8)}
NUM_ROWS, NUM_FIELDS = sum(VOCAB_SIZES), len(VOCAB_SIZES)


def problem(
    model="deepfm",
    num_classes=2,
    embedding="adam",
    batches=2,
    context=(),
    members=1,
    shared=False,
    **method,
):
    """A small AutoLoss with dropout, batch norm and Gumbel noise on, its state in float64, and
    so many batches.
    """
    cfg = config.Config(
        model=config.Model(name=model, members=members, shared=shared, **MODEL),
        method=config.Method(
            **{
                "hidden": (8, 8),
                "xi": 0.3,
                "virtual_step": "sgd",
                "pool": ("focal", "kl", "hinge", "ce"),
            }
            | method
        ),
        optimizer=config.Optimizer(embedding=embedding),
        data=config.Data(context=context),
    )
    sees = (4, 3)[: len(cfg.data.context)]
    al = Run.of(cfg).build(num_classes, Table(VOCAB_SIZES), total_steps=1000, context=sees)
    state = Run.of(cfg).initial_state(al)
    rng = np.random.default_rng(7)

    def shaken(x):  # in float64 where it is enabled
        return (
            jnp.asarray(x + 0.2 * rng.standard_normal(x.shape))
            if jnp.issubdtype(x.dtype, jnp.floating)
            else x
        )

    def network(net):  # second moments must stay positive
        moments = jax.tree.map(
            lambda x: jnp.abs(shaken(x)) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            net.opt_state,
        )
        stats = jax.tree.map(lambda x: jnp.abs(shaken(x)) + 0.5, net.stats)
        return net.replace(params=jax.tree.map(shaken, net.params), stats=stats, opt_state=moments)

    state = state.replace(
        drs=network(state.drs), controller=network(state.controller), step=jnp.asarray(3000)
    )

    def batch():
        x = rng.integers(0, 60, (BATCH, NUM_FIELDS)) + 150 * np.arange(
            NUM_FIELDS
        )  # ids repeat within and across batches
        return {
            "x": jnp.asarray(x, jnp.int32),
            "y": jnp.asarray(rng.integers(0, num_classes, BATCH), jnp.int32),
        } | (
            {"seen": jnp.asarray(rng.integers(0, sees, (BATCH, len(sees))), jnp.int32)}
            if sees
            else {}
        )

    return al, state, *(batch() for _ in range(batches))


def forward(al, W, stats, batch, *key):
    """(Logits [B, C], new batch statistics)."""
    output, stats = al.recommender(W, stats, batch, *key)
    return output.logits, stats


def hypergradient(al, state, train_batch, val_batch, over=lambda W: None):
    """Grad_V over the rows of both batches, as a step takes it; `over` is shown W over these
    rows.
    """

    def gradient(W, opt_state, x, val_x):
        over(W)
        train_pass = fused.forward_pass(al, W, state, {**train_batch, "x": x})
        found = fused.hypergradient(
            state.controller.params,
            al,
            W,
            state,
            opt_state,
            train_pass,
            {**val_batch, "x": val_x},
        )
        return W, found

    drs = state.drs
    return al.optimizer.step(
        drs.params, drs.opt_state, state.lr_scale, gradient, train_batch["x"], val_batch["x"]
    )[-1]


def full_table_outer_loss(al, state, train_batch, val_batch):
    """V -> L_val(W*(V), V) through the whole table, ids as given."""
    return lambda V: autoloss.outer_loss(
        V, al, state.drs.params, state, state.drs.opt_state, (train_batch, val_batch)
    )


def flatten(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def relative(a, b):
    return np.linalg.norm(flatten(a) - flatten(b)) / np.linalg.norm(flatten(b))


def central_differences(f, V, count=12, h=1e-6):
    """Derivatives of f at V along random directions, and those directions; V's prior stays."""
    leaves, tree = jax.tree.flatten(V)
    rng, f = np.random.default_rng(1), jax.jit(f)
    for _ in range(count):
        d = [rng.standard_normal(leaf.shape) for leaf in leaves]
        if isinstance(V, dict) and "prior" in V:
            zeros = jax.tree.map(jnp.zeros_like, V["prior"])
            d = jax.tree.leaves({**tree.unflatten(d), "prior": zeros})
        ends = [
            tree.unflatten([leaf + s * h * e for leaf, e in zip(leaves, d, strict=True)])
            for s in (1, -1)
        ]
        yield tree.unflatten(d), float(f(ends[0]) - f(ends[1])) / (2 * h)
