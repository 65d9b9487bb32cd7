"""Where arrays live: one mesh, one table of rules, first match wins.

`jax.jit` with shardings is what pjit has become. Batches are split over the devices, everything else is replicated.
"""

import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from autoloss_jax.settings import UserError

RULES = (
    (r"^batch/", PartitionSpec("data")),  # x [B, S], v [B, S] and y [B]
    (r"^source/.*/[xvy]$", PartitionSpec(None, "data")),  # stacked batches [steps, B, ...] of data/host.py
    (r"", PartitionSpec()),
)


def make_mesh() -> Mesh:
    """All devices along the axis "data"."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def spec(path: str) -> PartitionSpec:
    """The rule for an array's path, as "state/drs/params/rows"."""
    return next(rule for pattern, rule in RULES if re.search(pattern, path))


def shardings(mesh: Mesh, name: str, tree: Any) -> Any:
    """A NamedSharding for every leaf of `tree`, whose path begins with `name`."""

    def leaf(path, _):
        return NamedSharding(mesh, spec(f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}"))

    return jax.tree_util.tree_map_with_path(leaf, tree)


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A host batch, split over the devices."""
    return jax.device_put(batch, shardings(mesh, "batch", batch))


def put_state(mesh: Mesh, state: Any) -> Any:
    """A state, placed by the rules."""
    return jax.device_put(state, shardings(mesh, "state", state))


def check_batch_size(mesh: Mesh, batch_size: int, key: str) -> None:
    """UserError unless the devices share a batch evenly."""
    if batch_size % mesh.size:
        fix = -(-batch_size // mesh.size) * mesh.size
        raise UserError(f"--config.{key}={batch_size}: {mesh.size} devices cannot share it evenly; try {fix}")
