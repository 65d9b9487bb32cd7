"""python -m benchmarks.cost RAW: test AUC against the seconds of a whole program, ours and what a
person would pick instead; writes docs/cost.md and docs/cost.png.

A program is what a person would start: imports, reading and preparing the data, compiling,
training, evaluating. Each runs alone, on one core and on two; run nothing beside it. RAW holds
frappe_x1/ and movielens1m/.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from autoloss_jax.studies import small_sets

DOCS = Path(__file__).parent.parent / "docs"
OURS = {
    "1 DeepFM": ("ce", "model.members=1"),
    "4 DeepFM": ("ce", "model.members=4"),
    "8 DeepFM": ("ce", "model.members=8"),
    "8 DeepFM that share": ("ce", "model.members=8", "model.shared=true"),
}
THEIRS = {
    "logistic regression": ("logistic",),
    "LightGBM": ("lightgbm",),
    "LightGBM, the same inputs": ("lightgbm", "method.same_inputs=true"),
    "CatBoost": ("catboost",),
}
CONFIGS = {"Frappe": "frappe:encoded", "MovieLens 1M, 100,000 ratings": "small:movielens_100k"}


@dataclasses.dataclass(frozen=True)
class Point:
    """One program."""

    dataset: str
    name: str
    cores: int
    seconds: float
    auc: float
    logloss: float  # calibrated


def measure(dataset: str, path: Path, name: str, cores: int) -> Point:
    """The program of a dataset and a contender, from its start to its end."""
    method, *keys = (OURS | THEIRS)[name]
    with tempfile.TemporaryDirectory() as folder:
        flags = [
            f"--config={CONFIGS[dataset]}",
            f"--config.data.path={path}",
            f"--config.data.cache={folder}/cache",
            f"--config.method.name={method}",
            "--config.run.compare=()",
            *(f"--config.{key}" for key in keys),
            f"--workdir={folder}/run",
        ]
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "autoloss_jax.main", *flags],
            check=True,
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores]),
        )
        seconds = time.perf_counter() - begun
        test = json.loads(Path(folder, "run", "result.json").read_text())["test"]
    return Point(dataset, name, cores, seconds, test["auc"], test["logloss_calibrated"])


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both: as fast, and with as great an AUC."""
    return [
        point
        for point in points
        if not any(
            other.seconds <= point.seconds and other.auc >= point.auc and other is not point
            for other in points
        )
    ]


def table(points: Sequence[Point]) -> str:
    """Markdown; in bold what is on the frontier of its dataset and its number of cores."""
    lines = [
        "| dataset | cores | | s | test AUC | logloss, calibrated |",
        "|---|---|---|---|---|---|",
    ]
    for group in _groups(points):
        best = frontier(group)
        for p in sorted(group, key=lambda point: point.seconds):
            name = f"**{p.name}**" if p in best else p.name
            figures = f"{p.seconds:.0f} | {p.auc:.5f} | {p.logloss:.4f}"
            lines.append(f"| {p.dataset} | {p.cores} | {name} | {figures} |")
    return "\n".join(lines)


def draw(points: Sequence[Point]) -> Figure:
    """A panel for each dataset and number of cores; the frontier is a line."""
    groups = _groups(points)
    figure = Figure(figsize=(12, 4 * -(-len(groups) // 2)), dpi=110, layout="constrained")
    axes = figure.subplots(-(-len(groups) // 2), 2, squeeze=False).ravel()
    for axis, group in zip(axes, groups, strict=False):
        line = sorted(frontier(group), key=lambda point: point.seconds)
        axis.step(
            [p.seconds for p in line], [p.auc for p in line], where="post", color="0.7", zorder=0
        )
        for p in group:
            axis.plot(p.seconds, p.auc, "o", color="tab:red" if p.name in OURS else "tab:blue")
            axis.annotate(
                p.name, (p.seconds, p.auc), (4, 4), textcoords="offset points", fontsize=8
            )
        cores = "one core" if group[0].cores == 1 else f"{group[0].cores} cores"
        axis.set_title(f"{group[0].dataset}, {cores}", fontsize=10, fontweight="bold")
        axis.set_xscale("log")
        axis.set_xlabel("seconds of the whole program", fontsize=9)
        axis.set_ylabel("test AUC", fontsize=9)
        axis.grid(alpha=0.3)
    return figure


def _groups(points: Sequence[Point]) -> list[list[Point]]:
    keys = dict.fromkeys((p.dataset, p.cores) for p in points)
    return [[p for p in points if (p.dataset, p.cores) == key] for key in keys]


def main() -> None:
    """Measure all of them, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--cores", type=int, nargs="*", default=[1, 2])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "movielens"
        small_sets.write(small_sets.movielens_cut(chosen.raw / "movielens1m", 100_000), cut)
        paths = dict(zip(CONFIGS, (chosen.raw / "frappe_x1", cut), strict=True))
        points = []
        for cores in chosen.cores:
            for dataset, path in paths.items():
                for name in OURS | THEIRS:
                    points.append(measure(dataset, path, name, cores))
                    print(points[-1], flush=True)
    draw(points).savefig(DOCS / "cost.png")
    (DOCS / "cost.md").write_text(
        "# Quality against time\n\n`python -m benchmarks.cost RAW` writes this page. Seconds are "
        "those of the whole program, once: imports, reading, preparing, compiling, training, "
        f"evaluating. Nothing is tuned. In bold: no other is as fast and as good.\n\n"
        f"![test AUC against seconds](cost.png)\n\n{table(points)}\n"
    )


if __name__ == "__main__":
    main()
