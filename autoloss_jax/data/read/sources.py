"""Raw files of each format as frames: a label in 0..C-1 and one column per field, whatever the
layout was.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from autoloss_jax import config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import formats, text
from autoloss_jax.data.read.formats import FORMATS, Format
from autoloss_jax.data.read.text import Layout, Problem

PARQUET_ROWS = 1 << 18
# cells of rows, how they were cut, lines that are none, the share of the file that is read
Table = tuple[pl.DataFrame, Layout, list[Problem], float]


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows of a file, in its order: `label` int32 (if labelled), fields as String ("" is a
    value: blank), or, in `tabular`, as Float64 with nulls for numbers and as List(String), never
    empty, for bags; of the training's `own` files `data.time` and `data.weight` Float64, where
    the config names such columns; and how many rows were left out.

    Words are as the file has them: what they stand for is told by `meanings`, so that each is
    asked but once.
    """

    frame: pl.DataFrame
    skipped: int
    behind: float  # the share of the file that has been read
    meanings: dict[
        str, pl.Expr
    ]  # field -> what a word of it stands for, where that is not the word


def read(
    path: Path,
    data: config.Data,
    *,
    labelled: bool = True,
    own: bool = False,
    size: int = text.BLOCK_BYTES,
) -> Iterator[Block]:
    """Blocks of a file. A bad row is a UserError `file:line: what`, or is skipped and counted
    (data.on_bad_row).
    """
    for _, blocks in stretches(path, data, labelled=labelled, own=own, length=None, size=size):
        yield from blocks


def stretches(
    path: Path,
    data: config.Data,
    *,
    labelled: bool = True,
    own: bool = False,
    length: int | None,
    first: int = 0,
    size: int = text.BLOCK_BYTES,
) -> Iterator[tuple[int, Iterator[Block]]]:
    """(Number, its blocks, as of `read`) of each stretch of a file from the `first` on: the rows
    that begin within its `length` bytes (of Parquet, its PARQUET_ROWS); None: of all the file.
    They must be taken in order.
    """
    kind = FORMATS[data.format]
    if is_parquet(path, data):
        found = _parquet(path, data, labelled, own, first, length)
    else:
        found = _text(path, data, kind, labelled, first, length, size)
    for number, tables in found:
        yield number, _blocks(path, data, kind, tables, labelled, own, number * (length or 0))


def is_parquet(path: Path, data: config.Data) -> bool:
    """Whether a file is read as Parquet."""
    return data.format == "tabular" and path.suffix in (".parquet", ".pq")


def _blocks(
    path: Path,
    data: config.Data,
    kind: Format,
    tables: Iterator[Table],
    labelled: bool,
    own: bool,
    begin: int,
) -> Iterator[Block]:
    """Cells of a stretch, which has its first line after byte `begin`, as what they mean; bad
    rows told or left out.
    """
    for frame, layout, problems, behind in tables:
        columns, checks = kind.columns(data), kind.checks(layout, data)
        if labelled:
            name = kind.label or data.label
            columns["label"], checks[name] = formats.label(data, name)
        extra = formats.extra(data, layout.columns) if own else {}
        if formats.TIME in extra:
            columns[formats.TIME] = formats.time(data)
        if formats.WEIGHT in extra:
            columns[formats.WEIGHT], checks[data.weight] = formats.weight(data)
        bad = (
            frame.select(pl.any_horizontal(*checks.values())).to_series()
            if checks
            else pl.Series([False])
        )
        if bad.any():
            found = frame.filter(bad).select("line", pl.coalesce(*_messages(checks)))
            problems = sorted([*problems, *found.iter_rows()])
            frame = frame.filter(~bad)
        if problems and data.on_bad_row == "error":
            number, what = problems[0]
            if begin and not is_parquet(path, data):
                number += text.lines_before(path, begin)
            raise UserError(
                f"{path}:{number}: {what}; mend the row, or leave such rows out with "
                "--config.data.on_bad_row=skip"
            )
        fields, meanings = kind.fields(layout, data), kind.meanings(layout)
        columns |= formats.crosses(fields, data, meanings)
        names = (
            *(("label",) if labelled else ()),
            *extra,
            *fields,
            *formats.groups(data),
        )
        yield Block(
            frame.select(columns.get(n, pl.col(n)).alias(n) for n in names),
            len(problems),
            behind,
            meanings,
        )


