"""DataFrames and arrays of others as polars' frames of plain columns."""

from typing import Any

import numpy as np
import polars as pl


def table(rows: Any) -> pl.DataFrame:
    """A polars or pandas DataFrame, or a 2-d array, as columns of numbers, words, truths or lists.

    A blank is null, and numbers that are all whole are integers, so that 3, 3.0 and 3 beside a
    blank are one value. The columns of an array are called x0, x1, ...
    """
    if isinstance(rows, np.ndarray):
        columns = {f"x{number}": rows[:, number] for number in range(rows.shape[1])}
    else:
        columns = {str(name): rows[name] for name in rows.columns}
    return pl.DataFrame([_plain(name, column) for name, column in columns.items()])


def _plain(name: str, column: Any) -> pl.Series:
    if not isinstance(column, pl.Series):
        cells = np.asarray(column)
        if cells.dtype.kind not in "biuf":  # words, or what pandas calls an object
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
