"""Rows that lie elsewhere as files here: those of an SQL query, or at a URL.

They are kept in the cache under a name that says what they are, so that the same rows are the same
data, wherever they came from.
"""

import dataclasses
import hashlib
import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.distributed import sums

FOLDER = "fetched"


def here(data: Data, say: Callable[[str], None]) -> Data:
    """`data` with `path` and `trusted` on this machine; `say` is told what was fetched.

    UserError for a query that is none, and for what cannot be fetched.
    """
    folder = pipeline.cache_folder(data) / FOLDER
    if data.query:
        data = dataclasses.replace(data, path=str(_answer(data.query, folder, say)))
    path, trusted = (
        str(_fetched(name, where, folder, say)) if "://" in where else where
        for name, where in (("path", data.path), ("trusted", data.trusted))
    )
    return dataclasses.replace(data, path=path, trusted=trusted)


def _answer(query: str, folder: Path, say: Callable[[str], None]) -> Path:
    """The rows of a query, as DuckDB answers it, as a Parquet file named by its content."""
    duckdb = _library("duckdb", "--config.data.query", "sql")
    with _written(folder) as temporary:
        path = Path(temporary) / "rows.parquet"
        try:
            kinds = [statement.type.name for statement in duckdb.extract_statements(query)]
            if kinds != ["SELECT"]:
                raise UserError("--config.data.query: wants one statement, which SELECTs rows")
            with duckdb.connect(config={"threads": 1}) as database:  # so the rows are in order
                database.sql(query).write_parquet(str(path))
        except duckdb.Error as error:
            what = first_line(error)
            raise UserError(f"--config.data.query: {what}") from error
        found = folder / f"query-{sums.of(path)[:16]}.parquet"
        if not found.exists():
            path.replace(found)
    say(f"the query's rows: {found}")
    return found


def _fetched(name: str, url: str, folder: Path, say: Callable[[str], None]) -> Path:
    """What is at a URL, or at those that a glob of it names, as a file, or a glob of files."""
    where = f"--config.data.{name}={url}"
    fsspec = _library("fsspec", where, "cloud")
    try:
        system, path = fsspec.url_to_fs(url)
        many = "*" in path or system.isdir(path)
        found = system.glob(path if "*" in path else f"{path.rstrip('/')}/*") if many else [path]
        about = {one: system.info(one) for one in sorted(found)}
        files = [one for one, told in about.items() if told["type"] == "file"]
        if not files:
            raise UserError(f"{where}: no file is there")
        # what is at a URL may change: its size and its time, or tag, are part of the name
        what = json.dumps([url, [about[one] for one in files]], sort_keys=True, default=str)
        target = folder / hashlib.sha256(what.encode()).hexdigest()[:16]
        if not target.exists():
            say(f"fetching {len(files):,} file{'s' * (len(files) > 1)} of {url}")
            with _written(folder) as temporary:
                rows = Path(temporary) / "rows"
                rows.mkdir()
                for one in files:
                    system.get_file(one, str(rows / Path(one).name))
                rows.replace(target)
    except UserError:
        raise
    except Exception as error:  # each library of a cloud has its own
        what = first_line(error)
        raise UserError(f"{where}: {what}") from error
    if not many:
        return target / Path(files[0]).name
    return target / Path(path).name if "*" in path else target


def _library(name: str, flag: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{flag}: needs {name}: pip install 'autoloss-jax[{extra}]'") from None


def _written(folder: Path) -> tempfile.TemporaryDirectory:
    """A folder beside those that it becomes one of."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder, prefix=".")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); name another "
            "--config.data.cache"
        ) from error
