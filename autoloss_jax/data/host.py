"""Batches on the host: grain carries batch indices, and an index is enough to make its batch.

A step's batches are a function of (seed, step) alone, so that the position in the data is the step itself, and
nothing else has to be saved to resume. (A pipeline whose element is a row is some hundred times slower.)
"""

import functools
from collections.abc import Iterator

import grain
import numpy as np

from autoloss_jax.config import UserError

Split = tuple[np.ndarray, np.ndarray]  # x int32[n, F], y int32[n]
Batch = dict[str, np.ndarray]


def halve(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Two random parts of a split: `share` of the rows, and the rest, each in the split's order."""
    x, y = split
    order = _permutation(seed, 0, "halve", len(y))
    first, rest = np.sort(order[: round(share * len(y))]), np.sort(order[round(share * len(y)) :])
    return (x[first], y[first]), (x[rest], y[rest])


def steps_per_epoch(parts: tuple[Split, ...], batch_size: int) -> int:
    """Full batches in one pass; UserError if there is none."""
    rows = sum(len(y) for _, y in parts)
    if rows < batch_size:
        raise UserError(
            f"--config.train.batch_size={batch_size}: only {rows} rows to draw a batch from; make it smaller"
        )
    return rows // batch_size


def batches(
    train: tuple[Split, ...],
    val: tuple[Split, ...],
    *,
    batch_size: int,
    every: int,
    seed: int,
    num_rows: int,
    start: int,
    stop: int,
) -> Iterator[tuple[Batch, Batch | None]]:
    """The batches of steps start..stop-1: (train batch, the controller's batch on every `every`-th step).

    Each pass over a tuple of splits is one permutation of all their rows, cut into full batches. `val` may be empty.
    """
    train_batch = functools.partial(_batch, train, _Shuffle(seed, "train", train, batch_size), num_rows)
    val_batch = (
        functools.partial(_batch, val, _Shuffle(seed, "val", val, batch_size), num_rows) if val else None
    )

    def element(step: int) -> tuple[Batch, Batch | None]:
        due = val_batch is not None and step % every == 0
        return train_batch(step), (val_batch(step // every) if due else None)

    steps = grain.MapDataset.range(start, stop).map(element)
    return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)))


def padded(split: Split, batch_size: int) -> Iterator[tuple[Batch, int]]:
    """A split in order, in batches of one shape: (batch, how many of its rows are real)."""
    x, y = split
    for begin in range(0, len(y), batch_size):
        index = np.arange(begin, begin + batch_size)
        index[index >= len(y)] = len(y) - 1
        yield {"x": x[index], "y": y[index]}, min(batch_size, len(y) - begin)


class _Shuffle:
    """Rows of batch number i, through one permutation per pass."""

    def __init__(self, seed: int, name: str, parts: tuple[Split, ...], batch_size: int):
        rows = sum(len(y) for _, y in parts)
        self.batch_size, self.per_epoch = batch_size, max(rows // batch_size, 1)
        self.permutation = functools.lru_cache(maxsize=2)(lambda epoch: _permutation(seed, epoch, name, rows))

    def __call__(self, i: int) -> np.ndarray:
        epoch, j = divmod(i, self.per_epoch)
        return self.permutation(epoch)[j * self.batch_size : (j + 1) * self.batch_size]


def _permutation(seed: int, epoch: int, name: str, rows: int) -> np.ndarray:
    entropy = np.random.SeedSequence([seed, epoch, *name.encode()])
    return np.random.Generator(np.random.Philox(entropy)).permutation(rows).astype(np.int64)


def _batch(parts: tuple[Split, ...], shuffle: _Shuffle, num_rows: int, i: int) -> Batch:
    index = shuffle(i)
    x = np.empty((len(index), parts[0][0].shape[1]), np.int32)
    y = np.empty(len(index), np.int32)
    begin = 0
    for part_x, part_y in parts:
        mine = (index >= begin) & (index < begin + len(part_y))
        x[mine], y[mine] = part_x[index[mine] - begin], part_y[index[mine] - begin]
        begin += len(part_y)
    if x.min() < 0 or x.max() >= num_rows:  # jax would clamp them in silence
        raise UserError(
            "the prepared dataset holds ids outside its vocabulary: delete it from the cache folder and run again"
        )
    return {"x": x, "y": y}
