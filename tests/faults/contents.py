"""Files of every format, right ones and mutated ones: they are read right, or refused in a line."""

import bz2
import csv
import gzip
import io
import lzma

import polars as pl

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import sources
from autoloss_jax.data.read.text import zstd
from tests.support import files

TABLE = {
    "label": "click",
    "categorical": ("site", "city"),
    "numeric": ("age",),
    "values": ("price",),
    "bags": ("tags",),
}
WORDS = (
    "a",
    "b c",
    "",
    "1",
    "1.0",
    "true",
    "NA",
    "-",
    "a,b",
    'q"q',
    "x|y",
    "é",
    "二",
    "\\N",
)
NUMBERS = ("1", "2.5", "-3", "", "NaN", "1e3", "007", " 4 ")
BYTES = (0, 9, 10, 13, 32, 34, 44, 58, 59, 92, 124, 255, 0xC2, 0xA6, *b"0N-.eE")
COMPRESS = (bytes, bytes, bytes, gzip.compress, zstd.compress, lzma.compress, bz2.compress)


def table(random, rows):
    """(Its columns, rows of words) of a table of every kind of column."""
    names = ["click", "age", "site", "city", "price", "tags"]
    random.shuffle(names)
    cells = {"age": NUMBERS, "price": NUMBERS, "site": (*WORDS, "two\nlines"), "click": ("0", "1")}
    return names, [[random.choice(cells.get(n, WORDS)) for n in names] for _ in range(rows)]


def text(random):
    """(Format, a right file of it)."""
    kind, rows = random.choice(("tabular",) * 3 + ("criteo", "avazu", "ratings", "libsvm")), 3
    out = io.StringIO()
    if kind == "tabular":
        names, cells = table(random, rows)
        delimiter = random.choice(",;\t|")
        writer = csv.writer(out, delimiter=delimiter, lineterminator=random.choice(("\n", "\r\n")))
        writer.writerows([names, *cells])
    for _ in range(rows):
        number, word = (lambda: random.choice(NUMBERS[:4])), (lambda: random.choice(WORDS[:4]))
        whole = lambda: random.choice(("", "0", "-3", "42"))  # noqa: E731
        lines = {
            "criteo": "\t".join(["0", *(whole() for _ in range(13)), *(word() for _ in range(26))]),
            "avazu": ",".join(["7", "1", *(word() for _ in range(22))]),
            "ratings": f"{word()}::{number()}::{random.randrange(1, 6)}::97",
            "libsvm": f"{random.randrange(2)} {random.randrange(9)}:1 {random.randrange(9)}:1",
        }
        out.write(lines[kind] + "\n" if kind in lines else "")
    return kind, out.getvalue().encode()


def parquet(random):
    """A right file of a table, as Parquet."""
    names, cells = table(random, 5)
    columns = dict(zip(names, zip(*cells, strict=True), strict=True))
    frame = pl.DataFrame({name: list(column) for name, column in columns.items()})
    lists = frame["tags"].str.split("|")
    out = io.BytesIO()
    frame.with_columns(lists if random.random() < 0.5 else frame["tags"]).write_parquet(out)
    return out.getvalue()


def mutated(random, content):
    """The bytes with a few of them put in, left out, changed, cut off, doubled or moved."""
    changed = bytearray(content)
    for _ in range(random.randrange(1, 6)):
        place = random.randrange(len(changed) + 1)
        length = random.choice((0, 1, 1, 2, 3, random.randrange(40)))
        some = bytes(
            random.choice(BYTES) if random.random() < 0.8 else random.randrange(256)
            for _ in range(random.randrange(4))
        )
        piece = bytes(changed[place : place + length])
        action = random.randrange(10)
        if action < 6:
            changed[place : place + length] = some
        elif action < 8:
            changed[place:place] = piece
        elif action == 8:
            other = random.randrange(len(changed) + 1)
            changed[place : place + length], changed[other:other] = b"", piece
        else:
            del changed[place:]
    return bytes(changed)


def read(path, data, size, labelled):
    """What a file is: its rows and how many were left out, or what is said of it."""
    try:
        blocks = list(sources.read(path, data, labelled=labelled, size=size))
    except UserError as error:
        return str(error)
    return files.rows(blocks), sum(len(block.gaps) for block in blocks)


def trial(random, folder):
    """A right file, or a mutated one, is the same rows, or one line, in blocks of every size."""
    kind, content = text(random) if random.random() < 0.8 else ("tabular", parquet(random))
    right = random.random() < 0.1
    if not right:
        content = mutated(random, content)
    if not content.startswith(b"PAR1"):
        content = random.choice(COMPRESS)(content)
    if random.random() < 0.1:
        content, right = mutated(random, content), False
    path = folder / "data.csv"
    path.write_bytes(content)
    options = {
        "on_bad_row": random.choice(("error", "skip")),
        "header": "auto" if right else random.choice(("auto", "auto", "true", "false")),
        "delimiter": "" if right else random.choice(("", "", "", ";", "::", "tab")),
        "positive": random.choice(("", "1")),
        "time": "age" if random.random() < 0.1 else "",
    }
    data, labelled = Data(format=kind, **TABLE, **options), random.random() < 0.7
    sizes = (1 << 20, random.choice((1, random.randrange(2, 200))))
    found = [read(path, data, size, labelled) for size in sizes]
    if found[0] != found[1]:
        return f"blocks of other sizes give other rows: {found}: {content!r} {data}"
    if isinstance(found[0], str) and ("\n" in found[0] or str(path) not in found[0]):
        return f"not one line with the file: {found[0]!r}: {content!r} {data}"
    if right and not isinstance(found[0], tuple):
        return f"a right file is refused: {found[0]}: {content!r} {data}"
    return None
