"""Raw files of each format as frames: a label in 0..C-1 and one column per field, whatever the
layout was.
"""

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.data.read import formats, layouts, text
from autoloss_jax.data.read.formats import FORMATS, Format
from autoloss_jax.data.read.text import Layout, Problem

PARQUET_ROWS = 1 << 18
# cells of rows, how they were cut, lines that are none, the share of the file that is read
Table = tuple[pl.DataFrame, Layout, list[Problem], float]


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows of a file, in its order: `label` int32 (if labelled), fields as String ("" is a
    value: blank), or, in `tabular`, as Float64 with nulls for numbers and as List(String), never
    empty, for bags; of labelled rows `data.weight` Float64, and of the training's `own` files
    `data.time`, where the config names such columns.

    Words are as the file has them: what they stand for is told by `meanings`, so that each is
    asked but once.
    """

    frame: pl.DataFrame
    gaps: np.ndarray  # of each row that was left out: how many of these rows are before it
    behind: float  # the share of the file that has been read
    meanings: dict[
        str, pl.Expr
    ]  # field -> what a word of it stands for, where that is not the word
    kept: pl.DataFrame  # other columns that were asked for, as words


def read(
    path: Path,
    data: config.Data,
    *,
    labelled: bool = True,
    own: bool = False,
    size: int = text.BLOCK_BYTES,
    keep: tuple[str, ...] = (),
) -> Iterator[Block]:
    """Blocks of a file. A bad row is a UserError `file:line: what`, or is skipped and counted
    (data.on_bad_row). UserError for a column to `keep` that is not there.
    """
    asked = {"labelled": labelled, "own": own, "size": size, "keep": keep}
    for _, blocks in stretches(path, data, length=None, **asked):
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
    keep: tuple[str, ...] = (),
) -> Iterator[tuple[int, Iterator[Block]]]:
    """(Number, its blocks, as of `read`) of each stretch of a file from the `first` on: the rows
    that begin within its `length` bytes (of Parquet, its PARQUET_ROWS); None: of all the file.
    They must be taken in order.
    """
    kind = FORMATS[data.format]
    if is_parquet(path, data):
        found = _parquet(path, data, labelled, own, first, length, keep)
    else:
        found = _text(path, data, kind, labelled, first, length, size)
    for number, begin, tables in found:
        yield number, _blocks(path, data, kind, tables, labelled, own, begin, keep)


def is_parquet(path: Path, data: config.Data) -> bool:
    """Whether a file is read as Parquet: by its first bytes, whatever it is called."""
    return data.format == "tabular" and text.begins(path, b"PAR1")


def is_one_stretch(path: Path, data: config.Data) -> bool:
    """Whether the place where a row begins is found only by reading all that is before it."""
    if is_parquet(path, data) or text.is_compressed(path):
        return True
    return layout_of(path, data, labelled=True).quoted and text.spans_lines(path)


def _blocks(
    path: Path,
    data: config.Data,
    kind: Format,
    tables: Iterator[Table],
    labelled: bool,
    own: bool,
    begin: int,
    keep: tuple[str, ...],
) -> Iterator[Block]:
    """Cells of a stretch, which has its first line after byte `begin`, as what they mean; bad
    rows told or left out.
    """
    for frame, layout, problems, behind in tables:
        columns, checks = kind.columns(frame.schema, data), kind.checks(layout, data)
        wanted = dict.fromkeys(checks, kind.wanted)
        if labelled:
            name = kind.label or data.label
            columns["label"], checks[name] = formats.label(data, name)
            wanted[name] = formats.label_wanted(data)
        extra = formats.extra(data, layout.columns, own) if labelled else {}
        if formats.TIME in extra:
            columns[formats.TIME], checks[data.time] = formats.time(data)
            wanted[data.time] = "a number, or a date as 2026-01-31 12:00:00"
        if formats.WEIGHT in extra:
            columns[formats.WEIGHT], checks[data.weight] = formats.weight(data)
            wanted[data.weight] = "a finite number from 0 on"
        suspect = frame.select(pl.any_horizontal(pl.lit(False), *checks.values())).to_series()
        if suspect.any():
            doubted, excused = frame.filter(suspect), kind.excused(data)
            checks = {n: bad & ~excused[n] if n in excused else bad for n, bad in checks.items()}
            doubted = doubted.filter(pl.any_horizontal(*checks.values()))
            found = doubted.select(text.LINE, pl.coalesce(*_messages(checks, wanted)))
            problems = sorted([*problems, *found.iter_rows()])
            frame = frame.filter(~pl.col(text.LINE).is_in(doubted[text.LINE].implode()))
        if problems and data.on_bad_row == "error":
            number, what = problems[0]
            if begin and not is_parquet(path, data):
                number += text.lines_before(path, begin)
            if number == 1 and data.format != "tabular":
                what += "; if it is a header, set --config.data.header=true"
            raise UserError(
                f"{path}:{number}: {what}; mend the row, or leave such rows out with "
                "--config.data.on_bad_row=skip"
            )
        fields, meanings = kind.fields(layout, data), kind.meanings(layout, data)
        columns |= formats.crosses(fields, data, meanings)
        names = (
            *(("label",) if labelled else ()),
            *extra,
            *fields,
            *formats.groups(data),
        )
        yield Block(
            frame.select(columns.get(n, pl.col(n)).alias(n) for n in names),
            np.searchsorted(frame[text.LINE].to_numpy(), [line for line, _ in problems]),
            behind,
            meanings,
            frame.select(_kept(path, layout, keep)),
        )


def _kept(path: Path, layout: Layout, keep: tuple[str, ...]) -> list[pl.Expr]:
    """The columns that are kept, as words."""
    for name in keep:
        if name not in layout.columns:
            with naming(path):
                raise layouts.lacking(name, layout.columns)
    return [pl.col(name).cast(pl.String) for name in keep]


def _messages(checks: dict[str, pl.Expr], wanted: dict[str, str]) -> Iterator[pl.Expr]:
    """Per column, a message where the check (an expression that is true on bad rows) holds."""
    for name, bad in checks.items():
        cell = pl.col(name).cast(pl.String).fill_null("")
        came = pl.when(cell.str.strip_chars() == "").then(pl.lit("a blank")).otherwise(cell)
        said = pl.format(
            "column {}: {} is not what belongs there: {}", pl.lit(name), came, pl.lit(wanted[name])
        )
        yield pl.when(bad).then(said)


def fields(path: Path, data: config.Data, *, labelled: bool = True) -> tuple[str, ...]:
    """The names of a file's fields."""
    found = formats.tabular_fields(data)
    if data.format != "tabular":
        found = FORMATS[data.format].fields(layout_of(path, data, labelled), data)
    return formats.with_made(found, data)


