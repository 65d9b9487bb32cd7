"""Batches from the host: grain carries the blocks of a run, and a block's place in the run is
enough to make it.

What a step trains on is a function of (seed, step) alone, so that the position in the data is
the step itself, and nothing else has to be saved to resume. (A pipeline whose element is a row
is some hundred times slower.)
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import jax
import numpy as np

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.data.shards import Picked, Shards
from autoloss_jax.data.split import first_part, fold
from autoloss_jax.distributed import sharding

# x int32[n, S], y int32[n]; v float32[n, S], seen int32[n, K], cell int32[n], weight float32[n]
# where they are needed
Split = dict[str, np.ndarray]
Batch = dict[str, np.ndarray]


def halve(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Two random parts of a split: `share` of the rows, and the rest, each in the split's order.

    Copies, but of a split in shards, which may be larger than the memory.
    """
    return _parts(split, first_part(len(split["y"]), share, seed))


def hold_out(split: Split, number: int, count: int, seed: int) -> tuple[Split, Split]:
    """The same for one of `count` equal parts, whose numbers begin at 0, and the rest."""
    return _parts(split, fold(len(split["y"]), number, count, seed))


def values(split: Split, places: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """int32[n, K]: of K fields, (slot, first id, number of rows) each, the values, counted from
    0. A copy, in memory.
    """
    slots, first, _ = (list(part) for part in zip(*places, strict=True))
    x = split["x"]
    arrays = x.arrays if isinstance(x, Shards) else (x,)
    return np.concatenate([a[:, slots] for a in arrays]) - np.asarray(first, np.int32)


def first_slots(split: Split, count: int) -> Split:
    """The split with the first `count` slots of x and v alone; no copy."""

    def cut(array: np.ndarray) -> np.ndarray:
        if isinstance(array, Shards):
            return cast(np.ndarray, Shards(tuple(a[:, :count] for a in array.arrays)))
        return array[:, :count]

    return split | {name: cut(split[name]) for name in ("x", "v") if name in split}


def _parts(split: Split, mine: np.ndarray) -> tuple[Split, Split]:
    def part(rows: np.ndarray) -> Split:
        return {
            n: cast(np.ndarray, Picked(a, rows)) if isinstance(a, Shards) else a[rows]
            for n, a in split.items()
        }

    return part(np.flatnonzero(mine)), part(np.flatnonzero(~mine))


def num_rows(parts: tuple[Split, ...]) -> int:
    """Rows of all parts."""
    return sum(len(part["y"]) for part in parts)


def steps_per_epoch(parts: tuple[Split, ...], batch_size: int) -> int:
    """Full batches in one pass; UserError if there is none."""
    if num_rows(parts) < batch_size:
        raise UserError(
            f"--config.train.batch_size={batch_size}: only {num_rows(parts)} rows to draw a batch "
            "from; make it smaller"
        )
    return num_rows(parts) // batch_size


@dataclasses.dataclass(frozen=True)
class Stream:
    """Blocks of batches made on the host, ahead of the device; the splits may be larger than its
    memory.
    """

    mesh: jax.sharding.Mesh
    train: tuple[Split, ...]
    val: tuple[Split, ...]  # may be empty
    orders: dict[str, Order]  # of "train", and of "val" if there is any
    root: np.ndarray  # uint32[2], of the run's key
    every: int  # steps of W per batch of val
    block: int  # the most steps of a block
    bounds: np.ndarray  # of ids, as `check` wants them

    def sources(self, bounds: Sequence[int]) -> Iterator[dict[str, Any]]:
        """For each pair of neighbours in `bounds`, what `train_batch` and `val_batch` read
        between these steps.
        """
        import grain  # a second, for whoever streams

        blocks = grain.MapDataset.range(len(bounds) - 1).map(
            lambda i: self._block(bounds[i], bounds[i + 1])
        )
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
        for block in blocks.to_iter_dataset(options):
            yield sharding.put(self.mesh, "source", block)

    def _block(self, start: int, stop: int) -> dict[str, Any]:
        first = {"train": start, "val": -(-start // self.every)}
        block: dict[str, Any] = {
            "first": {name: np.int32(number) for name, number in first.items()}
        }
        block["train"] = self._stack("train", self.train, range(start, stop), self.block)
        if self.val:
            numbers = range(first["val"], -(-stop // self.every))
            block["val"] = self._stack("val", self.val, numbers, -(-self.block // self.every))
        return block

    def _stack(self, name: str, parts: tuple[Split, ...], numbers: range, length: int) -> Batch:
        """The share of this process of batches of these numbers, [length, B, ...]; what lies
        beyond is zero and not read.
        """
        order = self.orders[name]
        share = sharding.share(self.mesh, order.batch_size)
        stack = _zeros(parts, length, share.stop - share.start)
        if numbers:
            used = {name: a[: len(numbers)].reshape(-1, *a.shape[2:]) for name, a in stack.items()}
            rows = np.concatenate([order.rows(self.root, number)[share] for number in numbers])
            _fill(parts, rows, used)
            check(used, self.bounds)
        return stack

    def train_batch(
        self, source: dict[str, Any], key: jax.Array, step: jax.Array
    ) -> dict[str, jax.Array]:
        """W's batch of a step; traced."""
        del key
        return jax.tree.map(lambda a: a[step - source["first"]["train"]], source["train"])

    def val_batch(
        self, source: dict[str, Any], key: jax.Array, number: jax.Array
    ) -> dict[str, jax.Array]:
        """V's batch of this number; traced."""
        del key
        return jax.tree.map(lambda a: a[number - source["first"]["val"]], source["val"])


def check(split: Split, bounds: np.ndarray) -> None:
    """UserError for an id outside its field's rows, bounds[0] .. bounds[1] - 1, int[2, S], or a
    v that is not finite.

    Jax would clamp or drop such an id in silence.
    """
    x = np.asarray(split["x"]).reshape(-1, bounds.shape[1])
    inside = not x.size or ((x.min(axis=0) >= bounds[0]) & (x.max(axis=0) < bounds[1])).all()
    if not inside or not np.isfinite(np.asarray(split.get("v", 0))).all():
        raise UserError(
            "the prepared dataset holds ids outside its vocabulary, or weights that are not "
            "finite: delete it from the cache folder and run again"
        )


def padded(
    split: Split, batch_size: int, share: slice = slice(None)
) -> Iterator[tuple[Batch, int]]:
    """A split in order, in batches of one shape, or a share of each: (batch, how many rows of
    the whole are real).
    """
    rows = len(split["y"])
    for begin in range(0, rows, batch_size):
        index = np.minimum(np.arange(begin, begin + batch_size), rows - 1)[share]
        yield {name: a[index] for name, a in split.items()}, min(batch_size, rows - begin)


def gather(parts: tuple[Split, ...], rows: np.ndarray) -> Batch:
    """The rows of these numbers, counted through all parts."""
    batch = _zeros(parts, len(rows))
    _fill(parts, rows, batch)
    return batch


def _zeros(parts: tuple[Split, ...], *shape: int) -> Batch:
    return {name: np.zeros((*shape, *a.shape[1:]), a.dtype) for name, a in parts[0].items()}


def _fill(parts: tuple[Split, ...], rows: np.ndarray, batch: Batch) -> None:
    begin = 0
    for part in parts:
        end = begin + len(part["y"])
        mine = (rows >= begin) & (rows < end)
        for name, a in part.items():
            if mine.all():
                batch[name][:] = a.take(rows - begin, axis=0)  # several times as fast as a[rows]
            else:
                batch[name][mine] = a.take(rows[mine] - begin, axis=0)
        begin = end