def _messages(checks: dict[str, pl.Expr]) -> Iterator[pl.Expr]:
    """Per column, a message where the check (an expression that is true on bad rows) holds."""
    for name, bad in checks.items():
        yield pl.when(bad).then(
            pl.format(
                "column {}: {} is not what belongs there",
                pl.lit(name),
                pl.col(name).cast(pl.String).fill_null("blank"),
            )
        )


def fields(path: Path, data: config.Data, *, labelled: bool = True) -> tuple[str, ...]:
    """The names of a file's fields."""
    kind, found = FORMATS[data.format], formats.tabular_fields(data)
    if data.format != "tabular":
        found = kind.fields(kind.layout(text.first_line(path), data, labelled), data)
    return formats.with_made(found, data)


def _text(
    path: Path,
    data: config.Data,
    kind: Format,
    labelled: bool,
    first: int,
    length: int | None,
    size: int,
) -> Iterator[tuple[int, Iterator[Table]]]:
    layout = kind.layout(text.first_line(path), data, labelled)
    with text.opened(path) as lines:
        for number in itertools.count(first):
            lines.skip_to(number * (length or 0))
            if number and lines.at_end():
                return
            yield number, _tables(lines, layout, (number + 1) * length if length else None, size)
            if not length:
                return


def _tables(lines: text.Lines, layout: Layout, end: int | None, size: int) -> Iterator[Table]:
    header = layout.header and lines.position == 0
    yield text.empty(layout), layout, [], lines.behind
    for line, block, ended in lines.blocks(end, size):
        if ended:
            yield text.empty(layout), layout, [ended], lines.behind
            continue
        if header:
            _, rows, block = block.partition(b"\n")
            header, line = False, 2
            if not rows:
                continue
        frame, problems = text.table(block, line, layout)
        yield frame, layout, problems, lines.behind


def _parquet(
    path: Path, data: config.Data, labelled: bool, own: bool, first: int, length: int | None
) -> Iterator[tuple[int, Iterator[Table]]]:
    try:
        scan = pl.scan_parquet(path)
        names = tuple(scan.collect_schema().names())
        rows = scan.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise not_parquet(path, error) from error
    wanted = formats.tabular_columns(names, data, labelled)
    extra = formats.extra(data, names).values() if own else ()
    wanted = tuple(dict.fromkeys((*wanted, *extra)))
    begins = range(0, max(rows, 1), PARQUET_ROWS)
    tables = (_cells(path, scan, wanted, data, begin, rows) for begin in begins)
    if length is None:
        yield 0, itertools.chain.from_iterable(tables)
    else:
        yield from itertools.islice(enumerate(tables), first, None)


def _cells(
    path: Path,
    scan: pl.LazyFrame,
    wanted: tuple[str, ...],
    data: config.Data,
    begin: int,
    rows: int,
) -> Iterator[Table]:
    try:
        frame = scan.select(wanted).slice(begin, PARQUET_ROWS).collect()
        lists = frame.select(pl.selectors.list()).columns
        cells = {
            c: pl.col(c).cast(pl.List(pl.String)).list.join(data.bag_separator)
            for c in lists
            if c in data.bags
        }
        frame = frame.select(cells.get(c, pl.col(c).cast(pl.String)).fill_null("") for c in wanted)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise not_parquet(path, error) from error
    line = pl.int_range(begin + 1, begin + 1 + frame.height, dtype=pl.Int64, eager=True)
    yield (
        frame.with_columns(line=line),
        Layout(wanted, ""),
        [],
        (begin + frame.height) / max(rows, 1),
    )


def not_parquet(path: Path, error: Exception) -> UserError:
    """What is said of a file that is none."""
    return UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})")