def _text(
    path: Path,
    data: config.Data,
    kind: Format,
    labelled: bool,
    first: int,
    length: int | None,
    size: int,
) -> Iterator[tuple[int, int, Iterator[Table]]]:
    """(Number of the stretch, where it begins, its tables)."""
    layout = layout_of(path, data, labelled)
    known = 0 if first and layout.quoted and text.spans_lines(path) else first
    with text.opened(path) as lines:
        for number in itertools.count(known):
            lines.skip_to(number * (length or 0))
            if number and lines.at_end():
                return
            begin = lines.position
            tables = _tables(lines, layout, (number + 1) * length if length else None, size)
            if number < first:  # where a row begins is told by those before it alone
                collections.deque(tables, maxlen=0)
            else:
                yield number, begin, tables
            if not length:
                return


def layout_of(path: Path, data: config.Data, labelled: bool) -> Layout:
    """How the lines of a file are cut; UserError, which names it, where that is not to be told."""
    first = text.first_line(path)
    with naming(f"{path}:1"):
        return FORMATS[data.format].layout(first, data, labelled)


@contextlib.contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """What is wrong with a file's columns is said with its name, and the line that names them."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{place}: {error}") from error


def _tables(lines: text.Lines, layout: Layout, end: int | None, size: int) -> Iterator[Table]:
    """Those of a stretch, to the end of the last row that begins in it."""
    header = layout.header and lines.position == 0
    rest, line = b"", 1  # what is not yet cut, and the number of its first line

    def parts() -> Iterator[tuple[int, bytes, Problem | None]]:
        yield from lines.blocks(end, size)
        while rest and not lines.at_end():
            yield from lines.blocks(lines.position + 1)

    yield text.empty(layout), layout, [], lines.behind
    for _, block, ended in parts():
        if ended:
            yield text.empty(layout), layout, [(line, ended[1])], lines.behind
            continue
        if header:
            _, rows, block = block.partition(b"\n")
            header, line = False, 2
            if not rows:
                continue
        block = rest + b"\n" + block if rest else block
        behind = line + block.count(b"\n") + 1
        frame, problems, rest = text.table(block, line, layout, last=lines.at_end())
        line = behind - (rest.count(b"\n") + 1 if rest else 0)
        yield frame, layout, problems, lines.behind


def _parquet(
    path: Path,
    data: config.Data,
    labelled: bool,
    own: bool,
    first: int,
    length: int | None,
    keep: tuple[str, ...],
) -> Iterator[tuple[int, int, Iterator[Table]]]:
    try:
        scan = pl.scan_parquet(path, glob=False)
        names = tuple(scan.collect_schema().names())
        rows = scan.select(pl.len()).collect().item()
    except text.UNREADABLE as error:
        raise not_parquet(path, error) from error
    with naming(path):
        wanted = formats.tabular_columns(names, data, labelled)
    extra = formats.extra(data, names, own).values() if labelled else ()
    wanted = tuple(dict.fromkeys((*wanted, *extra, *(name for name in keep if name in names))))
    begins = range(0, max(rows, 1), PARQUET_ROWS)
    tables = (_cells(path, scan, wanted, data, begin, rows) for begin in begins)
    if length is None:
        yield 0, 0, itertools.chain.from_iterable(tables)
    else:
        numbered = enumerate(tables)
        yield from ((number, 0, of) for number, of in itertools.islice(numbered, first, None))


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
    except text.UNREADABLE as error:
        raise not_parquet(path, error) from error
    columns = [_as_words(path, name, kind, data) for name, kind in frame.schema.items()]
    frame = frame.select(columns)
    line = pl.int_range(begin + 1, begin + 1 + frame.height, dtype=pl.Int64, eager=True)
    yield (
        frame.with_columns(line.alias(text.LINE)),
        Layout(wanted, ""),
        [],
        (begin + frame.height) / max(rows, 1),
    )


def _as_words(path: Path, name: str, kind: pl.DataType, data: config.Data) -> pl.Expr:
    """A column of Parquet as words, or, of a bag's lists, as lists of them."""
    cell = pl.col(name)
    if not kind.is_nested():
        return cell.cast(pl.String).fill_null("")
    if isinstance(kind, pl.List | pl.Array) and name in data.bags:
        inner = kind.inner if isinstance(kind.inner, pl.DataType) else kind.inner()
        if not inner.is_nested():
            return cell.cast(pl.List(inner)).cast(pl.List(pl.String))
    raise UserError(
        f"{path}: column {name!r} holds {kind}; a cell must be one word or number, or, in "
        "--config.data.bags, a list of such"
    )


def not_parquet(path: Path, error: BaseException) -> UserError:
    """What is said of a file that is none."""
    panic = isinstance(error, pl.exceptions.PanicException)  # of polars, which says what of itself
    what = "it is damaged" if panic else first_line(error)
    return UserError(f"{path}: not a readable Parquet file ({what})")
