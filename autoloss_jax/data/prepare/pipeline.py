"""Raw files -> a store, once: read them into chunks, count the values of train, encode every
row. Cached by content and settings.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.config.errors import UserError, nearest
from autoloss_jax.data import store
from autoloss_jax.data.prepare import chunk, division, stages, vocabulary
from autoloss_jax.data.prepare.division import Part
from autoloss_jax.data.prepare.encoder import Encoder
from autoloss_jax.data.prepare.executor import EXECUTORS, Executor
from autoloss_jax.data.prepare.stages import Job
from autoloss_jax.data.prepare.unfamiliar import Unfamiliar
from autoloss_jax.data.read import formats, sources, text
from autoloss_jax.data.read.files import find_splits
from autoloss_jax.data.schema import VERSION, Schema
from autoloss_jax.data.store import SPLITS, Store
from autoloss_jax.distributed import atomic, sums
from autoloss_jax.distributed.bar import Bar

SETTINGS = [
    "name",
    "format",
    "num_classes",
    "min_count",
    "split",
    "split_seed",
    "on_bad_row",
    "label",
    "categorical",
    "numeric",
    "num_buckets",
    "delimiter",
    "time",
]
SLOTTED = [
    "values",
    "scale",
    "bags",
    "bag_separator",
    "bag_size",
    "bag_pooling",
]  # where there are any of these
HASHED = ["hash", "hash_size"]  # where there are any
Say = Callable[[str], None]


def prepare(data: config.Data, say: Say = print, *, shown: bool = True) -> Store:
    """The store of a dataset, made now or found in the cache; UserError for whatever is wrong
    with the source.

    A killed one goes on where it was. `shown`: with a bar.
    """
    files = find_splits(data)
    fingerprint = _fingerprint(data, files)
    target = store_folder(data, fingerprint)
    if target.is_dir():  # it appeared whole; its folder may be one that cannot be written
        return store.open_store(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f".{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be preparing the same
            if not target.exists():
                work = target.with_name(f".{target.name}-{stages.STRETCH}.partial")
                job = Job(data, work / "chunks", work / "store", stages.STRETCH, text.BLOCK_BYTES)
                for folder in (job.chunks, job.store):
                    folder.mkdir(parents=True, exist_ok=True)
                try:
                    with contextlib.closing(EXECUTORS[data.executor](data)) as executor:
                        _build(job, executor, files, fingerprint, say, shown)
                    os.sync()
                    job.store.rename(target)
                    Store(target, store.read_schema(target)).remember()
                    shutil.rmtree(work)
                except (UserError, OSError):  # what is there is of no use, or in the way
                    shutil.rmtree(work, ignore_errors=True)
                    raise
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}); free space, or set "
            "--config.data.cache"
        ) from error
    return store.open_store(target)


def trusted_rows(data: config.Data, prepared: Store) -> dict[str, np.ndarray]:
    """The rows of `data.trusted` in the vocabulary of a prepared dataset, in memory."""
    path = _trusted_file(data)
    schema, words = store.load_vocabulary(prepared.path)
    known = store.targets(prepared.path)
    blocks = list(encode(path, data, schema, words, known, labelled=True, whole=True))
    if not any(block.num_rows for block in blocks):
        raise UserError(f"--config.data.trusted={path}: no rows in this file")
    return joined(blocks)


def _trusted_file(data: config.Data) -> Path:
    path = Path(data.trusted)
    if not path.is_file():
        raise UserError(f"--config.data.trusted={path}: no such file")
    return path


class Encoded(NamedTuple):
    """A block of rows of a file, in a known vocabulary."""

    rows: dict[str, np.ndarray]  # as `Encoder.encode` gives
    kept: pl.DataFrame  # columns of the file that were asked for, as words
    gaps: np.ndarray  # of each row that was left out: how many of these rows are before it

    @property
    def num_rows(self) -> int:
        """How many rows were read."""
        return len(self.rows["x"])


def joined(blocks: list[Encoded]) -> dict[str, np.ndarray]:
    """The rows of all blocks, at least one, as arrays."""
    first = blocks[0].rows
    return {name: np.concatenate([block.rows[name] for block in blocks]) for name in first}


def encode(
    path: Path,
    data: config.Data,
    schema: Schema,
    words: pl.DataFrame,
    targets: pl.DataFrame | None = None,
    *,
    labelled: bool,
    whole: bool = False,
    unfamiliar: Unfamiliar | None = None,
    keep: tuple[str, ...] = (),
) -> Iterator[Encoded]:
    """Blocks of another file of the same format, in its order, in a known vocabulary. Unless it
    must be `whole`, columns that are context alone may be missing. `unfamiliar` counts what train
    had not; `keep` names columns that are kept.
    """
    if not path.is_file():
        raise UserError(f"--config.data.path={path}: no such file")
    names = sources.fields(path, data, labelled=labelled)
    if names != schema.fields:
        raise UserError(
            f"{path}: its fields are {', '.join(names)}; the model was trained on "
            f"{', '.join(schema.fields)}"
        )
    encoder = Encoder.of(data, schema, words, targets)
    for block in sources.read(path, data, labelled=labelled, keep=keep):
        if missing := [n for n in schema.context if whole and n not in block.frame.columns]:
            raise UserError(f"{path}: no column {missing[0]!r}, which is in --config.data.context")
        if not block.frame.height and not len(block.gaps):
            continue
        rows = chunk.of([block], data.bag_size)
        found = encoder.encode(rows)
        if unfamiliar:
            unfamiliar.add(encoder, rows.rows, found["x"])
        yield Encoded(found, block.kept, block.gaps)


def _build(
    job: Job,
    executor: Executor,
    files: dict[str, tuple[Path, ...]],
    fingerprint: str,
    say: Say,
    shown: bool,
) -> None:
    """The passes, into a folder that is not yet the store."""
    started, data = time.monotonic(), job.data
    title = f"preparing {data.name or data.path}"
    fields = sources.fields(next(iter(files.values()))[0], data)
    for name in data.hash:
        if name not in fields or name in data.numeric + data.values:
            raise UserError(
                f"--config.data.hash: {name!r} is not a field of words; the fields are "
                f"{', '.join(fields)}"
            )
    say(f"{title}: reading")
    parts = _read(job, executor, files, title if shown else "")
    rows = division.divide(parts, data)
    for name in formats.context_only(data):
        if name not in parts[0].facts.fields:
            known = parts[0].facts.fields
            raise UserError(
                f"--config.data.context: {name!r} is not a column of {data.path}, which has "
                f"{', '.join(known)}{nearest(name, known)}"
            )
    for name, count in rows.items():
        if not count and (name != "test" or data.split[2]):
            raise UserError(
                f"--config.data.path={data.path}: no rows for {name}; give more rows, or another "
                "--config.data.split"
            )
    say(f"{title}: counting values")
    schema, words = vocabulary.learn(job, executor, parts, rows, fingerprint)
    words.write_parquet(job.store / store.VOCABULARY)
    (job.store / store.SCHEMA).write_text(schema.to_json())
    say(f"{title}: encoding {sum(rows.values()):,} rows")
    _encode(job, executor, parts, schema, files)
    for name in data.bags:
        if cut := sum(part.facts.cut.get(name, 0) for part in parts):
            say(
                f"{cut:,} cells of {name} hold more than {data.bag_size} values, of which the "
                "first are kept; --config.data.bag_size says how many"
            )
    seconds = time.monotonic() - started
    say(
        f"prepared {schema.name}: "
        + ", ".join(f"{count:,} {name}" for name, count in rows.items())
        + f" rows, {schema.num_fields} fields, {schema.num_rows:,} values"
        + (f", {schema.num_skipped:,} rows left out" if schema.num_skipped else "")
        + f", {seconds:.1f} s, {sum(rows.values()) / seconds:,.0f} rows/s"
    )


def _read(
    job: Job, executor: Executor, files: dict[str, tuple[Path, ...]], title: str
) -> list[Part]:
    """The chunks of all files, in the order of their rows, made now or found."""
    tasks = [
        stretch
        for i, (split, paths) in enumerate(files.items())
        for j, path in enumerate(paths)
        for stretch in stages.stretches(path, split, f"{i}-{split}-{j:05d}", job)
    ]
    done, total = 0.0, sum(task.num_bytes for task in tasks)
    with Bar(f"{title}: reading, MB", total >> 20, 0, shown=bool(title)) as bar:
        for num_bytes in executor.each(stages.read, job, tasks):
            done += num_bytes
            bar.step(int(done) >> 20)
    parts = [Part.of(folder) for folder in sorted(job.chunks.glob("[0-9]*"))]
    first = parts[0].facts.fields
    for part in parts:
        if part.facts.fields != first:
            raise UserError(
                f"{part.facts.path}: {len(part.facts.fields)} fields, where the other files have "
                f"{len(first)}"
            )
    return parts


def _encode(
    job: Job,
    executor: Executor,
    parts: list[Part],
    schema: Schema,
    files: dict[str, tuple[Path, ...]],
) -> None:
    """The shards, and what is known only now: rates in the schema, and the sums of all files."""
    unknown: dict[str, Any] = dict.fromkeys(SPLITS, 0)
    found: dict[str, str] = {}
    classes: set[int] = set()
    for facts in executor.each(stages.encode, job, enumerate(part.folder for part in parts)):
        for name, counts in facts["unknown"].items():
            unknown[name] += np.array(counts)
        found |= facts["sums"]
        classes.update(facts["classes"])
    if len(classes) < 2:
        path = next(iter(files.values()))[0]
        raise UserError(f"{path}: every training label is the same; nothing can be learnt")
    none = np.zeros(schema.num_fields)
    rates = {
        name: ((unknown[name] + none) / max(count, 1)).tolist()
        for name, count in schema.num_examples.items()
    }
    (job.store / store.SCHEMA).write_text(dataclasses.replace(schema, oov_rate=rates).to_json())
    found |= {name: sums.of(job.store / name) for name in store.encoding_files(job.store)}
    atomic.write_json(job.store / sums.NAME, dict(sorted(found.items())))


def fingerprint(data: config.Data) -> str:
    """Of what `data.path` holds and of how it is prepared: two datasets with one are the same."""
    return _fingerprint(data, find_splits(data))


def _fingerprint(data: config.Data, files: dict[str, tuple[Path, ...]]) -> str:
    """Of the content of the files and of every setting that the store depends on."""
    contents = {split: [sums.of(path) for path in paths] for split, paths in files.items()}
    names = SETTINGS + (SLOTTED if data.values or data.bags else []) + (HASHED if data.hash else [])
    settings = {name: getattr(data, name) for name in names}
    if data.train_on_trusted:  # values of val enter the vocabulary; its name in the first format
        settings["controller_share"] = data.trusted_share
    if context := formats.context_only(data):
        settings["context"] = context
    if data.crosses:
        settings["crosses"] = data.crosses
    if data.target_encoding:
        settings["target_encoding"] = data.target_encoding
    if data.weight:
        settings["weight"] = data.weight
    if data.positive:
        settings["positive"] = data.positive
    if data.classes:
        settings["classes"] = data.classes
    if data.na_values:
        settings["na_values"] = data.na_values
    if data.header != "auto":
        settings["header"] = data.header
    if data.trusted:
        settings["trusted"] = sums.of(_trusted_file(data))
    settings["parquet"] = next(iter(files.values()))[0].suffix
    return hashlib.sha256(
        json.dumps([VERSION, settings, contents], sort_keys=True).encode()
    ).hexdigest()


def store_folder(data: config.Data, fingerprint: str) -> Path:
    """Where the store of a dataset is, once it is prepared."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", data.name) or "data"
    return cache_folder(data) / f"{name}-{fingerprint[:16]}"


def cache_folder(data: config.Data) -> Path:
    """Where prepared datasets are kept."""
    if data.cache:
        return Path(data.cache)
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "autoloss_jax"
    if home := os.environ.get("HOME"):
        return Path(home) / ".cache" / "autoloss_jax"
    return _own_folder(Path(tempfile.gettempdir()) / f"autoloss_jax-{os.getuid()}")


def _own_folder(folder: Path) -> Path:
    """A folder in one that all users share, into which nobody else writes."""
    folder.mkdir(mode=0o700, exist_ok=True)
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o022:
        raise UserError(
            f"{folder}: others may write here, and what is kept here is trusted; set "
            "--config.data.cache, or HOME"
        )
    return folder
