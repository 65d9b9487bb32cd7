"""Text files as blocks of columns: streaming, plain, gzip or zstd, every malformed line found by
its number.
"""

import bz2
import contextlib
import csv
import dataclasses
import functools
import gzip
import io
import lzma
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
OPENERS = {
    b"\x1f\x8b": gzip.open,
    b"\x28\xb5": zstd.open,
    b"\xfd7": lzma.open,
    b"BZ": bz2.open,
}  # by a file's first bytes
NO_TEXT = {
    b"PK\x03\x04": "a zip archive, or a spreadsheet; unpack it, or save the sheet as CSV",
    b"PAR1": "a Parquet file, which --config.data.format=tabular reads",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save it as CSV",
}
PART = "\x1f"  # ASCII's unit separator, for what parts columns by more than one byte
RUNS = (b"  ", b"\n ", b" \n", b"\t")  # blanks that part as one does, or nothing
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)  # of Parquet
LINE = "data.line"  # the column of a frame that has the number of each row's line
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
        except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError, lzma.LZMAError) as error:
            self.problem = f"the compressed data is damaged or cut off ({error})"
            return b""
        except OSError as error:
            if error.errno is None:  # of bz2, of what it reads
                self.problem = f"the compressed data is damaged or cut off ({error})"
                return b""
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


def begins(path: Path, mark: bytes) -> bool:
    """Whether these are a file's first bytes, as they lie on the disk."""
    with _raw(path) as raw:
        return raw.peek(len(mark)).startswith(mark)


def first_line(path: Path) -> str:
    """The first line, without byte-order mark and line end; UserError for what is no text."""
    with opened(path) as lines:
        lines.ahead = lines._more(PEEK_BYTES)
        for mark, what in NO_TEXT.items():
            if lines.ahead.startswith(mark):
                raise UserError(f"{path}: {what}")
        if lines.ahead[257:262] == b"ustar":
            raise UserError(f"{path}: a tar archive; unpack it")
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


def spans_lines(path: Path) -> bool:
    """Whether some line has an odd number of quotes: only then a cell may hold a line end."""
    there = path.stat()
    return _spans_lines(path, there.st_mtime_ns, there.st_size)


@functools.lru_cache
def _spans_lines(path: Path, *version: int) -> bool:
    """Asked for each stretch, and found once for each version of a file."""
    del version
    inside = 0  # a quote of the line that was cut
    with opened(path) as lines:
        while part := lines._read(BLOCK_BYTES):
            if not inside and b'"' not in part:
                continue
            marks = np.frombuffer(part, np.uint8)
            quotes = (marks[(marks == ord('"')) | (marks == ord("\n"))] == ord('"')).astype(int)
            of_line = np.add.reduceat(quotes, np.r_[0, np.flatnonzero(quotes == 0)])
            of_line[0] += inside
            if (of_line[:-1] % 2).any():
                return True
            inside = int(of_line[-1] % 2)
    return bool(inside)


def empty(layout: Layout) -> pl.DataFrame:
    """No lines."""
    return pl.DataFrame(schema=dict.fromkeys(layout.columns, pl.String) | {LINE: pl.Int64})


def table(
    block: bytes, line: int, layout: Layout, *, last: bool = True
) -> tuple[pl.DataFrame, list[Problem], bytes]:
    """The lines of a block as String columns and a column LINE, the number of each row's first
    line; those that do not fit the layout; and the begin of a row that does not end here, which
    is a problem in the `last` block.
    """
    separator, part = layout.separator.encode(), PART.encode()
    if len(separator) > 1:
        if part in block:
            return _slow(block, line, layout, last)
        of_one = dataclasses.replace(layout, separator=PART)
        frame, problems, rest = table(block.replace(separator, part), line, of_one, last=last)
        return frame, problems, rest.replace(part, separator)
    fast = _fast(block, layout)
    if fast is not None:
        numbers = pl.int_range(line, line + fast.height, dtype=pl.Int64, eager=True)
        return fast.with_columns(numbers.alias(LINE)), [], b""
    return _slow(block, line, layout, last)


