"""Rows with every word as its place in a list of words: what a stretch of text is once it has
been read, in memory or in a folder.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from autoloss_jax.data.read.sources import Block

ROWS, WORDS, FACTS = "rows.arrow", "words.parquet", "facts.json"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows as those of `data/sources.py`, but for words: UInt32 for String, List(UInt32) for
    List(String).
    """

    rows: pl.DataFrame
    words: dict[
        str, pl.Series
    ]  # column -> the words that the numbers stand for; some may be there twice


@dataclasses.dataclass
class Facts:
    """What there is to say of a chunk, besides its rows."""

    path: str  # of the file
    split: str  # train, val or test, or all where one file is to be divided
    fields: list[str] = dataclasses.field(default_factory=list)
    rows: int = 0
    skipped: int = 0  # rows left out
    cut: dict[str, int] = dataclasses.field(
        default_factory=dict
    )  # bag -> cells that hold more than is kept
    behind: float = 0.0  # the share of the file that had been read


def of(blocks: Iterable[Block], bag_size: int) -> Chunk:
    """All rows of these blocks, at least one, with the first `bag_size` values of each bag."""
    coded: list[pl.DataFrame] = []
    known: dict[str, pl.Categorical] = {}
    held: list[pl.Series] = []  # while there is a Series of a Categorical, its numbers stay
    meanings: dict[str, pl.Expr] = {}
    for block in blocks:
        frame, columns, meanings = block.frame, {}, block.meanings
        for name, kind in frame.schema.items():
            if kind in (pl.String, pl.List):
                if name not in known:
                    known[name] = pl.Categorical(pl.Categories.random())
                    held.append(pl.Series(dtype=known[name]))
                word, cell = known[name], pl.col(name)
                of_bag = cell.list.head(bag_size).cast(pl.List(word))
                columns[name] = (cell.cast(word) if kind == pl.String else of_bag).to_physical()
        coded.append(frame.with_columns(**columns))
    rows, words = pl.concat(coded), {}
    for name, word in known.items():
        codes = pl.col(name) if rows.schema[name] == pl.UInt32 else pl.col(name).explode()
        places = pl.int_range(codes.max().cast(pl.Int64).fill_null(-1) + 1, dtype=pl.UInt32)
        listed = rows.select(places.cat.to(word).cast(pl.String).alias(name))
        words[name] = listed.select(meanings.get(name, pl.col(name))).to_series()
    return Chunk(rows, words)


def write(chunk: Chunk, folder: Path, facts: Facts) -> None:
    """Into a folder, which appears whole or not at all."""
    partial = folder.with_name(f".{folder.name}")
    partial.mkdir(exist_ok=True)
    chunk.rows.write_ipc(partial / ROWS)
    words = [
        pl.DataFrame({"value": words}).select(pl.lit(name).alias("field"), "value")
        for name, words in chunk.words.items()
    ]
    pl.concat(
        words or [pl.DataFrame(schema={"field": pl.String, "value": pl.String})]
    ).write_parquet(partial / WORDS)
    (partial / FACTS).write_text(json.dumps(dataclasses.asdict(facts)))
    partial.rename(folder)


def read_facts(folder: Path) -> Facts:
    """What was written with a chunk."""
    return Facts(**json.loads((folder / FACTS).read_text()))


def read(folder: Path, columns: list[str] | None = None) -> Chunk:
    """What `write` wrote; its rows stay on the disk until they are used. Of some columns,
    without the words.
    """
    stored = pl.scan_ipc(folder / ROWS, glob=False)  # a folder's name is no pattern
    rows = (stored.select(columns) if columns is not None else stored).collect()
    if columns is not None:
        return Chunk(rows, {})
    words = pl.read_parquet(folder / WORDS, glob=False)
    none = pl.Series(dtype=pl.String)
    found = {n: none for n, kind in rows.schema.items() if kind in (pl.UInt32, pl.List)}
    found |= {str(name): part["value"] for (name,), part in words.group_by("field")}
    return Chunk(rows, found)
