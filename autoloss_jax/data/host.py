"""Batches from the host: grain carries the blocks of a run, and a block's place in the run is enough to make it.

What a step trains on is a function of (seed, step) alone, so that the position in the data is the step itself, and
nothing else has to be saved to resume. (A pipeline whose element is a row is some hundred times slower.)
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np

from autoloss_jax import sharding
from autoloss_jax.data.shuffle import Order
from autoloss_jax.data.split import first_part
from autoloss_jax.settings import UserError

Split = tuple[np.ndarray, np.ndarray]  # x int32[n, F], y int32[n]
Batch = dict[str, np.ndarray]


def halve(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Two random parts of a split: `share` of the rows, and the rest, each in the split's order."""
    x, y = split
    mine = first_part(len(y), share, seed)
    return (x[mine], y[mine]), (x[~mine], y[~mine])


def num_rows(parts: tuple[Split, ...]) -> int:
    """Rows of all parts."""
    return sum(len(y) for _, y in parts)


def steps_per_epoch(parts: tuple[Split, ...], batch_size: int) -> int:
    """Full batches in one pass; UserError if there is none."""
    if num_rows(parts) < batch_size:
        raise UserError(
            f"--config.train.batch_size={batch_size}: only {num_rows(parts)} rows to draw a batch from; make it smaller"
        )
    return num_rows(parts) // batch_size


@dataclasses.dataclass(frozen=True)
class Stream:
    """Blocks of batches made on the host, ahead of the device; the splits may be larger than its memory."""

    mesh: jax.sharding.Mesh
    train: tuple[Split, ...]
    val: tuple[Split, ...]  # may be empty
    orders: dict[str, Order]  # of "train", and of "val" if there is any
    root: np.ndarray  # uint32[2], of the run's key
    every: int  # steps of W per batch of val
    block: int  # the most steps of a block
    vocab_sizes: tuple[int, ...]

    def sources(self, bounds: Sequence[int]) -> Iterator[dict[str, Any]]:
        """For each pair of neighbours in `bounds`, what `train_batch` and `val_batch` read between these steps."""
        pieces = grain.MapDataset.range(len(bounds) - 1).map(lambda i: self._piece(bounds[i], bounds[i + 1]))
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        for piece in pieces.to_iter_dataset(options):
            yield jax.device_put(piece, sharding.shardings(self.mesh, "source", piece))

    def _piece(self, start: int, stop: int) -> dict[str, Any]:
        first = {"train": start, "val": -(-start // self.every)}
        piece: dict[str, Any] = {"first": {name: np.int32(number) for name, number in first.items()}}
        piece["train"] = self._stack("train", self.train, range(start, stop), self.block)
        if self.val:
            numbers = range(first["val"], -(-stop // self.every))
            piece["val"] = self._stack("val", self.val, numbers, -(-self.block // self.every))
        return piece

    def _stack(self, name: str, parts: tuple[Split, ...], numbers: range, length: int) -> Batch:
        """Batches of these numbers, [length, B, ...]; what lies beyond them is left as it is and not read."""
        size, num_fields = self.orders[name].batch_size, parts[0][0].shape[1]
        stack = {
            "x": np.zeros((length, size, num_fields), np.int32),
            "y": np.zeros((length, size), np.int32),
        }
        for i, number in enumerate(numbers):
            _fill(parts, self.orders[name].rows(self.root, number), stack["x"][i], stack["y"][i])
        check_ids(stack["x"][: len(numbers)].reshape(-1, num_fields), self.vocab_sizes)
        return stack

    def train_batch(self, source: dict[str, Any], key: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
        """W's batch of a step; traced."""
        del key
        return jax.tree.map(lambda a: a[step - source["first"]["train"]], source["train"])

    def val_batch(self, source: dict[str, Any], key: jax.Array, number: jax.Array) -> dict[str, jax.Array]:
        """V's batch of this number; traced."""
        del key
        return jax.tree.map(lambda a: a[number - source["first"]["val"]], source["val"])


def check_ids(x: np.ndarray, vocab_sizes: tuple[int, ...]) -> None:
    """UserError for an id outside its field's rows of the table: jax would clamp or drop it in silence."""
    ends = np.cumsum(vocab_sizes)
    if x.size and ((x.min(axis=0) < ends - vocab_sizes).any() or (x.max(axis=0) >= ends).any()):
        raise UserError(
            "the prepared dataset holds ids outside its vocabulary: delete it from the cache folder and run again"
        )


def padded(split: Split, batch_size: int) -> Iterator[tuple[Batch, int]]:
    """A split in order, in batches of one shape: (batch, how many of its rows are real)."""
    x, y = split
    for begin in range(0, len(y), batch_size):
        index = np.arange(begin, begin + batch_size)
        index[index >= len(y)] = len(y) - 1
        yield {"x": x[index], "y": y[index]}, min(batch_size, len(y) - begin)


def gather(parts: tuple[Split, ...], rows: np.ndarray) -> Batch:
    """The rows of these numbers, counted through all parts."""
    batch = {
        "x": np.zeros((len(rows), parts[0][0].shape[1]), np.int32),
        "y": np.zeros(len(rows), np.int32),
    }
    _fill(parts, rows, batch["x"], batch["y"])
    return batch


def _fill(parts: tuple[Split, ...], rows: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    begin = 0
    for part_x, part_y in parts:
        mine = (rows >= begin) & (rows < begin + len(part_y))
        x[mine], y[mine] = part_x[rows[mine] - begin], part_y[rows[mine] - begin]
        begin += len(part_y)
