"""Batches on the device: the splits lie in its memory, and each batch is gathered inside the
program that trains on it.

The batches are those of `data/host.py`, to the row: both ask `data/shuffle.py`.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoloss_jax.data.load.shuffle import Order
from autoloss_jax.distributed import sharding

Split = dict[str, np.ndarray]  # x int32[n, S], y int32[n], v float32[n, S] where a field needs it


@dataclasses.dataclass(frozen=True)
class Resident:
    """Splits in device memory, whole on every device."""

    mesh: jax.sharding.Mesh
    orders: dict[str, Order]  # of "train", and of "val" if there is any
    splits: dict[str, dict[str, jax.Array]]  # {"train": {"x": int32[n, S], "y": int32[n]}, ...}

    def sources(self, bounds: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The same source for every block."""
        return itertools.repeat(self.splits, len(bounds) - 1)

    def train_batch(
        self, source: dict[str, Any], key: jax.Array, step: jax.Array
    ) -> dict[str, jax.Array]:
        """W's batch of a step; traced."""
        return self._batch("train", source, key, step)

    def val_batch(
        self, source: dict[str, Any], key: jax.Array, number: jax.Array
    ) -> dict[str, jax.Array]:
        """V's batch of this number; traced."""
        return self._batch("val", source, key, number)

    def _batch(self, name, source, key, number):
        rows = self.orders[name].rows(jax.random.key_data(key), number, jnp)
        batch = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), source[name])
        batch = jax.lax.optimization_barrier(
            batch
        )  # else an id is read again for each number of its row
        return sharding.Placement(self.mesh)("batch", batch)


def put(mesh: jax.sharding.Mesh, parts: tuple[Split, ...]) -> dict[str, jax.Array]:
    """Splits, one after another, in the memory of every device."""
    split = {
        name: np.concatenate([part[name] for part in parts])
        if len(parts) > 1
        else np.asarray(whole)
        for name, whole in parts[0].items()
    }
    return sharding.put(mesh, "source", split)


def fits(num_bytes: int) -> bool:
    """Whether the devices have twice these bytes to spare (on a CPU: whether the machine has)."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return 2 * num_bytes <= stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return 2 * num_bytes <= os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
