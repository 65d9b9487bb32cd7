"""What a run writes for people and programs: metrics.jsonl, TensorBoard events, a table of
results.
"""

import contextlib
import importlib.metadata
import json
import platform
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich.console
import rich.progress
import rich.table
import rich.text
from tensorboard.summary import Writer

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import plain
from autoloss_jax.distributed import atomic, processes, sums
from autoloss_jax.distributed.atomic import finite
from autoloss_jax.training.events import describe

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "polars")


CRC = "crc32"  # of a line of metrics.jsonl: of all records up to it
LOGLOSS = ("logloss_calibrated", "logloss")  # for `better`, the first that all runs have


def head(cfg: Config, model: str, dataset: str) -> dict[str, Any]:
    """What a result.json begins with: which run it is of."""
    return {
        "schema": 1,
        "config": json.loads(settings.to_json(cfg)),
        "method": cfg.method.name,
        "label": methods.label(cfg),
        "model": model,
        "dataset": dataset,
        "seed": cfg.run.seed,
    }


def versions() -> dict[str, str]:
    """What the figures were made with."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


class Log:
    """metrics.jsonl, and TensorBoard events of the same.

    A resumed run drops the lines after the step it resumes from and writes the events anew from
    what is left, so that a run that was killed leaves the same record as one that was not. Of
    several processes the chief writes.
    """

    def __init__(self, workdir: Path, step: int, cfg: Config):
        self.path, self.writes = workdir / "metrics.jsonl", processes.is_chief()
        if not self.writes:
            return
        sums.drop(workdir, self.path.name)  # it is written anew
        events = workdir / "tensorboard"
        shutil.rmtree(events, ignore_errors=True)
        describe(events, cfg, versions())
        self.writer = Writer(str(events))
        if (lost := first_lost(self.path)) and lost <= step:
            processes.say(f"{self.path}: lines before step {lost} are lost or were changed")
        kept, self.sum = [r for r in read_log(self.path) if r["step"] <= step], 0
        atomic.write_text(self.path, "".join(map(self._line, kept)))
        for record in kept:
            self._event(record)

    def write(self, record: dict[str, Any]) -> None:
        """Append one line; `record` has a "step"."""
        if not self.writes:
            return
        with self.path.open("a") as file:
            file.write(self._line(finite(record)))
        self._event(record)

    def _line(self, record: dict[str, Any]) -> str:
        """With the sum of all lines up to this one."""
        self.sum = _crc(record, self.sum)
        return json.dumps({**record, CRC: self.sum}, allow_nan=False) + "\n"

    def _event(self, record: dict[str, Any]) -> None:
        for tag, scalar in scalars(record).items():
            self.writer.add_scalar(tag, scalar, record["step"])

    def close(self) -> None:
        """Flush the events."""
        if self.writes:
            self.writer.close()


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record by name, as {"loss": ..., "alpha/ce": ...}, but for its step."""
    found = {}
    for name, value in record.items():
        inner = {f"{name}/{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        found |= inner or {name: value}
    return {k: v for k, v in found.items() if k != "step" and isinstance(v, int | float)}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; what is none, as a line that was cut off, is left out.
    UserError where that of a finished run is not what it left.
    """
    sums.check(path.parent, path.name)
    return [record for record, _ in _records(path)]


def first_lost(path: Path) -> int | None:
    """The step of the first record of a metrics.jsonl before which a line is not as it was written,
    or None; not the last line, which a kill may cut off.
    """
    before = 0
    for record, written in _records(path):
        before = _crc(record, before)
        if written not in (None, before):
            return int(record["step"])
    return None


def _records(path: Path) -> Iterator[tuple[dict[str, Any], int | None]]:
    """(Record, the sum up to it, which earlier versions did not write)."""
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                written = record.pop(CRC, None)
                yield record, written


def _crc(record: dict[str, Any], before: int) -> int:
    return zlib.crc32(json.dumps(record).encode(), before)


def better(own: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    """The methods of other runs whose calibrated logloss is lower, on test, or where there are no
    test rows on validation.
    """
    judged = "test" if own["num_examples"]["test"] else "val"
    figures = {name: [result[judged].get(name) for result in (own, *others)] for name in LOGLOSS}
    ours, *theirs = next(found for found in figures.values() if None not in found)
    return [
        other["method"] for other, logloss in zip(others, theirs, strict=True) if logloss < ours
    ]


def _shown(text: str) -> rich.text.Text:
    """A name as it is: no markup, and nothing that moves the cursor."""
    return rich.text.Text(plain(text))


def table(results: list[dict[str, Any]]) -> rich.table.Table:
    """One row per run: what a reader wants to compare."""
    view = rich.table.Table(
        title=_shown(
            f"{results[0]['dataset']}, {results[0]['model']}: test figures of the best validation "
            "step"
        )
    )
    rated = all("rmse" in r["test"] for r in results)
    for name in (
        "method",
        "test AUC",
        "test logloss",
        "calibrated",
        *(("RMSE",) if rated else ()),
        "val AUC",
        "epochs",
        "examples/s",
    ):
        view.add_column(name, justify="left" if name == "method" else "right")
    for r in results:
        figures = (
            r["test"]["auc"],
            r["test"]["logloss"],
            r["test"]["logloss_calibrated"],
            *((r["test"]["rmse"],) if rated else ()),
            r["val"]["auc"],
        )
        cells = ["-" if f is None else f"{f:.5f}" for f in figures]
        view.add_row(
            _shown(r["method"]), *cells, str(r["epochs"]), f"{r['examples_per_second']:,.0f}"
        )
    return view
