"""python -m benchmarks.run [train|forward|search|prepare|scale|models]: measures, writes
docs/benchmarks.md, docs/models.md.

Workers are processes that take turns, A B A B, so that a machine's moods meet all of them;
figures are medians with minimum and maximum, and a speed is a ratio within one run. On a GPU the
same command measures there.
"""

import argparse
import dataclasses
import itertools
import os
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import models, preparing, worker, workload
from benchmarks.worker import Worker
from benchmarks.workload import Workload

CRITEO = 45_840_617  # rows of the full dataset
REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MODELS = REPORT.with_name("models.md")
BASELINES = (
    "torchfm", "torchfm-fused", "torchfm-sparse",
    "torch-autoloss", "torch-autoloss-fused", "fuxictr",
)  # fmt: skip


def take_turns(work: Workload, names: Sequence[str], rounds: int) -> list[Worker]:
    """Workers of one workload, after `rounds` turns each."""
    return worker.take_turns([Worker(name, _at_full_size(work, name)) for name in names], rounds)


def _at_full_size(work: Workload, name: str) -> Workload:
    """Ours has all of Criteo in the memory of an accelerator; baselines get batches without lifting
    a finger anyway.
    """
    if jax.default_backend() == "cpu" or work.data or name in (*BASELINES, "torchfm-forward"):
        return work
    return dataclasses.replace(work, num_examples=CRITEO)


def table(workers: list[Worker], baseline: str) -> str:
    """Markdown: examples per second, milliseconds a step, speed relative to `baseline`, memory."""
    lines = [
        "| worker | examples/s, median (min to max) | ms a step | s for Criteo's 45.8M | "
        f"speed / {baseline} | peak memory, MB: process, device |",
        "|---|---|---|---|---|---|",
    ]
    seconds = {c.name: statistics.median(c.seconds) for c in workers if c.seconds}
    for c in workers:
        memory = c.close()
        if not c.available:
            lines.append(f"| {c.name} | not measured: {c.state['unavailable']} | | | | |")
            continue
        speeds = sorted(c.work.batch_size / s for s in c.seconds)
        ratio = f"{seconds[baseline] / seconds[c.name]:.2f}" if baseline in seconds else ""
        on_device = memory["device_bytes"]
        lines.append(
            f"| {c.name} | {statistics.median(speeds):,.0f} ({speeds[0]:,.0f} to "
            f"{speeds[-1]:,.0f}) | {1e3 * seconds[c.name]:.4g} | "
            f"{CRITEO / statistics.median(speeds):,.1f} | {ratio} | "
            f"{memory['process_bytes'] / 1e6:,.0f}, "
            f"{'-' if on_device is None else f'{on_device / 1e6:,.0f}'} |"
        )
    return "\n".join(lines)


def machine() -> tuple[float, float]:
    """(Copy bandwidth in bytes/s, read and write counted; float32 GEMM rate in FLOP/s) of this
    machine, now.
    """
    x, a = jnp.ones((64 << 20,), jnp.float32), jnp.ones((2048, 2048), jnp.float32)
    times = 5  # in one program, so that its arrays are touched before

    @jax.jit
    def copy(x):
        return jax.lax.fori_loop(0, times, lambda _, x: x + 1, x)

    @jax.jit
    def gemm(a):
        return jax.lax.fori_loop(0, times, lambda _, b: a @ b, a)

    return 2 * times * x.nbytes / _fastest(copy, x), 2 * times * 2048**3 / _fastest(gemm, a)


def _fastest(f, x) -> float:
    def once():
        begun = time.perf_counter()
        jax.block_until_ready(f(x))
        return time.perf_counter() - begun

    return min(once() for _ in range(8))


def floors(work: Workload, distinct: float, bandwidth: float, rate: float) -> dict[str, float]:
    """Seconds that a step cannot fall below: its products at the GEMM's rate, plus what it must
    move at the copy's.

    Rows are gathered, read, and their gradient written and read; the rows in use and Adam's two
    moments are read and written; of each layer three tensors [B, H] are written and read.
    """
    row, widths = work.embed_dim + 1, (work.num_fields * work.embed_dim, *work.hidden, 1)
    products = 2 * work.batch_size * sum(a * b for a, b in itertools.pairwise(widths))
    batch = 4 * work.batch_size * work.num_fields * row
    layers = 4 * work.batch_size * sum(work.hidden)
    sparse = 4 * batch + 6 * layers + 6 * 4 * distinct * row
    dense = 4 * batch + 6 * layers + 7 * 4 * work.num_rows * row
    return {
        "row-sparse step": 3 * products / rate + sparse / bandwidth,
        "dense step": 3 * products / rate + dense / bandwidth,
        "forward": products / rate + (2 * batch + 2 * layers) / bandwidth,
    }


