"""Text files as blocks of columns: streaming, plain, gzip or zstd, every malformed line found by
its number.
"""

import contextlib
import csv
import dataclasses
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import polars as pl

from autoloss_jax.config.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES = 1 << 25
PEEK_BYTES = 1 << 16
LONGEST_LINE = 1 << 20
BOM = b"\xef\xbb\xbf"
OPENERS = {b"\x1f\x8b": gzip.open, b"\x28\xb5": zstd.open}  # by a file's first bytes
Problem = tuple[int, str]  # line number, what is wrong


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the lines of a file are cut."""

    columns: tuple[str, ...]
    separator: str
    header: bool = False
    quoted: bool = False


@dataclasses.dataclass
class Lines:
    """A text file read forwards, in whole lines. They end in \\n or \\r\\n; empty ones at the
    end of the file are left out.
    """

    path: Path
    file: BinaryIO
    raw: BinaryIO  # `file`, as it lies on the disk
    position: int = 0  # bytes, decompressed, that lie behind
    ahead: bytes = b""  # what was read to look ahead
    problem: str | None = None  # what ended the file early

    def skip_to(self, begin: int) -> None:
        """Go forwards to the first line whose first byte is number `begin`, or a later one."""
        if begin > self.position + len(self.ahead) and not is_compressed(self.path):
            self.position, self.ahead = self.file.seek(begin - 1), b""
        while self.position < begin - 1 and self._read(min(BLOCK_BYTES, begin - 1 - self.position)):
            pass
        if self.position < begin:
            self._finish_line()

    @property
    def behind(self) -> float:
        """The share of the file that has been read."""
        return self.raw.tell() / max(os.fstat(self.raw.fileno()).st_size, 1)

    def at_end(self) -> bool:
        """Whether nothing lies ahead, but for line ends."""
        while not self.ahead.strip(b"\r\n"):
            more = self._more(PEEK_BYTES)
            if not more:
                return True
            self.ahead += more
        return False

    def blocks(
        self, end: int | None = None, size: int = BLOCK_BYTES
    ) -> Iterator[tuple[int, bytes, Problem | None]]:
        """(Number of the first line, 1 for the first one here; whole lines without the last
        line's end; what ended the file early), in order, of the lines whose first byte comes
        before number `end`.
        """
        line = 1
        while not self.at_end() and (end is None or self.position < end):
            begins = self.position == 0
            text = self._read(size if end is None else min(size, end - self.position))
            if not text.endswith(b"\n"):
                text += self._finish_line()
            if begins:
                text = text.removeprefix(BOM)
            if b"\r" in text:
                text = text.replace(b"\r\n", b"\n")
            last = self.at_end()
            if self.problem and last:
                text = text[: text.rfind(b"\n") + 1]
            body = text.rstrip(b"\r\n") if last else text.removesuffix(b"\n")
            if body or not last:
                yield line, body, None
                line += body.count(b"\n") + 1
        if self.problem and self.at_end():
            yield line, b"", (line, self.problem)

    def _read(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        parts, size = [self.ahead[:size]], size - len(self.ahead)
        self.ahead = self.ahead[size + len(self.ahead) :]
        while size > 0 and (part := self._more(size)):
            parts.append(part)
            size -= len(part)
        read = b"".join(parts)
        self.position += len(read)
        return read

    def _finish_line(self) -> bytes:
        """Up to and with the next line end; UserError where that is too far."""
        while (
            b"\n" not in self.ahead
            and len(self.ahead) < LONGEST_LINE
            and (more := self._more(PEEK_BYTES))
        ):
            self.ahead += more
        line, found, self.ahead = self.ahead.partition(b"\n")
        self.position += len(line + found)
        if len(line) >= LONGEST_LINE and not found:
            number = lines_before(self.path, self.position)
            raise UserError(
                f"{self.path}:{number}: a line of more than {LONGEST_LINE:,} bytes; is this a "
                "text file?"
            )
        return line + found

    def _more(self, size: int) -> bytes:
        """Some of the next bytes of the file; none at its end, or where compressed data is
        damaged: the problem.
        """
        try:
            return b"" if self.problem else self.file.read1(size)  # type: ignore[attr-defined]
        except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            self.problem = f"the compressed data is damaged or cut off ({error})"
            return b""
        except OSError as error:
            raise _unreadable(self.path, error) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Lines]:
    """A file from its beginning, decompressed if it begins as gzip or zstd does; UserError if it
    cannot be read.
    """
    with _raw(path) as raw:
        kind = OPENERS.get(raw.peek(2)[:2])
        yield Lines(path, cast(BinaryIO, kind(raw) if kind else raw), raw)


def is_compressed(path: Path) -> bool:
    """Whether a place in the file is found only by reading all that is before it."""
    with _raw(path) as raw:
        return raw.peek(2)[:2] in OPENERS


def _raw(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror or error})")


def first_line(path: Path) -> str:
    """The first line, without byte-order mark and line end."""
    with opened(path) as lines:
        _, text, problem = next(lines.blocks(size=1), (1, b"", None))
    if problem:
        raise UserError(f"{path}:1: {problem[1]}")
    if not text.strip():
        raise UserError(f"{path}: empty, or its first line is")
    return text.decode("utf-8", "replace")


def lines_before(path: Path, position: int) -> int:
    """How many lines begin before this byte."""
    count, before = 1, position - 1
    with opened(path) as lines:
        while before > lines.position and (
            part := lines._read(min(BLOCK_BYTES, before - lines.position))
        ):
            count += part.count(b"\n")
    return count


def empty(layout: Layout) -> pl.DataFrame:
    """No lines."""
    return pl.DataFrame(schema=dict.fromkeys(layout.columns, pl.String) | {"line": pl.Int64})


def table(block: bytes, line: int, layout: Layout) -> tuple[pl.DataFrame, list[Problem]]:
    """The lines of a block as String columns and a column `line`, and the lines that do not fit
    the layout.
    """
    if len(layout.separator) > 1:
        block = block.replace(layout.separator.encode(), b"\t")
        layout = dataclasses.replace(layout, separator="\t")
    fast = _fast(block, layout)
    if fast is not None:
        return fast.with_columns(
            line=pl.int_range(line, line + fast.height, dtype=pl.Int64, eager=True)
        ), []
    return _slow(block, line, layout)


def _fast(block: bytes, layout: Layout) -> pl.DataFrame | None:
    """The block by polars' own reader if it is plainly well formed, or None."""
    if b"\0" in block or (layout.quoted and b'"' in block):
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
    separators = np.count_nonzero(np.frombuffer(block, np.uint8) == ord(layout.separator))
    return frame if separators == frame.height * (len(layout.columns) - 1) else None


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
