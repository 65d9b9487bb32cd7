"""Where arrays live: one mesh, one table of rules, first match wins.

`jax.jit` with shardings is what pjit has become. A batch is divided along "data", the rows of
the table and what their optimiser keeps beside them along "model"; everything else is on every
device.
"""

import dataclasses
import re
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from autoloss_jax.config.errors import UserError

RULES = (
    (
        r"^batch/",
        PartitionSpec("data"),
    ),  # x [B, S], v [B, S], y [B], seen [B, K], and slots in their shapes
    (
        r"^source/.*/(x|v|y|seen|cell)$",
        PartitionSpec(None, "data"),
    ),  # stacked batches [steps, B, ...] of data/host.py
    (r"^state/drs/.*\brows\b", PartitionSpec("model")),  # [V, ...]
    (r"", PartitionSpec()),
)


def make_mesh(data: int = 0, model: int = 1) -> Mesh:
    """All devices, as "data" x "model"; UserError unless they make such a grid. data=0: as many
    as are left.
    """
    devices, asked = jax.device_count(), data
    data = data or max(devices // model, 1)
    if data * model != devices:
        raise UserError(
            f"--config.mesh.data={asked}, --config.mesh.model={model}: {data} x {model} is not the "
            f"{devices} devices that are here; their product must be {devices}, or leave data at 0"
        )
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def spec(path: str) -> PartitionSpec:
    """The rule for an array's path, as "state/drs/params/rows"."""
    return next(rule for pattern, rule in RULES if re.search(pattern, path))


def shardings(mesh: Mesh, name: str, tree: Any) -> Any:
    """A NamedSharding for every leaf of `tree`, whose path begins with `name`."""

    def leaf(path, _):
        return NamedSharding(
            mesh, spec(f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}")
        )

    return jax.tree_util.tree_map_with_path(leaf, tree)


def put_state(mesh: Mesh, state: Any) -> Any:
    """A state, placed by the rules."""
    return jax.device_put(state, shardings(mesh, "state", state))


def share(mesh: Mesh, batch_size: int) -> slice:
    """Of a batch, the examples that this process's devices hold; all, if the process is alone."""
    held = NamedSharding(mesh, PartitionSpec("data")).addressable_devices_indices_map((batch_size,))
    starts, stops, _ = zip(
        *(index.indices(batch_size) for (index,) in filter(None, held.values())), strict=True
    )
    return slice(min(starts), max(stops))


def put(mesh: Mesh, name: str, tree: Any) -> Any:
    """Host arrays, placed by the rules; of what the processes divide, each gives its share."""
    return jax.make_array_from_process_local_data(shardings(mesh, name, tree), tree)


@dataclasses.dataclass(frozen=True)
class Placement:
    """The rules for what is made inside a program, `rows.Place`."""

    mesh: Mesh

    @property
    def parts(self) -> int:
        """Of the table."""
        return self.mesh.shape["model"]

    def __call__(self, name: str, tree: Any) -> Any:
        """The tree, traced, placed by the rules."""
        return jax.lax.with_sharding_constraint(tree, shardings(self.mesh, name, tree))


def check_batch_size(mesh: Mesh, batch_size: int, key: str) -> None:
    """UserError unless the devices share a batch evenly."""
    parts = mesh.shape["data"]
    if batch_size % parts:
        fix = -(-batch_size // parts) * parts
        raise UserError(
            f"--config.{key}={batch_size}: {parts} devices cannot share it evenly; try {fix}"
        )
