"""Rows that lie elsewhere: the same data, wherever they come from."""

from pathlib import Path

import fsspec
import polars as pl
import pytest

import autoloss_jax
from autoloss_jax import Config, UserError
from autoloss_jax.data import origin, source
from tests.support.logs import log
from tests.support.runs import quiet


@pytest.fixture
def folder(tmp_path):
    log("linear", 300).write_csv(tmp_path / "log.csv")
    return tmp_path


@pytest.fixture
def memory():
    """A store of files at memory://."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def config(folder, **data):
    keys = {"data.cache": str(folder / "cache"), "data.split": (0.8, 0.2, 0.0), "method.name": "ce"}
    small = {"model.name": "lr", "train.epochs": 2, "train.batch_size": 50}
    return Config().replace(keys | small | {f"data.{name}": value for name, value in data.items()})


def test_a_query_is_the_rows_that_it_gives(folder):
    path = folder / "log.csv"
    query = f"SELECT * EXCLUDE d FROM '{path}' WHERE a < 'a3'"
    found = source.resolved(config(folder, query=query), folder, quiet)
    rows = pl.read_csv(path).filter(pl.col("a") < "a3").drop("d")
    assert pl.read_parquet(found.data.path).equals(rows)
    assert source.resolved(config(folder, query=query), folder, quiet) == found
    run = autoloss_jax.train(config(folder, query=query), folder / "run", progress=False)
    more = autoloss_jax.train(config(folder, query=query), folder / "run", progress=False)
    assert run.result == more.result and run.evaluate()["split"] == "val"
    pl.read_csv(path).head(200).write_csv(path)  # it has changed below the query
    with pytest.raises(UserError, match="other data"):
        autoloss_jax.train(config(folder, query=query), folder / "run", progress=False)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 1; DROP TABLE t", "one statement"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("CREATE TABLE t (a INT)", "one statement"),
        ("", "name the dataset's file"),
    ],
)
def test_a_query_that_is_none_is_one_line(folder, query, said):
    with pytest.raises(UserError, match=said) as error:
        source.resolved(config(folder, query=query), folder, quiet)
    assert "\n" not in str(error.value)


def test_a_url_is_what_lies_there(folder, memory):
    text, said = (folder / "log.csv").read_bytes(), []
    for place in ("one/log.csv", "parts/a.csv", "parts/b.csv"):
        memory.pipe(f"/{place}", text)
    for url, read in (
        ("memory://one/log.csv", 1),
        ("memory://parts/*.csv", 2),
        ("memory://parts", 2),
    ):
        data = origin.here(config(folder, path=url).data, said.append)
        assert len(autoloss_jax.data.read.files.find_all(data)) == read
    assert len(said) == 3
    again = origin.here(config(folder, path="memory://one/log.csv").data, said.append)
    assert len(said) == 3 and Path(again.path).read_bytes() == text
    memory.pipe("/one/log.csv", text + text.splitlines(keepends=True)[1])
    newer = origin.here(config(folder, path="memory://one/log.csv").data, said.append)
    assert len(said) == 4 and newer.path != again.path
    run = autoloss_jax.train(config(folder, path=again.path), folder / "run", progress=False)
    figures = [run.evaluate(path) for path in ("memory://parts/a.csv", folder / "log.csv")]
    assert figures[0]["logloss"] == figures[1]["logloss"]


@pytest.mark.parametrize(
    "url", ["memory://no/where.csv", "nonsense://x/y.csv", "memory://no/*.csv"]
)
def test_a_url_where_nothing_is_is_one_line(folder, memory, url):
    with pytest.raises(UserError, match=r"config\.data\.path=") as error:
        origin.here(config(folder, path=url).data, quiet)
    assert "\n" not in str(error.value)
