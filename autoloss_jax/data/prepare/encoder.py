"""Rows -> ids and what the rows of these are multiplied by, as a schema and its vocabulary have
it.
"""

import dataclasses
import zlib

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.hashing import mix
from autoloss_jax.data.prepare import target_encoding
from autoloss_jax.data.prepare.chunk import Chunk
from autoloss_jax.data.prepare.scaling import warped
from autoloss_jax.data.prepare.target_encoding import TargetEncoding
from autoloss_jax.data.read import formats
from autoloss_jax.data.schema import Schema

NUMBER = "number"  # the one word of a field whose numbers are fed as values
ROWS = 1 << 14  # encoded at a time, which fit a cache


def _told(words: pl.DataFrame) -> pl.Series:
    """A field's words as rows have them now; of a vocabulary from before there was one text for
    each value, two words may be one, and the second then stays as it was.
    """
    now = formats.canonical(pl.col("value"))
    return words.select(pl.when(now.is_first_distinct()).then(now).otherwise("value")).to_series()


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Chunks -> arrays."""

    data: config.Data
    schema: Schema
    enums: dict[str, pl.Enum]
    targets: dict[str, TargetEncoding]

    @classmethod
    def of(
        cls,
        data: config.Data,
        schema: Schema,
        vocabulary: pl.DataFrame,
        targets: pl.DataFrame | None = None,
    ) -> "Encoder":
        """From a vocabulary with the columns field and value, values of a field in the order of
        their ids, and what `target_encoding.together` gives.
        """
        known = {str(name): part for (name,), part in vocabulary.group_by("field")}
        canonical = formats.words(data)
        known = {
            name: _told(of) if name in canonical else of["value"] for name, of in known.items()
        }
        enums = {f: pl.Enum(known.get(f, [])) for f in schema.fields}
        found = target_encoding.by_field(targets, schema.num_classes) if targets is not None else {}
        return cls(data, schema, enums, found)

    def encode(self, chunk: Chunk, folds: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """{"x": int32[n, S], "y": int32[n] if the rows are labelled, "v": float32[n, S] if the
        schema is weighted, "weight": float32[n] if labelled rows have such: 1 where a file lacks
        it}.

        An id is a value's place in its field's vocabulary, from 1; 0 where it is not in it; plus
        the offset. A number fed as a value is taken for the nearest one that train had. `folds`:
        those of rows of train, for the target encoding.
        """
        schema, rows = self.schema, self._with_targets(chunk, folds)
        x = np.empty((rows.height, sum(schema.slots)), np.int32)
        v = np.ones(x.shape, np.float32) if schema.weighted else None
        plain: list[
            tuple[int, np.ndarray, np.ndarray]
        ] = []  # slot, the ids of its words, and places in them
        for name, offset, end, width in zip(
            schema.fields, schema.offsets, np.cumsum(schema.slots), schema.slots, strict=True
        ):
            at = slice(end - width, end)
            if name not in rows.columns:  # context alone, which rows to score need not have
                x[:, at] = offset
                continue
            column = rows[name]
            if name in schema.scales:
                blank, v[:, end - 1] = self._value(column)  # type: ignore[index]
                plain.append((end - 1, np.array([offset, offset + 1], np.int32), blank))
            elif name in schema.buckets:
                plain.append((end - 1, *self._bucket(column, offset)))
            elif name in self.data.bags:
                ids = self._ids(name, chunk.words[name], offset)
                x[:, at], v[:, at] = self._bag(column, ids, width)  # type: ignore[index]
            else:
                plain.append(
                    (end - 1, self._ids(name, chunk.words[name], offset), column.to_numpy())
                )
        slots, strip = [slot for slot, _, _ in plain], np.empty((len(plain), ROWS), np.int32)
        for begin in range(0, rows.height, ROWS):
            taken = min(ROWS, rows.height - begin)
            for found, (_, ids, places) in zip(strip, plain, strict=True):
                found[:taken] = ids[places[begin : begin + taken]]
            x[begin : begin + taken, slots] = strip[:, :taken].T
        found = {"x": x} | ({"y": rows["label"].to_numpy()} if "label" in rows.columns else {})
        if schema.row_weights and "y" in found:
            there = formats.WEIGHT in rows.columns
            weight = rows[formats.WEIGHT].to_numpy() if there else np.ones(rows.height)
            found["weight"] = weight.astype(np.float32)
        return found | ({"v": v} if v is not None else {})

    def _with_targets(self, chunk: Chunk, folds: np.ndarray | None) -> pl.DataFrame:
        """The rows, and the numbers of the target encoding, if there is one."""
        rows, columns = chunk.rows, {}
        if not self.targets:
            return rows
        fold = np.full(rows.height, -1, np.int8) if folds is None else folds
        for name, encoding in self.targets.items():
            numbers = encoding.numbers(chunk.words[name], rows[name].to_numpy(), fold)
            columns |= zip(formats.encoded(name), map(pl.Series, numbers.T), strict=True)
        return rows.with_columns(**columns)

    def _ids(self, name: str, words: pl.Series, offset: int) -> np.ndarray:
        """int32[len(words)]: the id of each word."""
        if name in self.schema.hashed:
            sums = np.fromiter(map(zlib.crc32, words.cast(pl.Binary)), np.uint32, len(words))
            return (1 + mix(sums) % self.schema.hashed[name] + offset).astype(np.int32)
        places = words.cast(self.enums[name], strict=False).to_physical().cast(pl.Int64) + 1
        return (places.fill_null(0).to_numpy() + offset).astype(np.int32)

    def _bag(self, column: pl.Series, ids: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the values of each cell, and their weights; beyond them, the first one again, and
        0.
        """
        counts = column.list.len().to_numpy()[:, None]
        used = np.arange(width) < counts
        found = np.zeros(used.shape, np.int32)
        found[used] = ids[column.explode().to_numpy()]
        weights = used / counts if self.data.bag_pooling == "mean" else used
        return np.where(used, found, found[:, :1]), weights

    def _bucket(self, column: pl.Series, offset: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a blank and of each bucket, as its vocabulary has them, and which of them
        each number has.
        """
        cuts = self.schema.buckets[column.name]
        words = pl.Series(["", *map(str, range(len(cuts) + 1))])
        bucket = 1 + np.searchsorted(cuts, column.fill_null(0.0).to_numpy(), side="right")
        return self._ids(column.name, words, offset), np.where(
            column.is_null().to_numpy(), 0, bucket
        )

    def _value(self, column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """1 and the scaled number; 0 and 1 for a blank."""
        mean, deviation = self.schema.scales[column.name]
        blank, numbers = column.is_null().to_numpy(), column.to_numpy()
        if column.name in self.schema.ranges:
            low, high = self.schema.ranges[column.name]
            numbers = np.clip(numbers, low, high)
        with np.errstate(over="ignore"):
            scale = self.data.scale if column.name in self.data.values else "standard"
            scaled = (warped(numbers, scale) - mean) / deviation
            weights = np.where(blank, 1.0, scaled).astype(np.float32)
        if not np.isfinite(weights).all():  # of a model from before there were ranges
            number = column.to_numpy()[~np.isfinite(weights)][0]
            raise UserError(
                f"column {column.name}: {number} is too far from train's numbers (mean {mean:g}, "
                f"deviation {deviation:g}); mend the row, or set --config.data.scale=log"
            )
        return np.where(blank, 0, 1), weights

    def beyond(self, rows: pl.DataFrame) -> dict[str, int]:
        """How many numbers of each field are outside what train had, where any are."""
        counts = {
            name: int(((rows[name] < low) | (rows[name] > high)).sum())
            for name, (low, high) in self.schema.ranges.items()
        }
        return {name: count for name, count in counts.items() if count}
