"""A prepared dataset on disk: schema.json, vocabulary.parquet, and per split x int32[n, S], y int32[n] and, where some field needs it, v float32[n, S], memory-mapped."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax.data.schema import Schema
from autoloss_jax.settings import UserError

SPLITS = ("train", "val", "test")
SCHEMA, VOCABULARY = "schema.json", "vocabulary.parquet"


@dataclasses.dataclass(frozen=True)
class Store:
    """A whole prepared dataset."""

    path: Path
    schema: Schema

    def split(self, name: str) -> dict[str, np.ndarray]:
        """{"x": int32[n, S], "y": int32[n]} of "train", "val" or "test", x global ids; "v" too if the schema is weighted."""
        return {part: _mapped(self.path / f"{name}.{part}.npy") for part in _layout(self.schema)}

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
        found = {part: (a.dtype.str, a.shape) for part, a in store.split(name).items()}
        rows = store.schema.num_examples[name]
        wanted = {p: (kind, (rows, *shape)) for p, (kind, shape) in _layout(store.schema).items()}
        if found != wanted:
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


def _layout(schema: Schema) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Array of a split -> its type, and its shape after the rows."""
    slots = (sum(schema.slots),)
    layout: dict[str, tuple[str, tuple[int, ...]]] = {"x": ("<i4", slots), "y": ("<i4", ())}
    return layout | ({"v": ("<f4", slots)} if schema.weighted else {})


@contextlib.contextmanager
def writer(folder: Path, schema: Schema) -> Iterator[Callable[[str, dict[str, np.ndarray]], None]]:
    """A function (split, its arrays) that appends rows to a split; `num_examples` of each are to come.

    Plain writes: through a memory map, a full disk would end the process without a word.
    """
    layout = _layout(schema)
    with contextlib.ExitStack() as stack:
        files = {}
        for name in SPLITS:
            for part, (kind, shape) in layout.items():
                file = stack.enter_context((folder / f"{name}.{part}.npy").open("wb"))
                header = {"descr": kind, "fortran_order": False, "shape": (schema.num_examples[name], *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                files[name, part] = file

        def append(name: str, block: dict[str, np.ndarray]) -> None:
            for part, (kind, _) in layout.items():
                files[name, part].write(np.ascontiguousarray(block[part], kind).data)

        yield append


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete the folder and run again") from error
