"""What a run writes for people and programs: result.json, metrics.jsonl, TensorBoard events, progress, tables."""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import rich.console
import rich.progress
import rich.table
from tensorboard.summary import Writer

from autoloss_jax import processes

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "polars")


def versions() -> dict[str, str]:
    """What the figures were made with."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: it is old or new, never half. Of several processes the chief writes."""
    if not processes.is_chief():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def finite(value: Any) -> Any:
    """`value` with every NaN or infinity in it as None, which is null in JSON."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Log:
    """metrics.jsonl, and TensorBoard events of the same.

    A resumed run drops the lines after the step it resumes from and writes the events anew from what is left,
    so that a run that was killed leaves the same record as one that was not. Of several processes the chief writes.
    """

    def __init__(self, workdir: Path, step: int):
        self.path, self.writes = workdir / "metrics.jsonl", processes.is_chief()
        if not self.writes:
            return
        events = workdir / "tensorboard"
        shutil.rmtree(events, ignore_errors=True)
        self.writer = Writer(str(events))
        kept = [record for record in read_log(self.path) if record["step"] <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        temporary.replace(self.path)
        for record in kept:
            self._event(record)

    def write(self, record: dict[str, Any]) -> None:
        """Append one line; `record` has a "step"."""
        if not self.writes:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(finite(record), allow_nan=False) + "\n")
        self._event(record)

    def _event(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            scalars = (
                {f"{name}/{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
            )
            for tag, scalar in scalars.items():
                if tag != "step" and isinstance(scalar, int | float):
                    self.writer.add_scalar(tag, scalar, record["step"])

    def close(self) -> None:
        """Flush the events."""
        if self.writes:
            self.writer.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl; a last line that was cut off is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


class Bar:
    """A live bar on a terminal; elsewhere a plain line per evaluation; not shown, neither."""

    def __init__(self, title: str, total: int, step: int, *, shown: bool = True):
        self.shown = shown and processes.is_chief()
        self.live = self.shown and sys.stderr.isatty()
        self.title = title
        self.bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[note]}"),
            rich.progress.TimeRemainingColumn(),
            console=rich.console.Console(stderr=True),
            disable=not self.live,
        )
        self.task = self.bar.add_task(title, total=total, completed=step, note="")

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, step: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=step)

    def note(self, text: str, *, line: bool = False) -> None:
        """Show `text` beside the bar; with `line`, as a line of its own when there is no bar."""
        self.bar.update(self.task, note=text)
        if line and self.shown and not self.live:
            print(f"{self.title}: {text}", file=sys.stderr, flush=True)


def table(results: list[dict[str, Any]]) -> rich.table.Table:
    """One row per run: what a reader wants to compare."""
    view = rich.table.Table(
        title=f"{results[0]['dataset']}, {results[0]['model']}: test figures of the best validation step"
    )
    for name in ("method", "test AUC", "test logloss", "calibrated", "val AUC", "epochs", "examples/s"):
        view.add_column(name, justify="left" if name == "method" else "right")
    for r in results:
        figures = (r["test"]["auc"], r["test"]["logloss"], r["test"]["logloss_calibrated"], r["val"]["auc"])
        cells = ["-" if f is None else f"{f:.5f}" for f in figures]
        view.add_row(r["method"], *cells, str(r["epochs"]), f"{r['examples_per_second']:,.0f}")
    return view
