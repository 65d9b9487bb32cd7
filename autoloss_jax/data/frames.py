"""DataFrames and arrays of others as polars' frames of plain columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl


def table(rows: Any) -> pl.DataFrame:
    """Rows as columns of numbers, words, truths or lists.

    A blank is null, and numbers that are all whole are integers, so that 3, 3.0 and 3 beside a
    blank are one value.

    Args:
        rows: a DataFrame of polars (also a lazy one) or pandas; what hands itself over as Arrow
            does (`__arrow_c_stream__`), as a table of pyarrow, a relation of DuckDB, or a frame of
            narwhals; what has `to_polars`, as a dataset of Hugging Face; a dict of columns; or a
            2-d array, of which the columns are called x0, x1, ...

    Raises:
        TypeError: for anything else.
    """
    if isinstance(rows, np.ndarray):
        columns = {f"x{number}": rows[:, number] for number in range(rows.shape[1])}
    elif isinstance(rows, Mapping):
        columns = {str(name): column for name, column in rows.items()}
    elif hasattr(rows, "iloc"):  # pandas, whose objects are of any kind
        columns = {str(name): rows[name] for name in rows.columns}
    else:
        found = _polars(rows)
        columns = {name: found[name] for name in found.columns}
    return pl.DataFrame([_plain(name, column) for name, column in columns.items()])


def is_table(rows: Any) -> bool:
    """Whether rows come as named columns, other than in a DataFrame of polars or pandas."""
    handed = any(hasattr(rows, name) for name in ("to_polars", "__arrow_c_stream__"))
    columns = isinstance(rows, Mapping) and not hasattr(rows, "shape")  # some matrices are dicts
    return columns or isinstance(rows, pl.LazyFrame) or (handed and not _is_frame(rows))


def _is_frame(rows: Any) -> bool:
    return isinstance(rows, pl.DataFrame) or hasattr(rows, "iloc")


def _polars(rows: Any) -> pl.DataFrame:
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, pl.DataFrame):
        return rows
    if hasattr(rows, "to_polars"):
        return _polars(rows.to_polars())
    if hasattr(rows, "__arrow_c_stream__"):
        return pl.DataFrame(rows)
    raise TypeError(
        f"rows as a {type(rows).__name__}: give a DataFrame of polars or pandas, a table of Arrow, "
        "a dict of columns, or a 2-d array"
    )


def _plain(name: str, column: Any) -> pl.Series:
    if not isinstance(column, pl.Series):
        cells = np.asarray(column)
        if cells.dtype.kind not in "biufM":  # words, or what pandas calls an object
            cells = [None if _is_blank(cell) else cell for cell in cells.tolist()]
        column = pl.Series(name, cells, strict=False)
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if bool((column == column.round()).all()) and column.abs().max() is not None:
            column = column.cast(pl.Int64, strict=False) if column.is_finite().all() else column
    return column.alias(name)


def _is_blank(cell: Any) -> bool:
    """None, NaN, and pandas' NA, which is equal to nothing and to itself neither."""
    if cell is None or isinstance(cell, str | list | tuple | dict | np.ndarray):
        return cell is None
    same = cell == cell
    return not isinstance(same, bool | np.bool_) or not same
