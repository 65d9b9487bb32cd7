"""Target encoding: what train's labels say of a value, as numbers that are fed as values.

Of a value, or of the values of several fields together, that n rows of train have, whose labels
sum to s, these are the smoothed mean (s + PRIOR_ROWS p) / (n + PRIOR_ROWS), p being the mean of
train, and log(1 + n) (Micci-Barreca, SIGKDD Explorations 2001). For two classes the mean is a
logit. A row of train has the mean of the other folds (cross fitting): with its own label among its
inputs, a recommender would learn to read it.

Shapes: n rows, W values of a field, K folds.
"""

import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax.config import Data
from autoloss_jax.data.prepare import chunk, division
from autoloss_jax.data.prepare.division import Part
from autoloss_jax.data.read import formats

FOLDS = 5
PRIOR_ROWS = 20
ROWS, SUMS = ([f"{name}_{fold}" for fold in range(FOLDS)] for name in ("rows", "sum"))


def folds(part: Part, seed: int) -> np.ndarray:
    """int8[n]: the fold of each row of train among those of a chunk, -1 of all others."""
    key = [seed, zlib.crc32(part.folder.name.encode())]
    drawn = np.random.Generator(np.random.Philox(key=key)).integers(FOLDS, size=part.facts.rows)
    return np.where(part.drawn == division.TRAIN, drawn, -1).astype(np.int8)


def counted(data: Data, folder: Path) -> pl.DataFrame:
    """(field, value, rows and sums of labels by fold) of the rows of train in a chunk."""
    part, found = Part.of(folder), chunk.read(folder)
    fold = folds(part, data.split_seed)
    train, labels = fold >= 0, found.rows["label"].to_numpy()
    tables = []
    for name in data.target_encoding:
        size = len(found.words[name])
        cell = found.rows[name].to_numpy()[train].astype(np.int64) * FOLDS + fold[train]
        rows = np.bincount(cell, minlength=size * FOLDS).reshape(size, FOLDS)
        sums = np.bincount(cell, labels[train], size * FOLDS).reshape(size, FOLDS)
        columns = {n: rows[:, k] for k, n in enumerate(ROWS)}
        columns |= {n: sums[:, k].astype(np.float64) for k, n in enumerate(SUMS)}
        value = {"value": found.words[name]}
        tables.append(pl.DataFrame(value | columns).select(pl.lit(name).alias("field"), pl.all()))
    return pl.concat(tables).filter(pl.sum_horizontal(ROWS) > 0)


def together(tables: list[Path]) -> pl.DataFrame:
    """The sum of what `counted` found in all chunks, in an order that does not depend on them."""
    grouped = pl.scan_parquet(tables, glob=False).group_by("field", "value").agg(pl.all().sum())
    return grouped.sort("field", "value").collect(engine="streaming")


@dataclasses.dataclass(frozen=True)
class TargetEncoding:
    """What train says of the values of one field."""

    values: pl.Enum
    rows: np.ndarray  # float64[W + 1, K]; the last are those of a value that train does not have
    sums: np.ndarray  # float64[W + 1, K], of labels
    prior: float  # the mean label of train
    binary: bool

    @classmethod
    def of(cls, table: pl.DataFrame, num_classes: int) -> "TargetEncoding":
        """From the rows of one field of what `together` gives."""
        rows, sums = (
            np.pad(table.select(names).to_numpy().astype(np.float64), ((0, 1), (0, 0)))
            for names in (ROWS, SUMS)
        )
        prior = max(float(sums.sum() / rows.sum()), 1e-6)
        return cls(pl.Enum(table["value"]), rows, sums, prior, num_classes == 2)

    def numbers(self, words: pl.Series, places: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """The mean and the count of each row, float64[n, 2]; `places` are those of the rows' values
        among the words, `fold` int[n] are the folds of rows of train, -1 of others.
        """
        codes = words.cast(self.values, strict=False).to_physical().cast(pl.Int64)
        value = codes.fill_null(len(self.rows) - 1).to_numpy()[places]
        own = np.maximum(fold, 0)
        rows, sums = (
            counts[value].sum(axis=1) - np.where(fold < 0, 0.0, counts[value, own])
            for counts in (self.rows, self.sums)
        )
        return self._numbers(rows, sums, np.where(fold < 0, 1.0, 1 - 1 / FOLDS))

    def standard(self) -> list[tuple[float, float]]:
        """(Mean, standard deviation) of each of the two numbers over train."""
        rows, sums = (
            counts.sum(axis=1, keepdims=True) - counts for counts in (self.rows, self.sums)
        )
        numbers = self._numbers(rows, sums, np.full(rows.shape, 1 - 1 / FOLDS))
        weights = self.rows.ravel()
        found = []
        for column in numbers.reshape(-1, 2).T:
            mean = np.average(column, weights=weights)
            variance = np.average((column - mean) ** 2, weights=weights)
            found.append((float(mean), float(variance**0.5) or 1.0))
        return found

    def _numbers(self, rows: np.ndarray, sums: np.ndarray, share: np.ndarray) -> np.ndarray:
        """`share`: of train, how much these counts are of."""
        mean = (sums + PRIOR_ROWS * self.prior) / (rows + PRIOR_ROWS)
        if self.binary:
            mean = np.log(mean / np.maximum(1 - mean, 1e-6))
        return np.stack([mean, np.log1p(rows / share)], axis=-1)


def by_field(table: pl.DataFrame, num_classes: int) -> dict[str, TargetEncoding]:
    """Field -> what is known of it."""
    return {
        str(name): TargetEncoding.of(part, num_classes)
        for (name,), part in table.group_by("field", maintain_order=True)
    }


def scales(encodings: dict[str, TargetEncoding], data: Data) -> Iterator[tuple[str, list[float]]]:
    """(Field of the schema, its mean and standard deviation)."""
    for name in data.target_encoding:
        found = encodings[name].standard()
        yield from zip(formats.encoded(name), map(list, found), strict=True)
