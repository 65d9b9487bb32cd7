"""What a table's columns are taken for, where nobody has said."""

import datetime

import numpy as np
import polars as pl
import pytest

import autoloss_jax
from autoloss_jax import Config, UserError
from autoloss_jax.config import Data
from autoloss_jax.data.read import columns
from tests.support import runs

ROWS = 2000


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    site = random.integers(0, 40, ROWS)
    return pl.DataFrame(
        {
            "row": np.arange(ROWS),
            "click": (random.random(ROWS) < 0.3 + 0.4 * (site % 2)).astype(int),
            "site": [f"s{v}" for v in site],
            "user": random.integers(0, 200, ROWS),
            "price": np.round(random.lognormal(2, 1, ROWS), 2),
            "views": np.floor(random.lognormal(6, 1, ROWS)).astype(int),
            "token": [f"t{v}" for v in range(ROWS)],
            "new": random.integers(0, 2, ROWS).astype(bool),
            "country": ["nl"] * ROWS,
            "empty": [""] * ROWS,
        }
    )


WANTED = {
    "row": "",
    "site": "categorical",
    "user": "categorical",
    "price": "numeric",
    "views": "numeric",
    "token": "",
    "new": "categorical",
    "country": "",
    "empty": "",
}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_columns_of_a_file_are_taken_for_what_they_hold(table, tmp_path, suffix):
    path, said = tmp_path / f"log.{suffix}", []
    if suffix == "parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    found = columns.declared(Data(path=str(path), label="click"), said.append)
    kinds = {name: kind for kind, names in found.items() for name in names}
    assert kinds == {name: kind for name, kind in WANTED.items() if kind}
    for name, kind in WANTED.items():
        assert sum(line.startswith(f"  {name}: {kind or 'left out'}") for line in said) == 1


def test_types_of_a_frame_that_a_file_of_text_has_not():
    day = pl.Series("day", [datetime.date(2026, 1, 1), None] * 10)
    tags = pl.Series("tags", [["a", "b"], []] * 10)
    blank = pl.Series("age", [31.0, None, 52.0, 31.0] * 10)
    kinds = [columns.taken_for(cells).kind for cells in (day, tags, blank)]
    assert kinds == ["", "bags", "categorical"]


def test_context_label_time_and_weight_are_no_inputs(table, tmp_path):
    table.write_csv(tmp_path / "log.csv")
    data = Data(
        path=str(tmp_path / "log.csv"), label="click", context=("site",), weight="views", time="row"
    )
    found = columns.declared(data, runs.quiet)
    assert found == {"categorical": ("user", "new"), "numeric": ("price",), "bags": ()}


def test_a_path_and_a_label_are_enough_to_train(table, tmp_path):
    table.write_csv(tmp_path / "log.csv")
    cfg = Config().replace(
        {
            "data.path": str(tmp_path / "log.csv"),
            "data.label": "click",
            "data.cache": str(tmp_path / "cache"),
            "model.name": "lr",
            "method.name": "ce",
            "optimizer.learning_rate": 0.05,
            "train.batch_size": 200,
            "train.epochs": 3,
        }
    )
    run = autoloss_jax.train(cfg, tmp_path / "run", progress=False)
    assert run.config.data.categorical == ("site", "user", "new")
    assert run.result["test"]["auc"] > 0.6
    assert run.predict(table.drop("click")).shape == (ROWS,)
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)


def test_nothing_to_learn_from_is_one_line(table, tmp_path):
    path = tmp_path / "log.csv"
    table.select("click", "row", "country").write_csv(path)
    for label, said in (("click", "no column to learn from"), ("klick", "'klick': not a column")):
        with pytest.raises(UserError, match=said):
            columns.declared(Data(path=str(path), label=label), runs.quiet)
