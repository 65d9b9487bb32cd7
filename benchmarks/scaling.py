"""python -m benchmarks.scaling: what a terabyte of Criteo asks of many GPUs, by arithmetic, and
by compiling for 64.

Prints the tables of docs/scaling.md. Nothing is trained: the compiler sees 64 simulated devices
and shapes.
"""

import dataclasses
import functools
import itertools
import os
import re
from typing import Any

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=64"
    os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from autoloss_jax import config
from autoloss_jax.algorithm import fused
from autoloss_jax.config import settings
from autoloss_jax.distributed import sharding
from autoloss_jax.models.embeddings.lookup import Table
from autoloss_jax.training import states
from autoloss_jax.training.run import Run

EXAMPLES, VALUES = (
    4_400_000_000,
    880_000_000,
)  # of the terabyte of click logs: 24 days, before thresholding
NUMERIC, CATEGORICAL, BUCKETS = 13, 26, 50
NODE = 8  # GPUs that NVLINK joins
NVLINK, NETWORK, MEMORY = (
    450e9,
    50e9,
    3.35e12,
)  # bytes/s of an H100: one direction, its share of the network, HBM3
MATMUL = 200e12  # FLOP/s that it reaches in TF32 on layers of this size, at best


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid of devices with DeepFM and exact Adam over the rows of batches."""

    data: int
    model: int
    batch_size: int = 65_536
    num_rows: int = VALUES
    embed_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values of the fields."""
        share, rest = divmod(self.num_rows - NUMERIC * BUCKETS, CATEGORICAL)
        return (BUCKETS,) * NUMERIC + (share,) * (CATEGORICAL - 1) + (share + rest,)

    @property
    def row_bytes(self) -> int:
        """Of a row with its moments and the step until which it is up to date."""
        return 4 * (3 * (self.embed_dim + 1) + 1)

    @property
    def state_bytes(self) -> int:
        """On each device: its part of the table."""
        return self.row_bytes * -(-self.num_rows // self.model)

    @property
    def touched(self) -> int:
        """K, the most distinct rows of a batch: no field has more than its values."""
        return sum(min(self.batch_size, size) for size in self.sizes)

    @property
    def gathered_bytes(self) -> float:
        """What a device sends for the rows of a batch, which each part of the table holds some
        of (a ring's all-reduce).
        """
        return 2 * (self.model - 1) / self.model * self.row_bytes * self.touched

    @property
    def reduced_bytes(self) -> float:
        """What it sends for the gradient of these rows, which each part of the batch has some
        of.
        """
        return 2 * (self.data - 1) / self.data * 4 * (self.embed_dim + 1) * self.touched

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step of W, one thing after another; the model axis lies within a node as far as
        it fits there.
        """
        b, fields = self.batch_size / self.data, NUMERIC + CATEGORICAL
        widths = (fields * self.embed_dim, *self.hidden, 1)
        products = 6 * b * sum(n * m for n, m in itertools.pairwise(widths))
        rows, batch = 4 * self.row_bytes * self.touched, 24 * b * fields * (self.embed_dim + 1)
        return {
            "table": self.gathered_bytes / (NVLINK if self.model <= NODE else NETWORK),
            "gradient": self.reduced_bytes
            / (NVLINK if self.data * self.model <= NODE else NETWORK),
            "memory": (rows + batch) / MEMORY,
            "products": products / MATMUL,
        }


REPORTED = [Plan(1, 8), Plan(2, 8), Plan(8, 8), Plan(32, 8, 262_144), Plan(64, 8, 524_288)]


def table(plans: list[Plan]) -> str:
    """Markdown, a row a plan."""
    lines = [
        "| GPUs, data x model | batch | table and moments a GPU, GB | sent a step and GPU, MB: "
        "rows, gradient | ms a step: rows, gradient, memory, products | examples/s, millions | "
        "4.4 billion rows, minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in plans:
        ms = {name: 1e3 * s for name, s in p.seconds.items()}
        rate = p.batch_size / sum(p.seconds.values())
        lines.append(
            f"| {p.data * p.model}, {p.data} x {p.model} | {p.batch_size:,} | "
            f"{p.state_bytes / 1e9:.1f} | {p.gathered_bytes / 1e6:,.0f}, "
            f"{p.reduced_bytes / 1e6:,.0f} | {', '.join(f'{v:.1f}' for v in ms.values())} | "
            f"{rate / 1e6:.1f} | {EXAMPLES / rate / 60:.0f} |"
        )
    return "\n".join(lines)


def compiled(plan: Plan, *, searching: bool = False) -> dict[str, float]:
    """A step of W, or of V and W, compiled for all devices with abstract arrays: bytes a device,
    and the largest exchange.
    """
    mesh = sharding.make_mesh(plan.data, plan.model)
    cfg = settings.with_keys(
        config.Config(), {"train.batch_size": plan.batch_size, "optimizer.embedding": "sparse_adam"}
    )
    table = Table(plan.sizes, (), sharding.Placement(mesh))
    al = Run.of(cfg).build(2, table, total_steps=1)
    # all slots at once, as on a GPU
    al = dataclasses.replace(al, optimizer=dataclasses.replace(al.optimizer, chunk=None))
    state = _abstract(mesh, "state", jax.eval_shape(functools.partial(states.fresh, al)))
    ids = np.empty((plan.batch_size, NUMERIC + CATEGORICAL), np.int32)
    batch = _abstract(mesh, "batch", {"x": ids, "y": ids[:, 0]})
    step = jax.jit(
        functools.partial(fused.train_step, al),
        donate_argnums=0,
        out_shardings=sharding.shardings(mesh, "state", state),
    )
    program: Any = step.lower(state, batch, *([batch] if searching else [])).compile()
    memory = program.memory_analysis()
    return {
        "arguments": memory.argument_size_in_bytes,
        "kept": memory.alias_size_in_bytes,
        "scratch": memory.temp_size_in_bytes,
        "largest_exchange": 4 * largest_exchange(program.as_text()),
    }


def _abstract(mesh, name, tree):
    return jax.tree.map(
        lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place),
        tree,
        sharding.shardings(mesh, name, tree),
    )


def largest_exchange(hlo: str) -> int:
    """Numbers in the largest array that devices exchange."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    results = re.findall(rf"= (.*?) (?:{kinds})(?:-start)?\(", hlo)
    shapes = [s for result in results for s in re.findall(r"\[([\d,]*)\]", result)]
    return max((int(np.prod([int(d) for d in s.split(",") if d])) for s in shapes), default=0)


def main() -> None:
    """Both tables."""
    print(table(REPORTED))
    print(
        "\n| 64 devices, 8 x 8 | arguments, GB | of these the table by arithmetic | scratch, GB "
        "| largest exchange, MB |"
    )
    print("|---|---|---|---|---|")
    plan = Plan(8, 8)
    for searching in (False, True):
        found = compiled(plan, searching=searching)
        print(
            f"| {'V and W' if searching else 'W'} | {found['arguments'] / 1e9:.2f} | "
            f"{plan.state_bytes / 1e9:.2f} | "
            f"{found['scratch'] / 1e9:.2f} | {found['largest_exchange'] / 1e6:.0f} |"
        )


if __name__ == "__main__":
    main()