def distinct_ids(work: Workload) -> float:
    """Distinct ids in a batch, on average over twenty."""
    x, _ = workload.examples(work)
    rng = np.random.default_rng(0)
    return statistics.mean(
        len(np.unique(x[rng.integers(0, len(x), work.batch_size)])) for _ in range(20)
    )


def _floor_lines(work: Workload, workers: list[Worker], of: dict[str, str]) -> str:
    bandwidth, rate = machine()
    found = floors(work, distinct_ids(work), bandwidth, rate)
    seconds = {c.name: statistics.median(c.seconds) for c in workers if c.seconds}
    lines = [
        f"Copy {bandwidth / 1e9:.1f} GB/s, GEMM {rate / 1e9:,.0f} GFLOP/s, "
        f"{distinct_ids(work):,.0f} distinct ids a batch.",
        "",
        "| floor | ms | ours | ours / floor |",
        "|---|---|---|---|",
    ]
    for name, floor in of.items():
        lines.append(
            f"| {floor} | {1e3 * found[floor]:.2f} | {name}, {1e3 * seconds[name]:.1f} ms | "
            f"{seconds[name] / found[floor]:.2f} |"
        )
    return "\n".join(lines)


def train(work: Workload, rounds: int) -> str:
    """Ours beside the baselines."""
    workers = take_turns(work, ("ce", "autoloss", "ce-lazy", "ce-dense", *BASELINES), rounds)
    floor = _floor_lines(work, workers, {"ce": "row-sparse step", "ce-dense": "dense step"})
    return f"{_describe(work)}\n\n{table(workers, 'torchfm-fused')}\n\n{floor}"


def forward(work: Workload, rounds: int) -> str:
    """Evaluation mode."""
    workers = take_turns(work, ("forward", "torchfm-forward"), rounds)
    floor = _floor_lines(work, workers, {"forward": "forward"})
    return f"{_describe(work)}\n\n{table(workers, 'torchfm-forward')}\n\n{floor}"


def search(work: Workload, rounds: int) -> str:
    """What searching costs."""
    names = ("ce", "ce-bfloat16", "ce-adagrad", "al1", "autoloss", "autoloss-sgd",
             "autoloss-first-order", "autoloss-bfloat16", "autoloss-dense",
             "autoloss-paper")  # fmt: skip
    parts = [_describe(work), table(take_turns(work, names, rounds), "ce")]
    for every in (1, 28):
        other = dataclasses.replace(work, every=every)
        parts += [f"f = {every}:", table(take_turns(other, ("ce", "autoloss"), rounds), "ce")]
    return "\n\n".join(parts)


