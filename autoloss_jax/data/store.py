"""A prepared dataset on disk: schema.json, vocabulary.parquet, and per split x int32[n, F] and y int32[n], memory-mapped."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax.config import UserError
from autoloss_jax.data.schema import Schema

SPLITS = ("train", "val", "test")
SCHEMA, VOCABULARY = "schema.json", "vocabulary.parquet"


@dataclasses.dataclass(frozen=True)
class Store:
    """A whole prepared dataset."""

    path: Path
    schema: Schema

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(x int32[n, F], y int32[n]) of "train", "val" or "test"; x holds global ids."""
        return _mapped(self.path / f"{name}.x.npy"), _mapped(self.path / f"{name}.y.npy")

    def copy_to(self, workdir: Path) -> None:
        """Put what encodes new rows beside a run: the schema and the vocabulary."""
        for name in (VOCABULARY, SCHEMA):
            temporary = workdir / f".{name}.{os.getpid()}.tmp"
            shutil.copyfile(self.path / name, temporary)
            temporary.replace(workdir / name)


def open_store(path: Path) -> Store:
    """The dataset in a folder; UserError if its arrays are not what its schema says."""
    store = Store(path, read_schema(path))
    for name in SPLITS:
        x, y = store.split(name)
        rows = store.schema.num_examples[name]
        if (
            x.shape != (rows, store.schema.num_fields)
            or y.shape != (rows,)
            or x.dtype != np.int32
            or y.dtype != np.int32
        ):
            raise UserError(f"{path}: {name} is not what {SCHEMA} says; delete the folder and run again")
    return store


def read_schema(folder: Path) -> Schema:
    """The schema in a folder."""
    try:
        return Schema.from_json((folder / SCHEMA).read_text(), str(folder / SCHEMA))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / SCHEMA}: cannot be read ({error})") from error


def load_vocabulary(folder: Path) -> tuple[Schema, pl.DataFrame]:
    """(Schema, vocabulary with the columns field, value) of a store or of a run's workdir; values in the order of ids."""
    schema = read_schema(folder)
    try:
        vocabulary = pl.read_parquet(folder / VOCABULARY, columns=["field", "value"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{folder / VOCABULARY}: cannot be read ({str(error).splitlines()[0]})") from error
    if vocabulary.height + schema.num_fields != schema.num_rows:
        raise UserError(f"{folder}: {VOCABULARY} and {SCHEMA} do not belong together")
    return schema, vocabulary


def create(folder: Path, name: str, rows: int, num_fields: int) -> tuple[np.memmap, np.memmap]:
    """New arrays of a split, to be filled."""
    make = np.lib.format.open_memmap
    return (
        make(folder / f"{name}.x.npy", mode="w+", dtype=np.int32, shape=(rows, num_fields)),
        make(folder / f"{name}.y.npy", mode="w+", dtype=np.int32, shape=(rows,)),
    )


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete the folder and run again") from error
