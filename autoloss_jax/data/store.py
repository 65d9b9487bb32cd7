"""A prepared dataset on disk: schema.json, vocabulary.parquet, and shards of rows, each as x
int32[n, S], y int32[n] and, where they are needed, v float32[n, S] and weight float32[n],
memory-mapped.
"""

import contextlib
import dataclasses
import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.data.read.text import UNREADABLE
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.shards import Shards
from autoloss_jax.distributed import atomic, sums

SPLITS = ("train", "val", "test")
SCHEMA, VOCABULARY = "schema.json", "vocabulary.parquet"
TARGETS = "targets.parquet"  # what train's labels say of values, where that is an input


@dataclasses.dataclass(frozen=True)
class Store:
    """A whole prepared dataset."""

    path: Path
    schema: Schema

    def split(self, name: str) -> dict[str, np.ndarray]:
        """{"x": int32[n, S], "y": int32[n]} of "train", "val" or "test", x global ids; "v" too
        if the schema is weighted.

        What has several shards is a `Shards`, which does what is asked of a split: its length,
        its rows, np.asarray.
        """
        return {part: self._array(name, part) for part in _layout(self.schema)}

    def _array(self, name: str, part: str) -> np.ndarray:
        arrays = [_mapped(path) for path in sorted(self.path.glob(f"{name}-*.{part}.npy"))]
        if len(arrays) > 1:
            return cast(np.ndarray, Shards(tuple(arrays)))
        kind, shape = _layout(self.schema)[part]
        return arrays[0] if arrays else np.zeros((0, *shape), kind)

    def copy_to(self, workdir: Path) -> None:
        """Put what encodes new rows beside a run: the schema, the vocabulary, and what train's
        labels say of values.
        """
        names = encoding_files(self.path)
        sums.drop(workdir, *names)
        for name in names:
            with atomic.replacing(workdir / name) as temporary:
                shutil.copyfile(self.path / name, temporary)
        sums.keep(workdir, *names)

    def damaged(self) -> list[str]:
        """The names of files whose content is not what was written; reads all of them."""
        known = sums.known(self.path)
        if VOCABULARY not in known:
            raise UserError(f"{self.path / sums.NAME}: lacks the sums of what is here")
        others = {path.name for path in self.path.glob("*.npy")} - {*known}
        return [*sorted(others), *(n for n, sum in known.items() if sums.of(self.path / n) != sum)]

    def verify(self) -> None:
        """UserError where a file is not what was written; reads all of them."""
        if damaged := self.damaged():
            raise UserError(
                f"{self.path}: damaged: {', '.join(damaged)}; delete the folder and prepare it "
                "again"
            )
        self.remember()

    def remember(self) -> None:
        """Take down that the files, as they lie here, are what was written."""
        with contextlib.suppress(OSError, UserError):  # of a cache that others own
            atomic.write_json(self._verified, {platform.node(): self._stamps()})

    def is_verified(self) -> bool:
        """Whether the files lie here as they did when they were last verified on this machine."""
        try:
            return json.loads((self._verified).read_text())[platform.node()] == self._stamps()
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @property
    def _verified(self) -> Path:
        return self.path.with_name(f".{self.path.name}.verified")

    def _stamps(self) -> dict[str, list[int]]:
        """Inode, time and size of each file."""
        found = {}
        for name in sorted({*sums.known(self.path), *(p.name for p in self.path.glob("*.npy"))}):
            there = (self.path / name).stat()
            found[name] = [there.st_ino, there.st_mtime_ns, there.st_size]
        return found


def open_store(path: Path) -> Store:
    """The dataset in a folder, verified once on a machine; UserError if it is damaged, or its
    arrays are not what its schema says.
    """
    store = Store(path, read_schema(path))
    if not store.is_verified():
        store.verify()
    for name in SPLITS:
        found = {part: (a.dtype.str, a.shape) for part, a in store.split(name).items()}
        rows = store.schema.num_examples[name]
        wanted = {p: (kind, (rows, *shape)) for p, (kind, shape) in _layout(store.schema).items()}
        if found != wanted:
            raise UserError(
                f"{path}: {name} is not what {SCHEMA} says; delete the folder and run again"
            )
    return store


def read_schema(folder: Path) -> Schema:
    """The schema in a folder."""
    try:
        return Schema.from_json((folder / SCHEMA).read_text(), str(folder / SCHEMA))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / SCHEMA}: cannot be read ({error})") from error


def load_vocabulary(folder: Path) -> tuple[Schema, pl.DataFrame]:
    """(Schema, vocabulary with the columns field, value) of a store or of a run's workdir;
    values in the order of ids. UserError for what is not as it was written.
    """
    sums.check(folder, SCHEMA, VOCABULARY)
    schema = read_schema(folder)
    vocabulary = _read(folder / VOCABULARY, ["field", "value"])
    if vocabulary.height + schema.num_fields + sum(schema.hashed.values()) != schema.num_rows:
        raise UserError(f"{folder}: {VOCABULARY} and {SCHEMA} do not belong together")
    return schema, vocabulary


def encoding_files(folder: Path) -> list[str]:
    """Those of a store that new rows are encoded by; the schema, which says that all are there, is
    the last.
    """
    return [VOCABULARY, *([TARGETS] if (folder / TARGETS).exists() else []), SCHEMA]


def targets(folder: Path) -> pl.DataFrame | None:
    """What train's labels say of values, of a store or of a run's workdir; None: it is no input."""
    path = folder / TARGETS
    sums.check(folder, TARGETS)
    return _read(path) if path.exists() else None


def _read(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=columns, glob=False)
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)})") from error


def words(folder: Path, field: str) -> list[str]:
    """What a field's values are called, in the order of its rows after the first; nothing of a
    hashed one.
    """
    _, vocabulary = load_vocabulary(folder)
    return vocabulary.filter(pl.col("field") == field)["value"].cast(pl.String).to_list()


def value_names(folder: Path, field: str, size: int) -> list[str]:
    """The same, and of a hashed field with `size` rows their numbers."""
    return words(folder, field) or [str(number) for number in range(1, size)]


def _layout(schema: Schema) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Array of a split -> its type, and its shape after the rows."""
    slots = (sum(schema.slots),)
    layout: dict[str, tuple[str, tuple[int, ...]]] = {"x": ("<i4", slots), "y": ("<i4", ())}
    layout |= {"v": ("<f4", slots)} if schema.weighted else {}
    return layout | ({"weight": ("<f4", ())} if schema.row_weights else {})


def write_shard(
    folder: Path, split: str, number: int, rows: dict[str, np.ndarray]
) -> dict[str, str]:
    """Put rows into a shard of a split, whole or not at all; {file: its SHA-256}.

    Plain writes: through a memory map, a full disk would end the process without a word.
    """
    found = {}
    for part, array in rows.items():
        path = folder / f"{split}-{number:05d}.{part}.npy"
        with whole(path) as temporary, temporary.open("wb") as file:
            header = {
                "descr": array.dtype.newbyteorder("<").str,
                "fortran_order": False,
                "shape": array.shape,
            }
            np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(array, header["descr"]).data)
        found[path.name] = sums.of(path)
    return found


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes `path` once it is there; what a kill left there is removed."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    yield temporary
    temporary.replace(path)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="r"))  # not as a memmap, which is slow to index
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete the folder and run again"
        ) from error
