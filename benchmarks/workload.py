"""What the workers of a benchmark train on: examples made up in the shape of Criteo's, the
same for all of them.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

NUMERIC = 13  # Criteo's fields: 13 numbers in buckets, 26 categories of very different sizes
BUCKETS = 50
CATEGORIES = (
    1400, 550, 200_000, 110_000, 300, 20, 12_000, 600, 3, 45_000, 5000, 160_000, 3100,
    27, 9000, 140_000, 10, 4500, 2000, 4, 150_000, 15, 15, 60_000, 80, 40_000,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Workload:
    """The shape of a model and of its data; the defaults are Criteo's with the paper's settings."""

    num_rows: int = 1_086_810  # of the embedding table
    num_fields: int = 39
    batch_size: int = 2000
    embed_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.2
    every: int = 7  # f
    num_examples: int = 200_000
    zipf: float = 1.1  # the share of a field's k-th most frequent value falls as k^-zipf
    base_rate: float = 0.256
    data: str = ""  # a prepared dataset's folder: its examples instead of made-up ones

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        """The inverse."""
        values = json.loads(text)
        hidden = tuple(values.pop("hidden"))
        return cls(hidden=hidden, **values)

    @classmethod
    def of_data(cls, folder: str) -> "Workload":
        """The shape of a prepared dataset."""
        sizes = _schema(folder)["vocab_sizes"]
        rows = len(np.load(Path(folder) / "train.y.npy", mmap_mode="r"))
        return cls(num_rows=sum(sizes), num_fields=len(sizes), num_examples=rows, data=folder)


def _schema(folder: str) -> dict[str, Any]:
    return json.loads((Path(folder) / "schema.json").read_text())


def field_dims(work: Workload) -> np.ndarray:
    """Values per field, int64[F]: Criteo's proportions, repeated for more fields, scaled to
    `num_rows` in all.
    """
    if work.data:
        return np.array(_schema(work.data)["vocab_sizes"])
    profile = np.resize(np.array([BUCKETS] * NUMERIC + list(CATEGORIES)), work.num_fields)
    large = profile > BUCKETS
    scale = max(work.num_rows - profile[~large].sum(), 0) / max(profile[large].sum(), 1)
    dims = np.where(large, np.maximum(np.round(profile * scale), 3), profile).astype(np.int64)
    dims[np.argmax(dims)] += work.num_rows - dims.sum()
    if dims.min() < 1:
        raise ValueError(f"{work.num_rows} rows are too few for {work.num_fields} fields")
    return dims


def examples(work: Workload, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(x int32[n, F] of global ids, y int32[n]); a field's values are independent and Zipf
    distributed.

    Of very many, the first two million repeat.
    """
    if work.data:
        return tuple(np.load(Path(work.data) / f"train.{name}.npy") for name in "xy")  # type: ignore[return-value]
    rng = np.random.default_rng(seed)
    dims = field_dims(work)
    drawn = min(work.num_examples, 2_000_000)
    x = np.empty((drawn, work.num_fields), np.int32)
    for field, (dim, offset) in enumerate(zip(dims, np.cumsum(dims) - dims, strict=True)):
        cumulative = np.cumsum(np.arange(1, dim + 1) ** -work.zipf)
        x[:, field] = offset + np.searchsorted(cumulative, cumulative[-1] * rng.random(drawn))
    y = (rng.random(drawn) < work.base_rate).astype(np.int32)
    if drawn == work.num_examples:
        return x, y
    return np.resize(x, (work.num_examples, work.num_fields)), np.resize(y, work.num_examples)
