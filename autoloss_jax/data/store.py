"""A prepared dataset on disk: schema.json, vocabulary.parquet, and shards of rows, each as x
int32[n, S], y int32[n] and, where they are needed, v float32[n, S] and weight float32[n],
memory-mapped.
"""

import contextlib
import dataclasses
import hashlib
import json
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

SPLITS = ("train", "val", "test")
SCHEMA, VOCABULARY, SUMS = "schema.json", "vocabulary.parquet", "sha256.json"
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
        for name in encoding_files(self.path):
            with whole(workdir / name) as temporary:
                shutil.copyfile(self.path / name, temporary)

    def damaged(self) -> list[str]:
        """The names of files whose content is not what was written; reads all of them."""
        try:
            sums = json.loads((self.path / SUMS).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path / SUMS}: cannot be read ({error})") from error
        return [name for name, known in sums.items() if sum_of(self.path / name) != known]


def open_store(path: Path) -> Store:
    """The dataset in a folder; UserError if its arrays are not what its schema says."""
    store = Store(path, read_schema(path))
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
    values in the order of ids.
    """
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
    if not path.exists():
        return None
    return _read(path)


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
    sums = {}
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
        sums[path.name] = sum_of(path)
    return sums


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes `path` once it is all there; what a kill left there is written
    over.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    temporary.replace(path)


def sum_of(path: Path) -> str:
    """The SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="r"))  # not as a memmap, which is slow to index
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete the folder and run again"
        ) from error
