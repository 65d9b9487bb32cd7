"""Text files as blocks of columns: streaming, gzip or plain, every malformed line found by its number."""

import contextlib
import csv
import dataclasses
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl

from autoloss_jax.settings import UserError

BLOCK_BYTES = 1 << 25
LONGEST_LINE = 1 << 20
Problem = tuple[int, str]  # line number, what is wrong


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the lines of a file are cut."""

    columns: tuple[str, ...]
    separator: str
    header: bool = False
    quoted: bool = False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, decompressed if they begin as gzip does; UserError if it cannot be read."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[misc]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def first_line(path: Path) -> str:
    """The first line, without byte-order mark and line end."""
    with opened(path) as file:
        try:
            line = file.readline(LONGEST_LINE)
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f"{path}:1: damaged gzip ({error})") from error
    if not line.strip():
        raise UserError(f"{path}: empty, or its first line is")
    return line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n").decode("utf-8", "replace")


def blocks(path: Path, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes, Problem | None]]:
    """(Number of the first line, whole lines without the last line's end, what ended the file early), in order.

    Line ends are \\n; empty lines at the end of the file are left out.
    """
    line, rest, data = 1, b"", b""
    with opened(path) as file:
        while True:
            begins = line == 1 and not rest
            data, problem = _read(file, size)
            if begins:
                data = data.removeprefix(b"\xef\xbb\xbf")
            text = (rest + data).replace(b"\r\n", b"\n")
            if problem or not data:
                body = (text.rpartition(b"\n")[0] if problem else text).rstrip(b"\r\n")
                if body or problem:
                    number = line + (body.count(b"\n") + 1 if body else 0)
                    yield line, body, (number, problem) if problem else None
                return
            body = text.rpartition(b"\n")[0].rstrip(b"\n")
            rest = text[len(body) + 1 :] if body else text
            if body:
                yield line, body, None
                line += body.count(b"\n") + 1
            if len(rest) > LONGEST_LINE:
                raise UserError(
                    f"{path}:{line}: a line of more than {LONGEST_LINE:,} bytes; is this a text file?"
                )


def _read(file: BinaryIO, size: int) -> tuple[bytes, str | None]:
    """About `size` bytes, and why there are no more if the compressed data is damaged."""
    parts, read = [], 0
    while read < size:
        try:
            part = file.read1(size - read)  # type: ignore[attr-defined]
        except (EOFError, OSError, zlib.error) as error:
            return b"".join(parts), f"the gzip data is damaged or cut off ({error})"
        if not part:
            break
        parts.append(part)
        read += len(part)
    return b"".join(parts), None


def empty(layout: Layout) -> pl.DataFrame:
    """No lines."""
    return pl.DataFrame(schema=dict.fromkeys(layout.columns, pl.String) | {"line": pl.Int64})


def table(block: bytes, line: int, layout: Layout) -> tuple[pl.DataFrame, list[Problem]]:
    """The lines of a block as String columns and a column `line`, and the lines that do not fit the layout."""
    if len(layout.separator) > 1:
        block = block.replace(layout.separator.encode(), b"\t")
        layout = dataclasses.replace(layout, separator="\t")
    fast = _fast(block, layout)
    if fast is not None:
        return fast.with_columns(line=pl.int_range(line, line + fast.height, dtype=pl.Int64, eager=True)), []
    return _slow(block, line, layout)


def _fast(block: bytes, layout: Layout) -> pl.DataFrame | None:
    """The block by polars' own reader if it is plainly well formed, or None."""
    lines, separators = block.count(b"\n") + 1, block.count(layout.separator.encode())
    if separators != lines * (len(layout.columns) - 1) or b"\0" in block or (layout.quoted and b'"' in block):
        return None
    try:
        frame = pl.read_csv(
            block,
            separator=layout.separator,
            has_header=False,
            quote_char=None,
            schema=dict.fromkeys(layout.columns, pl.String),
            empty_string_is_null=False,
            extra_columns="raise",
            missing_columns="raise",
        )
    except pl.exceptions.PolarsError:
        return None
    return frame if frame.height == lines else None


def _slow(block: bytes, line: int, layout: Layout) -> tuple[pl.DataFrame, list[Problem]]:
    rows, numbers, problems = [], [], []
    for number, raw in enumerate(block.split(b"\n"), line):
        try:
            row = cells(raw, layout)
            if len(row) != len(layout.columns):
                raise ValueError(f"{len(row)} columns where {len(layout.columns)} are expected")
            rows.append(row)
            numbers.append(number)
        except ValueError as error:
            problems.append((number, str(error)))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(layout.columns, pl.String), orient="row")
    return frame.with_columns(line=pl.Series(numbers, dtype=pl.Int64)), problems


def cells(raw: bytes, layout: Layout) -> list[str]:
    """The cells of one line; ValueError saying what is wrong with it."""
    if b"\0" in raw:
        raise ValueError("a NUL byte")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start + 1}") from None
    if not text.strip():
        raise ValueError("an empty line")
    if not layout.quoted:
        return text.split() if layout.separator == " " else text.split(layout.separator)
    try:
        return next(csv.reader([text], delimiter=layout.separator, strict=True))
    except csv.Error as error:
        raise ValueError(f"bad quoting ({error})") from None