def prepare(work: Workload, rounds: int) -> str:
    """Raw text to a store, and from there to batches on the host."""
    rows, found = (
        5_000_000,
        {name: [] for name in ("ours", "pandas") if name == "ours" or find_spec(name)},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "criteo.txt"
        preparing.write_rows(path, rows)
        size = path.stat().st_size / 1e6
        for i in range(rounds):
            for name in found if i == 0 else ("ours",):  # pandas takes minutes
                found[name].append(preparing.measure(name, path, Path(folder) / f"{name}-{i}"))
        batches = preparing.batches(next(Path(folder, "ours-0").glob("b-*")), work.batch_size)
    same = {r["num_rows"] for results in found.values() for r in results}
    lines = [
        f"{rows:,} rows in Criteo's format ({size:,.0f} MB), vocabularies of Criteo's sizes, "
        f"counted and encoded with at least {preparing.MIN_COUNT} of each value: "
        f"{', '.join(f'{n:,}' for n in same)} rows of the embedding table.",
        "",
        "| worker | s, median (min to max) | rows/s | Criteo's 45.8M, s | speed / pandas | "
        "peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    seconds = {
        name: statistics.median(r["seconds"] for r in results) for name, results in found.items()
    }

    def ratio(name: str) -> str:
        return f"{seconds['pandas'] / seconds[name]:.2f}" if "pandas" in seconds else ""

    for name, results in found.items():
        times, peak = [r["seconds"] for r in results], max(r["peak_bytes"] for r in results)
        lines.append(
            f"| {name} | {seconds[name]:.1f} ({min(times):.1f} to {max(times):.1f}) | "
            f"{rows / seconds[name]:,.0f} | "
            f"{CRITEO * seconds[name] / rows:,.0f} | {ratio(name)} | {peak / 1e6:,.0f} |"
        )
    lines += [] if "pandas" in found else ["| pandas | not measured: it is not installed | | | | |"]
    lines += [
        "",
        f"Batches of {work.batch_size:,} from that store, shuffled, on the host: {batches:,.0f} "
        "rows/s.",
    ]
    return "\n".join(lines)


def scale(work: Workload, rounds: int) -> str:
    """The cost of a step as vocabulary, batch and fields grow."""
    axes = {
        "num_rows": [
            dataclasses.replace(work, num_rows=n)
            for n in (100_000, 200_000, 400_000, 1_000_000, 10_000_000)
        ],
        "batch_size": [dataclasses.replace(work, batch_size=n) for n in (500, 2000, 8000, 65_536)],
        "num_fields": [
            dataclasses.replace(work, num_fields=n, num_rows=100_000 if n == 2 else work.num_rows)
            for n in (2, 10, 39, 200)
        ],
    }
    parts = []
    for axis, workloads in axes.items():
        lines = [
            f"| {axis} | ce, ms a step | dense Adam | autoloss, ms a step | table, MB | peak "
            "memory / table, less the data: ce, autoloss |",
            "|---|---|---|---|---|---|",
        ]
        for here in workloads:
            names = ("ce", "ce-dense", "autoloss")
            workers = take_turns(here, names, rounds)
            ms = [f"{1e3 * statistics.median(c.seconds):.1f}" for c in workers]
            device_bytes = [c.close()["device_bytes"] for c in workers]
            size = 4 * here.num_rows * (here.embed_dim + 1)
            data = 4 * here.num_examples * (here.num_fields + 1)
            shares = ", ".join(
                f"{(b - data) / size:.2f}" for b in (device_bytes[0], device_bytes[2])
            )
            lines.append(
                f"| {getattr(here, axis):,} | {' | '.join(ms)} | {size / 1e6:,.0f} | {shares} |"
            )
        parts.append("\n".join(lines))
    return f"{_describe(work)}\n\n" + "\n\n".join(parts)


def _describe(work: Workload) -> str:
    return f"DeepFM, {_shape(work)}"


def _shape(work: Workload) -> str:
    what = "a prepared dataset" if work.data else f"made-up data, Zipf {work.zipf}"
    return (
        f"{work.num_rows:,} rows, {work.num_fields} fields, batch {work.batch_size:,}, embedding "
        f"{work.embed_dim}, MLP {work.hidden}, f = {work.every}, {what}."
    )


def write(topic: str, text: str) -> None:
    """Put a section into docs/benchmarks.md, in the place of an older one of the same topic and
    device.
    """
    device = jax.devices()[0]
    where = f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind
    title = f"{topic}, {where}"
    path = MODELS if topic == "models" else REPORT
    head, *sections = re.split(r"^## ", path.read_text(), flags=re.M)
    bodies = {s.partition("\n")[0]: s.partition("\n")[2].strip() for s in sections}
    bodies[title] = f"jax {jax.__version__}, {time.strftime('%Y-%m-%d')}. {text}"
    path.write_text(head.rstrip() + "\n" + "".join(f"\n## {t}\n\n{b}\n" for t, b in bodies.items()))
    print(f"## {title}\n\n{text}\n\nwritten to {path}")


def every_model(work: Workload, rounds: int) -> str:
    """What each is, how exact, and how fast."""
    small = dataclasses.replace(work, num_rows=min(work.num_rows, 100_000))
    return f"{_shape(small)}\n\n{models.table(small, rounds)}"


TOPICS = {
    "train": train,
    "forward": forward,
    "search": search,
    "prepare": prepare,
    "scale": scale,
    "models": every_model,
}


def main() -> None:
    """Measure one topic, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topic", nargs="?", choices=TOPICS, help="all of them if none is named")
    parser.add_argument("--data", default="", help="the folder of a prepared dataset, for its ids")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    work = Workload.of_data(chosen.data) if chosen.data else Workload()
    for topic in [chosen.topic] if chosen.topic else TOPICS:
        write(topic, TOPICS[topic](work, chosen.rounds))


if __name__ == "__main__":
    main()
