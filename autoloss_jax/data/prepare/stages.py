"""What preparing does to a stretch of a file, or to a chunk: read it, count its words, encode
it.

Plain functions of plain values that leave what they made in a folder, so that any executor can
run them, anywhere, and a second run finds what the first one finished. What they make does not
depend on who ran what, or in which order.
"""

import dataclasses
import functools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.data import store
from autoloss_jax.data.prepare import chunk, division, target_encoding
from autoloss_jax.data.prepare.division import Part
from autoloss_jax.data.prepare.encoder import Encoder
from autoloss_jax.data.read import formats, sources

STRETCH = 1 << 27  # bytes of text
LOADING = threading.Lock()  # of an encoder: once, and not once in each thread
EXTRA = ("label", formats.TIME, formats.WEIGHT)  # columns that are no fields
COUNTS, TARGETS, ENCODED = "counts.parquet", "targets.parquet", "encoded.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A preparation, as its stages need it: the settings, the folder of its chunks, that of the
    store to be.
    """

    data: config.Data
    chunks: Path
    store: Path
    length: int  # bytes of a stretch
    size: int  # bytes that are read at a time


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Of a file: the bytes of one number, or, where a place is found only by reading all before
    it, all there are.
    """

    path: Path
    split: str  # train, val or test, or all
    name: str  # of its chunks, before their number
    number: int | None
    num_bytes: int

    def chunk(self, job: Job, number: int) -> Path:
        """The folder of a chunk."""
        return job.chunks / f"{self.name}-{number:05d}"


def stretches(path: Path, split: str, name: str, job: Job) -> list[Stretch]:
    """What a file divides into."""
    size = path.stat().st_size
    if sources.is_one_stretch(path, job.data):
        return [Stretch(path, split, name, None, size)]
    count = max(-(-size // job.length), 1)
    return [
        Stretch(path, split, name, i, min(job.length, size - i * job.length)) for i in range(count)
    ]


def read(job: Job, stretch: Stretch) -> Iterator[float]:
    """Make the chunks of a stretch, those that are not there yet, and tell after each how many
    bytes that were.
    """
    if stretch.number is not None and stretch.chunk(job, stretch.number).exists():
        yield stretch.num_bytes
        return
    first, told = stretch.number or 0, 0.0
    while stretch.chunk(job, first).exists():
        first += 1
    for number, blocks in sources.stretches(
        stretch.path, job.data, own=True, length=job.length, first=first, size=job.size
    ):
        facts = chunk.Facts(str(stretch.path), stretch.split)
        made = chunk.of(_watched(blocks, job.data, facts), job.data.bag_size)
        facts.rows = made.rows.height
        no_fields = (*EXTRA, *formats.groups(job.data))
        facts.fields = [name for name in made.rows.columns if name not in no_fields]
        chunk.write(made, stretch.chunk(job, number), facts)
        if stretch.number is not None:
            yield stretch.num_bytes
            return
        yield facts.behind * stretch.num_bytes - told
        told = facts.behind * stretch.num_bytes


def _watched(
    blocks: Iterator[sources.Block], data: config.Data, facts: chunk.Facts
) -> Iterator[sources.Block]:
    """The blocks, and into `facts` what there is to say of them."""
    for block in blocks:
        facts.skipped += len(block.gaps)
        facts.behind = block.behind
        for bag in data.bags:
            cut = int((block.frame[bag].list.len() > data.bag_size).sum())
            facts.cut[bag] = facts.cut.get(bag, 0) + cut
        yield block


def count(job: Job, folder: Path) -> Iterator[Path]:
    """How often each word occurs in the rows that teach W: a file of (field, value, count)."""
    target = folder / COUNTS
    if not target.exists():
        taught = pl.Series(Part.of(folder).taught)
        found = chunk.read(folder)
        parts = [pl.DataFrame(schema={"field": pl.String, "value": pl.String, "count": pl.Int64})]
        for name, words in found.words.items():
            if name not in job.data.hash:
                column = found.rows[name].filter(taught)
                places = (column.explode() if name in job.data.bags else column).to_numpy()
                counts = pl.Series(np.bincount(places, minlength=len(words)), dtype=pl.Int64)
                counted = pl.DataFrame({"value": words, "count": counts})
                parts.append(counted.select(pl.lit(name).alias("field"), "value", "count"))
        with store.whole(target) as temporary:
            pl.concat(parts).filter(pl.col("count") > 0).write_parquet(temporary)
    yield target


def count_targets(job: Job, folder: Path) -> Iterator[Path]:
    """What the labels of train say of values: a file, as `target_encoding.counted` has it."""
    target = folder / TARGETS
    if not target.exists():
        with store.whole(target) as temporary:
            target_encoding.counted(job.data, folder).write_parquet(temporary)
    yield target


def encode(job: Job, numbered: tuple[int, Path]) -> Iterator[dict[str, Any]]:
    """Make the shards of a chunk of this number, if they are not there yet; what there is to say
    of them, as `_encode` has it.
    """
    target = numbered[1] / ENCODED
    if not target.exists():
        with store.whole(target) as temporary:
            temporary.write_text(json.dumps(_encode(job, *numbered)))
    yield json.loads(target.read_text())


def _encode(job: Job, number: int, folder: Path) -> dict[str, Any]:
    """{"unknown": rows with an out-of-vocabulary id by split and field, "classes": labels in
    train, "sums": of files}.
    """
    with LOADING:
        encoder = _encoder(job)
    schema, part = encoder.schema, Part.of(folder)
    folds = target_encoding.folds(part, job.data.split_seed) if encoder.targets else None
    drawn, whole = part.drawn, encoder.encode(chunk.read(folder), folds)
    facts: dict[str, Any] = {"unknown": {}, "classes": [], "sums": {}}
    for split, kinds in division.OF.items():
        mine = np.isin(drawn, kinds)
        if mine.any():
            rows = whole if mine.all() else {name: a[mine] for name, a in whole.items()}
            facts["sums"] |= store.write_shard(job.store, split, number, rows)
            facts["unknown"][split] = schema.unknown(rows["x"]).sum(axis=0).tolist()
            if split == "train":
                facts["classes"] = np.unique(rows["y"]).tolist()
    return facts


@functools.lru_cache(maxsize=1)
def _encoder(job: Job) -> Encoder:
    """Of the vocabulary in the store to be."""
    return Encoder.of(job.data, *store.load_vocabulary(job.store), store.targets(job.store))
