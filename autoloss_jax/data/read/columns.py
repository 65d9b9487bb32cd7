"""What a table's columns hold, where the config names none: categories, numbers, several values.

Decided by the first rows of train, by rules that a person can check, and said, column by column.
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import files, formats, layouts, sources, text

KINDS = ("categorical", "numeric", "bags")  # as `Data` calls them
SAMPLE_ROWS = 100_000
FEW = 10  # whole numbers of so few values are categories
ROWS_A_VALUE = 5  # so are those of which each is in so many rows, as the ids of users
UNIQUE = 0.9  # of a column's cells, so many values: each row has its own
ENOUGH = 100  # values from which on that is said


@dataclasses.dataclass(frozen=True)
class Column:
    """What one column is taken for."""

    name: str
    kind: str  # one of KINDS; "": left out
    why: str


def declared(data: Data, say: Callable[[str], None]) -> dict[str, tuple[str, ...]]:
    """{"categorical", "numeric", "bags": the columns of a table}, or nothing where some are
    declared already; `say` is told, column by column.
    """
    if data.format != "tabular" or formats.tabular_inputs(data):
        return {}
    sample = _sample(next(iter(files.find_splits(data).values()))[0], data)
    if data.label not in sample.columns:
        raise UserError(
            f"--config.data.label={data.label!r}: not a column of {data.path}, which has "
            f"{', '.join(sample.columns)}"
        )
    others = {data.label, data.time, data.weight, *data.context}
    found = [taken_for(sample[name]) for name in sample.columns if name not in others]
    kinds = by_kind(found)
    say(f"no columns are declared; by the first {sample.height:,} rows of train they are:")
    for column in found:
        say(f"  {column.name}: {column.kind or 'left out'} ({column.why})")
    if not any(kinds.values()):
        raise UserError(f"{data.path}: no column to learn from; declare --config.data.categorical")
    return kinds


def by_kind(found: Iterable[Column]) -> dict[str, tuple[str, ...]]:
    """The names of the columns of each kind, in their order."""
    every = list(found)
    return {kind: tuple(c.name for c in every if c.kind == kind) for kind in KINDS}


def taken_for(cells: pl.Series) -> Column:
    """What a column is taken for.

    Args:
        cells: some of its rows, of whatever type they have; words are numbers if all are.
    """
    name, known = cells.name, cells.drop_nulls()
    if isinstance(cells.dtype, pl.List | pl.Array):
        return Column(name, "bags", "lists of values")
    if cells.dtype.is_temporal():
        return Column(name, "", "times; split by them with --config.data.time")
    if cells.dtype == pl.String:
        known = known.filter(known.str.strip_chars() != "")
        numbers = known.str.strip_chars().cast(pl.Float64, strict=False)
        known = known if numbers.is_null().any() else numbers
    values = known.n_unique()
    if values < 2:
        return Column(name, "", "the same in all rows" if values else "blank in all rows")
    whole = not known.dtype.is_float() or bool((known == known.floor()).all())
    if known.dtype.is_numeric() and not whole:
        return Column(name, "numeric", f"numbers from {known.min():.4g} to {known.max():.4g}")
    if values > max(UNIQUE * len(known), ENOUGH):
        return Column(name, "", f"{values:,} values in {len(known):,} rows; nearly one for each")
    if known.dtype.is_numeric() and values > max(FEW, len(known) / ROWS_A_VALUE):
        return Column(name, "numeric", f"{values:,} whole numbers up to {known.max():.0f}")
    return Column(name, "categorical", f"{values:,} values")


def _sample(path: Path, data: Data) -> pl.DataFrame:
    """The first rows of a file, with all its columns, as they are."""
    if sources.is_parquet(path, data):
        try:
            return pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS).collect()
        except text.UNREADABLE as error:
            raise sources.not_parquet(path, error) from error
    with sources.naming(f"{path}:1"):
        layout = layouts.table(text.first_line(path), data)
    with text.opened(path) as lines:
        _, block, _ = next(lines.blocks(), (1, b"", None))
    frame, *_ = text.table(block.partition(b"\n")[2], 2, layout, last=False)
    return frame.drop(text.LINE).head(SAMPLE_ROWS)
