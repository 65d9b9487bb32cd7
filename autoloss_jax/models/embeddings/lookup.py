"""The rows of a table that batches touch: a step over them is exact and costs O(batch), never
O(table).

K slots, enough for the distinct ids that the batches can hold; L <= K of them are in use, one
for each distinct id.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

ROWS = "rows"  # the table in W, and what an optimizer keeps beside it


class Place(Protocol):
    """Where arrays live, for devices that share a table in so many equal parts."""

    @property
    def parts(self) -> int:
        """How many."""
        ...

    def __call__(self, name: str, tree: Any) -> Any:
        """The tree, traced, on the devices where arrays of that name belong."""
        ...


class OneDevice:
    """Everything is in one place."""

    parts = 1

    def __call__(self, name: str, tree: Any) -> Any:
        """The tree as it is."""
        return tree


ONE_DEVICE = OneDevice()


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of all fields, one field's after another's."""

    vocab_sizes: tuple[int, ...]  # rows of each field
    slots: tuple[int, ...] = ()  # ids of an example per field; empty: one of each
    place: Place = ONE_DEVICE

    @property
    def num_rows(self) -> int:
        """V, with what fills up the last part: rows of zeros, which no id means."""
        return -(-sum(self.vocab_sizes) // self.place.parts) * self.place.parts

    @property
    def num_slots(self) -> int:
        """S, the ids of an example."""
        return sum(self.slots) or len(self.vocab_sizes)

    def capacity(self, *x: jax.Array) -> int:
        """How many distinct ids x can hold at most, each [..., S]: no field has more than its
        vocabulary.
        """
        examples = sum(i.size for i in x) // self.num_slots
        slots = self.slots or (1,) * len(self.vocab_sizes)
        return sum(min(examples * n, size) for n, size in zip(slots, self.vocab_sizes, strict=True))


def of_rows(path: Any) -> bool:
    """Whether a leaf at this path is the table, or lies beside its rows."""
    return any(getattr(key, "key", getattr(key, "name", None)) == ROWS for key in path)


class Touched(struct.PyTreeNode):
    """Distinct ids, and how many. Slots beyond `count` hold an id outside the table: read as
    anything, never written.
    """

    ids: jax.Array  # int32[K]
    count: jax.Array  # int32[], L

    def first(self, count: jax.Array, num_rows: int) -> "Touched":
        """The first `count` of them."""
        return Touched(jnp.where(jnp.arange(self.ids.size) < count, self.ids, num_rows), count)


def localise(
    scratch: jax.Array, *ids: jax.Array, capacity: int | None = None, place: Place = ONE_DEVICE
) -> tuple[jax.Array, Touched, jax.Array, tuple[jax.Array, ...]]:
    """(`scratch` as it was, Touched, how many of them are the first ids', ids into its slots in
    the shapes given).

    `scratch` is any int32[V]. The first ids' slots come first.

    Every occurrence of an id writes its position into the scratch array and reads back one
    winner, so that duplicates are merged without a sort. K is `capacity`, which the distinct ids
    must not exceed; None: the number of ids. Where devices share the table, each looks at all
    ids, and keeps those of its own rows.
    """
    flat = place("ids", jnp.concatenate([i.reshape(-1) for i in ids]))
    positions = place("ids", jnp.arange(flat.size, dtype=jnp.int32))
    kept = scratch[flat]
    # What is written depends on what was read, else the compiler copies the table to be safe.
    marked = scratch.at[flat].set(jnp.maximum(kept, flat.size))
    marked = marked.at[flat].min(
        positions
    )  # min: the same winner on any device, and in the order of ids
    winner = marked[flat]
    rank = jnp.cumsum(winner == positions, dtype=jnp.int32) - 1
    size = flat.size if capacity is None else capacity
    touched = jnp.full(size, scratch.size, jnp.int32)
    touched = touched.at[jnp.where(winner == positions, rank, size)].set(flat, mode="drop")
    slots, ends = rank[winner], [sum(i.size for i in ids[: n + 1]) for n in range(len(ids) - 1)]
    slots = tuple(
        place("batch", s.reshape(i.shape)) for s, i in zip(jnp.split(slots, ends), ids, strict=True)
    )
    scratch = marked.at[flat].set(kept - jnp.minimum(winner, 0))
    return scratch, Touched(touched, rank[-1] + 1), rank[ids[0].size - 1] + 1, slots


def l2(
    strengths: tuple[float, ...], table: jax.Array, x: jax.Array, v: jax.Array | None = None
) -> jax.Array:
    """L2 on the rows of a batch, divided among its examples, for each of N strengths. [any, R],
    int32[B, S] -> [B, N].

    A column's mean is (strength / 2) ||rows that the batch reads||^2. A row that k places read
    is shared by them, so that under weights each row is pulled by the mean weight of those who
    read it. Where v [B, S] is zero nothing is.
    """
    reads = jnp.ones(x.shape, table.dtype) if v is None else (v != 0).astype(table.dtype)
    readers = jnp.zeros(table.shape[0], table.dtype).at[x].add(reads)[x]
    squares = jnp.sum(table.at[x].get(mode="promise_in_bounds") ** 2, axis=-1)
    size = x.shape[0] / 2 * jnp.sum(reads * squares / jnp.maximum(readers, 1), axis=-1)
    return size[:, None] * jnp.asarray(strengths, table.dtype)


def gather(
    tables: Any,
    touched: Touched,
    f: Callable[[Any], Any] = lambda rows: rows,
    chunk: int | None = None,
) -> Any:
    """F(rows touched) of every array [V, ...] of `tables`: [K, ...]. F is row-wise.

    With a chunk, only the slots in use are computed, `chunk` at a time, and the others are zero;
    K must be a multiple of it.
    """

    def read(ids):
        return f(jax.tree.map(lambda t: t.at[ids].get(mode="clip"), tables))

    if chunk is None:
        return read(touched.ids)

    def body(i, local):
        part = read(lax.dynamic_slice_in_dim(touched.ids, i * chunk, chunk))
        return jax.tree.map(
            lambda a, b: lax.dynamic_update_slice_in_dim(a, b, i * chunk, 0), local, part
        )

    local = jax.tree.map(lambda t: jnp.zeros((touched.ids.size, *t.shape[1:]), t.dtype), tables)
    return lax.fori_loop(0, -(-touched.count // chunk), body, local)


def scatter(
    tables: Any,
    touched: Touched,
    local: Any,
    f: Callable[[Any], Any] = lambda rows: rows,
    chunk: int | None = None,
) -> Any:
    """`tables` with f(local) written to the rows touched. F is row-wise; chunks as in `gather`."""

    def write(tables, ids, local):
        return jax.tree.map(lambda t, r: t.at[ids].set(r, mode="drop"), tables, f(local))

    if chunk is None:
        return write(tables, touched.ids, local)

    def body(i, tables, size=chunk):
        ids, part = jax.tree.map(
            lambda a: lax.dynamic_slice_in_dim(a, i * size, size), (touched.ids, local)
        )
        return write(tables, ids, part)

    return lax.fori_loop(0, -(-touched.count // chunk), body, tables)


def whole(tables: Any, f: Callable[[Any], Any], parts: int = 1, chunk: int = 1 << 14) -> Any:
    """`tables` with f, which is row-wise, applied to all their rows, `chunk` at a time: no
    second table is needed.

    Each of `parts` goes through its own rows, so that devices which share a table have nothing
    to tell each other.
    """
    num_rows = jax.tree.leaves(tables)[0].shape[0] // parts
    chunk = min(chunk, num_rows)

    def body(i, tables):
        ids = i * chunk + jnp.arange(
            chunk, dtype=jnp.int32
        )  # beyond the last one: read as it, never written
        rows = jax.tree.map(lambda t: t.at[:, ids].get(mode="clip"), tables)
        return jax.tree.map(
            lambda t, r: t.at[:, ids].set(r, mode="drop"), tables, jax.vmap(f)(rows)
        )

    shared = jax.tree.map(lambda t: t.reshape(parts, num_rows, *t.shape[1:]), tables)
    shared = lax.fori_loop(0, -(-num_rows // chunk), body, shared)
    return jax.tree.map(lambda t, s: s.reshape(t.shape), tables, shared)
