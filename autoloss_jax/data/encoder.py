"""Values of a frame -> ids and what the rows of these are multiplied by, as a schema and its vocabulary have it."""

import dataclasses

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.data.scaling import warped
from autoloss_jax.data.schema import Schema
from autoloss_jax.settings import UserError

NUMBER = "number"  # the one word of a field whose numbers are fed as values


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Frames of `data/sources.py` -> arrays."""

    data: config.Data
    schema: Schema
    enums: tuple[pl.Enum, ...]

    @classmethod
    def of(cls, data: config.Data, schema: Schema, vocabulary: pl.DataFrame) -> "Encoder":
        """From a vocabulary with the columns field and value, values of a field in the order of their ids."""
        enums = (pl.Enum(vocabulary.filter(pl.col("field") == f)["value"]) for f in schema.fields)
        return cls(data, schema, tuple(enums))

    def encode(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """{"x": int32[n, S], "y": int32[n] if the frame is labelled, "v": float32[n, S] if the schema is weighted}.

        An id is a value's place in its field's vocabulary, from 1; 0 where it is not in it; plus the offset. UserError
        for a number that cannot be scaled.
        """
        schema = self.schema
        x = np.empty((frame.height, sum(schema.slots)), np.int32)
        v = np.ones(x.shape, np.float32)
        ends = np.cumsum(schema.slots)
        for name, enum, offset, end, width in zip(
            schema.fields, self.enums, schema.offsets, ends, schema.slots, strict=True
        ):
            at = slice(end - width, end)
            if name in self.data.bags:
                places, v[:, at] = self._bag(frame[name], enum, width)
            elif name in schema.scales:
                places, v[:, end - 1] = self._value(frame[name])
            else:
                places = _places(_words(frame[name], schema.buckets), enum)
            x[:, at] = places.reshape(-1, width) + offset
        found = {"x": x} | ({"y": frame["label"].to_numpy()} if "label" in frame.columns else {})
        return found | ({"v": v} if schema.weighted else {})

    def _bag(self, column: pl.Series, enum: pl.Enum, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the first values of each cell, and their weights; beyond them, the first one again, and 0."""
        kept = column.list.head(width)
        counts = kept.list.len().to_numpy()[:, None]
        used = np.arange(width) < counts
        places = np.zeros(used.shape, np.int64)
        places[used] = _places(kept.explode(), enum)
        weights = used / counts if self.data.bag_pooling == "mean" else used
        return np.where(used, places, places[:, :1]), weights

    def _value(self, column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """1 and the scaled number; 0 and 1 for a blank."""
        mean, deviation = self.schema.scales[column.name]
        blank = column.is_null().to_numpy()
        with np.errstate(over="ignore"):
            scaled = (warped(column.to_numpy(), self.data.scale) - mean) / deviation
            weights = np.where(blank, 1.0, scaled).astype(np.float32)
        if not np.isfinite(weights).all():
            number = column.to_numpy()[~np.isfinite(weights)][0]
            raise UserError(
                f"column {column.name}: {number} is too far from train's numbers (mean {mean:g}, deviation "
                f"{deviation:g}); mend the row, or set --config.data.scale=log"
            )
        return np.where(blank, 0, 1), weights


def _places(words: pl.Series, enum: pl.Enum) -> np.ndarray:
    """int64[n]: the place of each word from 1; 0 where it is not one."""
    return (words.cast(enum, strict=False).to_physical().cast(pl.Int64) + 1).fill_null(0).to_numpy()


def _words(column: pl.Series, buckets: dict[str, list[float]]) -> pl.Series:
    """A column's values as vocabulary words; a number becomes the number of its bucket, blank stays blank."""
    if column.name not in buckets:
        return column
    bucket = pl.Series(
        np.searchsorted(buckets[column.name], column.fill_null(0.0).to_numpy(), side="right")
    ).cast(pl.String)
    return pl.select(pl.when(column.is_null()).then(pl.lit("")).otherwise(bucket)).to_series()