def _fast(block: bytes, layout: Layout) -> pl.DataFrame | None:
    """The block by polars' own reader if it is plainly well formed, or None."""
    if b"\0" in block or b"\r" in block or (layout.quoted and b'"' in block):
        return None
    if not block or b"\n" in (block[:1], block[-1:]) or b"\n\n" in block:
        return None  # an empty line, which polars may leave out
    if layout.separator == " " and (
        b" " in (block[:1], block[-1:]) or any(run in block for run in RUNS)
    ):
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
    even = separators == frame.height * (len(layout.columns) - 1)
    return frame if even and not _too_long(block, layout) else None


def _too_long(block: bytes, layout: Layout) -> bool:
    """Whether some line has one cell too many, which is blank: this polars does not mind, nor a
    line that is too short.
    """
    marks, separator = np.frombuffer(block, np.uint8), layout.separator.encode()
    if separator + b"\n" not in block and not block.endswith(separator):
        return False
    ends = np.append(np.flatnonzero(marks == ord("\n")), len(block))
    begins = np.append(0, ends[:-1] + 1)
    at_end = marks[ends - 1] == ord(separator)
    lines = zip(begins[at_end].tolist(), ends[at_end].tolist(), strict=True)
    return any(block.count(separator, *line) != len(layout.columns) - 1 for line in lines)


def _slow(
    block: bytes, line: int, layout: Layout, last: bool
) -> tuple[pl.DataFrame, list[Problem], bytes]:
    lines, at, rows, numbers, problems = block.split(b"\n"), 0, [], [], []
    while at < len(lines):  # anew behind each line that is wrong
        try:
            for row, after in _rows(lines, at, layout):
                if len(row) != len(layout.columns):
                    problems.append((line + at, _of_other_width(row, layout)))
                else:
                    rows.append(row)
                    numbers.append(line + at)
                at = after
        except _Unfinished as error:
            rest = b"\n".join(lines[at:])
            if not last and len(rest) < LONGEST_LINE:
                return _frame(rows, numbers, layout), problems, rest
            problems.append((line + at, str(error)))
            at += 1
        except ValueError as error:
            problems.append((line + at, str(error)))
            at += 1
    return _frame(rows, numbers, layout), problems, b""


def _frame(rows: list[list[str]], numbers: list[int], layout: Layout) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(layout.columns, pl.String), orient="row")
    return frame.with_columns(pl.Series(LINE, numbers, dtype=pl.Int64))


def _of_other_width(row: list[str], layout: Layout) -> str:
    return f"{len(row)} columns where {len(layout.columns)} are expected"


class _Unfinished(ValueError):
    """A quote that nothing closes."""


def _rows(lines: list[bytes], at: int, layout: Layout) -> Iterator[tuple[list[str], int]]:
    """(Cells, the line behind it) of each row from a line on; ValueError for what is none."""
    separator = layout.separator
    if not layout.quoted:
        for number in range(at, len(lines)):
            text = _decoded(lines[number])
            yield words(text) if separator == " " else text.split(separator), number + 1
        return

    def decoded() -> Iterator[str]:
        for number in range(at, len(lines)):
            text = _decoded(lines[number], blank=number > begin)
            yield (text if len(separator) == 1 else text.replace(separator, PART)) + "\n"

    begin = at
    delimiter = separator if len(separator) == 1 else PART
    reader = csv.reader(decoded(), delimiter=delimiter, strict=True)
    while begin < len(lines):
        try:
            row = next(reader)
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise _Unfinished("a quote that is not closed") from None
            if "new-line character" in str(error):
                raise ValueError("a carriage return within a line") from None
            raise ValueError(f"bad quoting ({error})") from None
        begin = at + reader.line_num
        yield row, begin


def words(text: str) -> list[str]:
    """What blanks part, however many they are."""
    return [word for word in text.replace("\t", " ").split(" ") if word]


def _decoded(raw: bytes, *, blank: bool = False) -> str:
    """The text of a line; ValueError saying what is wrong with it. It may be `blank` in quotes."""
    if b"\0" in raw:
        raise ValueError("a NUL byte")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start + 1}") from None
    if not blank and not text.strip():
        raise ValueError("an empty line")
    return text


def cells(raw: bytes, layout: Layout) -> list[str]:
    """The cells of one line; ValueError saying what is wrong with it."""
    ((row, _),) = _rows([raw], 0, layout)
    return row
