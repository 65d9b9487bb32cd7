"""Rows of arrays on the disk, without a copy until they are read: of several, one after another,
and some of those of one.
"""

import dataclasses
import functools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shards:
    """Arrays [n_i, ...] of one type, seen as [sum of n_i, ...]. Reading rows copies those rows."""

    arrays: tuple[np.ndarray, ...]

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """int64: where each array ends."""
        return np.cumsum([len(a) for a in self.arrays])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        return (int(self.ends[-1]), *self.arrays[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of all of them."""
        return self.arrays[0].dtype

    @property
    def nbytes(self) -> int:
        """Of all of them."""
        return sum(a.nbytes for a in self.arrays)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.concatenate(self.arrays, dtype=dtype)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Rows of a slice, of a mask bool[n], or of numbers int[k] in 0..n-1, in the order asked
        for.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        return self.take(np.flatnonzero(rows) if rows.dtype == bool else rows)

    def take(self, rows: np.ndarray, axis: int = 0) -> np.ndarray:
        """Rows of these numbers, as numpy's `take` along axis 0, the only one."""
        del axis
        order = np.argsort(rows)  # a shard at a time, and forwards in it
        ends = np.searchsorted(rows[order], self.ends)
        found, begin = np.empty((len(rows), *self.shape[1:]), self.dtype), 0
        for array, first, end in zip(
            self.arrays, self.ends - [len(a) for a in self.arrays], ends, strict=True
        ):
            mine = order[begin:end]
            found[mine] = array.take(rows[mine] - first, axis=0)
            begin = end
        return found


@dataclasses.dataclass(frozen=True)
class Picked:
    """Rows int[k] of an array, as an array [k, ...]."""

    array: np.ndarray
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the rows."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of the array."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Of the rows."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return self.array.take(self.rows, axis=0).astype(dtype or self.dtype, copy=False)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """As of an array."""
        return self.array.take(self.rows[rows], axis=0)

    def take(self, rows: np.ndarray, axis: int = 0) -> np.ndarray:
        """Rows of these numbers, as numpy's `take` along axis 0, the only one."""
        return self.array.take(self.rows[rows], axis=axis)
