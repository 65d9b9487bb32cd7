"""Optimisers of the controller and of the recommender, W = {"rows": [V, R], "dense": {...}}.

Each trains W's rows in one of two ways. `Dense` moves the whole table in every step, at the cost
of the table. `Sparse` moves the rows of the batch, at the cost of the batch; its rule says how,
and whether that is the same model.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from autoloss_jax import config
from autoloss_jax.config.errors import UserError
from autoloss_jax.models.embeddings import deferred_adam, lookup
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.models.embeddings.row_optimizers import (
    B1,
    B2,
    EPS,
    RULES,
    RowState,
    Rule,
    adam_scale,
)

# rows at a time on a CPU, where work beyond the rows in use costs time; a GPU takes all at once
CHUNK = 8192

Params = Any
Gradient = Callable[
    ..., tuple[Params, Any]
]  # (W, state, *ids into their rows) -> (gradient, anything)


def controller(optimizer: config.Optimizer) -> optax.GradientTransformation:
    """Adam on V."""
    return optax.adam(optimizer.controller_learning_rate, B1, B2, EPS)


def recommender(optimizer: config.Optimizer, table: Table, batch_size: int) -> "Dense | Sparse":
    """The optimiser of W that the config names.

    `auto` is Adam, dense where the table is not larger than a batch's ids or where L2 is over
    the whole of it, else `sparse_adam`: the same model.
    """
    whole = optimizer.l2 > 0 and optimizer.l2_scope == "table"
    name = optimizer.embedding
    if name == "auto":
        small = sum(table.vocab_sizes) <= batch_size * table.num_slots
        name = "adam" if whole or small else "sparse_adam"
    if name == "adam":
        return Dense(adam(optimizer), table, 0.0 if whole else optimizer.l2)
    if whole:
        raise UserError(
            f"--config.optimizer.embedding={name}: L2 over the whole table moves every row in "
            "every step; set --config.optimizer.l2_scope=batch, or "
            "--config.optimizer.weight_decay instead of l2, or embedding=adam"
        )
    ids = batch_size * table.num_slots
    chunk = min(CHUNK, 1 << (ids - 1).bit_length()) if jax.default_backend() == "cpu" else None
    return Sparse(optimizer, RULES[name], table, chunk)


def adam(optimizer: config.Optimizer) -> optax.GradientTransformation:
    """L2 on the rows, then clipping, then Adam with decoupled weight decay on the rows."""
    o, on_rows = optimizer, {"rows": True, "dense": False}
    whole = o.l2 and o.l2_scope == "table"
    return optax.chain(
        optax.add_decayed_weights(o.l2, mask=on_rows) if whole else optax.identity(),
        optax.clip_by_global_norm(o.clip_norm) if o.clip_norm else optax.identity(),
        optax.scale_by_adam(B1, B2, EPS),
        optax.add_decayed_weights(o.weight_decay, mask=on_rows)
        if o.weight_decay
        else optax.identity(),
        optax.scale(-o.learning_rate),
    )


@dataclasses.dataclass(frozen=True)
class Dense:
    """An optax optimiser over every row of the table; with `adam`, the oracle of `sparse_adam`.

    Any will do that needs no more than gradients and W. `batch_l2` is L2 on the rows of the
    batch.
    """

    tx: optax.GradientTransformation
    table: Table
    batch_l2: float = 0.0

    def init(self, W: Params) -> Any:
        """The state before the first step."""
        return self.tx.init(W)

    def step(
        self,
        W: Params,
        opt_state: Any,
        lr_scale: jax.Array,
        gradient: Gradient,
        x: jax.Array,
        *looked_at: jax.Array,
    ) -> tuple[Params, Any, Any]:
        """(W, state, what else `gradient` returned) after one step along gradient(W, state, x,
        *looked_at).
        """
        g, aux = self._over_rows(W, opt_state, gradient, x, *looked_at)
        if self.batch_l2:
            in_batch = (
                jnp.zeros(W["rows"].shape[0], bool)
                .at[self.table.place("ids", x)]
                .set(True)[:, None]
            )
            g["rows"] += self.batch_l2 * jnp.where(in_batch, W["rows"], 0)
        updates, opt_state = self.tx.update(g, opt_state, W)
        updates = jax.tree.map(lambda u: lr_scale * u, updates)
        return optax.apply_updates(W, updates), opt_state, aux

    def _over_rows(self, W, opt_state, gradient, *x):
        """`gradient` over the whole table, or over the rows of x alone where most are not of x."""
        num_rows, capacity = W["rows"].shape[0], self.table.capacity(*x)
        if num_rows <= 2 * capacity:
            return gradient(W, opt_state, *x)
        scratch = jnp.zeros(num_rows, jnp.int32)
        _, touched, _, slots = lookup.localise(
            scratch, *x, capacity=capacity, place=self.table.place
        )
        local = jax.tree_util.tree_map_with_path(
            lambda path, a: (
                a.at[touched.ids].get(mode="clip") if _of_rows(path, a, num_rows) else a
            ),
            (W, opt_state),
        )
        g, aux = gradient(*local, *slots)
        return {**g, "rows": lookup.scatter(jnp.zeros_like(W["rows"]), touched, g["rows"])}, aux

    def settle(self, W: Params, opt_state: Any, lr_scale: jax.Array) -> tuple[Params, Any]:
        """Nothing is ever behind."""
        del lr_scale
        return W, opt_state

    def scale(self, gradient: Params, opt_state: Any) -> Params:
        """Adam's factor for each coordinate; see `adam_scale`. UserError if `tx` is without
        Adam's second moments.
        """
        found = optax.tree_utils.tree_get(opt_state, "ScaleByAdamState")
        if found is None:
            raise UserError(
                "precondition=True (method.virtual_step=adam): this optimiser keeps no second "
                "moments of Adam's to scale the "
                "virtual step with; set precondition=False, the paper's SGD"
            )
        return jax.tree.map(lambda g, v: adam_scale(g, v, found.count), gradient, found.nu)


def _of_rows(path: Any, a: jax.Array, num_rows: int) -> bool:
    return a.shape[:1] == (num_rows,) and lookup.of_rows(path)


class SparseState(struct.PyTreeNode):
    """What a Sparse optimiser carries: Adam's state of the dense part, and a few arrays beside
    each row.
    """

    count: jax.Array  # int32[], steps so far
    dense: optax.OptState
    rows: RowState  # [V, ...]: "last", the step until which a row is up to date; the rule's own


@dataclasses.dataclass(frozen=True)
class Sparse:
    """Rows of the batch move by `rule`, everything else by Adam. The cost of a step does not
    depend on the table.
    """

    optimizer: config.Optimizer
    rule: Rule
    table: Table
    chunk: int | None = None  # rows at a time; None: all slots at once, used or not

    @property
    def tx(self) -> optax.GradientTransformation:
        """Of the dense part; clipping is over all of W, and not here."""
        return optax.adam(self.optimizer.learning_rate, B1, B2, EPS)

    def init(self, W: Params) -> SparseState:
        """The state before the first step."""
        last = jnp.zeros(W["rows"].shape[0], jnp.int32)
        return SparseState(
            jnp.zeros((), jnp.int32),
            self.tx.init(W["dense"]),
            {"last": last, **self.rule.init(W["rows"])},
        )

    def _open(self, W, opt_state, lr_scale, *x):
        chunk, capacity = self.chunk or 1, self.table.capacity(*x)
        capacity = -(-capacity // chunk) * chunk
        last, touched, own, slots = lookup.localise(
            opt_state.rows["last"], *x, capacity=capacity, place=self.table.place
        )
        opt_state = opt_state.replace(rows={**opt_state.rows, "last": last})
        p, s = lookup.gather(
            (W["rows"], opt_state.rows),
            touched,
            self._catching_up(opt_state.count, lr_scale),
            self.chunk,
        )
        own = touched.first(own, W["rows"].shape[0])
        return opt_state, own, ({**W, "rows": p}, opt_state.replace(rows=s), *slots)

    def _catching_up(self, now: jax.Array, lr_scale: jax.Array) -> Callable[[Any], Any]:
        def catch_up(row):
            p, s = row
            p, s = self.rule.catch_up(self.optimizer, p, s, now, lr_scale)
            return p, {**s, "last": jnp.full_like(s["last"], now)}

        return catch_up

    def step(
        self,
        W: Params,
        opt_state: SparseState,
        lr_scale: jax.Array,
        gradient: Gradient,
        x: jax.Array,
        *looked_at: jax.Array,
    ) -> tuple[Params, SparseState, Any]:
        """(W, state, what else `gradient` returned) after one step along gradient(W, state, x,
        *looked_at).

        What it is given is up to date, over the rows of x and those looked at; the rows of x
        alone move.
        """
        o = self.optimizer
        W, opt_state = self._settle_once(W, opt_state, lr_scale)
        opt_state, touched, local = self._open(W, opt_state, lr_scale, x, *looked_at)
        g, aux = gradient(*local)
        p, s = local[0]["rows"], local[1].rows
        if o.l2:
            in_use = (jnp.arange(touched.ids.size) < touched.count)[:, None]
            g["rows"] += o.l2 * jnp.where(in_use, p, 0)
        if o.clip_norm:
            g, _ = optax.clip_by_global_norm(o.clip_norm).update(g, optax.EmptyState())
        now = opt_state.count + 1

        def update(row):
            p, s, g = row
            p, s = self.rule.update(o, p, s, g, now, lr_scale)
            return p, {**s, "last": jnp.full_like(s["last"], now)}

        table, row_state = lookup.scatter(
            (W["rows"], opt_state.rows), touched, (p, s, g["rows"]), update, self.chunk
        )
        updates, dense_state = self.tx.update(g["dense"], opt_state.dense, W["dense"])
        dense = jax.tree.map(lambda w, u: w + lr_scale * u, W["dense"], updates)
        return {"rows": table, "dense": dense}, SparseState(now, dense_state, row_state), aux

    def _settle_once(self, W, opt_state, lr_scale):
        """At the end of Adam's first steps, after which what a row missed has a closed form."""
        due = (opt_state.count == deferred_adam.EARLY).astype(jnp.int32)
        return lax.fori_loop(0, due, lambda _, s: self.settle(s[0], s[1], lr_scale), (W, opt_state))

    def settle(
        self, W: Params, opt_state: SparseState, lr_scale: jax.Array
    ) -> tuple[Params, SparseState]:
        """Every row up to date: before whatever reads the whole table, or changes the learning
        rate.
        """
        p, s = lookup.whole(
            (W["rows"], opt_state.rows),
            self._catching_up(opt_state.count, lr_scale),
            self.table.place.parts,
        )
        return {**W, "rows": p}, opt_state.replace(rows=s)

    def scale(self, gradient: Params, opt_state: SparseState) -> Params:
        """The rule's factor for rows, Adam's for the rest; see `adam_scale`."""
        nu, count = (optax.tree_utils.tree_get(opt_state.dense, name) for name in ("nu", "count"))
        dense = jax.tree.map(lambda g, v: adam_scale(g, v, count), gradient["dense"], nu)
        return {
            "rows": self.rule.scale(gradient["rows"], opt_state.rows, opt_state.count),
            "dense": dense,
        }
