"""Scores of rows as a file: Parquet, Arrow, CSV or TSV, by what it is called."""

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.distributed import atomic

Sink = Callable[[pl.LazyFrame, Path], Any]


SINKS: dict[str, Sink] = {
    "": pl.LazyFrame.sink_parquet,
    ".parquet": pl.LazyFrame.sink_parquet,
    ".pq": pl.LazyFrame.sink_parquet,
    ".arrow": pl.LazyFrame.sink_ipc,
    ".feather": pl.LazyFrame.sink_ipc,
    ".csv": pl.LazyFrame.sink_csv,
    ".tsv": functools.partial(pl.LazyFrame.sink_csv, separator="\t"),
}


def check(output: Path, inputs: Iterable[Path] = ()) -> None:
    """UserError for a name of no known kind, one in no folder, and one of the inputs."""
    if output.suffix.lower() not in SINKS:
        raise UserError(
            f"--output={output}: its name says of what kind it is; wants one of "
            f"{', '.join(filter(None, SINKS))}"
        )
    if not output.parent.is_dir():
        raise UserError(f"--output={output}: cannot be written: {output.parent} is no folder")
    for path in inputs:
        if output.exists() and output.samefile(path):
            raise UserError(
                f"--output={output}: these are the rows to score, which the scores would replace; "
                "name another file, with --keep for columns of theirs"
            )


def write(frames: Iterator[pl.DataFrame], schema: pl.Schema, output: Path) -> None:
    """Frames of this schema, one after another, into a file that appears whole or not at all."""
    scan = register_io_source(lambda *_: frames, schema=schema)
    try:
        with atomic.replacing(output) as temporary:
            SINKS[output.suffix.lower()](scan, temporary)
    except (OSError, pl.exceptions.PolarsError) as error:
        what = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"--output={output}: cannot be written ({what})") from error
