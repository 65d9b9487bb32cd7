"""What a person would pick instead: the same figures as from those libraries on raw columns."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as theirs

from autoloss_jax import Config, config
from autoloss_jax.cli import modes
from autoloss_jax.config import presets
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.search import train as searching
from autoloss_jax.training import baselines, boosting, interactions, report
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import divide


def quiet(_):
    pass


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with splits of a table of every kind of column, and its config."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    n = 4000
    site, age = rng.integers(0, 30, n), rng.normal(40, 10, n)
    price, tags = rng.lognormal(size=n), rng.integers(0, 5, (n, 2))
    z = rng.normal(size=30)[site] + np.sin(age / 5) - np.abs(np.log(price)) + (tags == 3).any(1)
    frame = pl.DataFrame(
        {
            "site": [f"s{v}" for v in site],
            "age": [None if rng.random() < 0.05 else v for v in age],
            "price": price,
            "tags": [f"t{a}|t{b}" for a, b in tags],
            "label": (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int),
        }
    )
    parts = {"train": frame[:2400], "valid": frame[2400:3000], "test": frame[3000:]}
    for name, part in parts.items():
        part.write_parquet(folder / f"{name}.parquet")
    data = config.Data(
        path=str(folder),
        cache=str(folder / "cache"),
        categorical=("site",),
        numeric=("age",),
        values=("price",),
        bags=("tags",),
        num_buckets=16,
        trusted_share=0.0,
    )
    return Config(data=data), parts


def opened(table):
    run = Run.of(table[0].replace({"method.name": "ce"}))
    data = pipeline.prepare(run.data, quiet)
    splits = divide(run, data)
    return baselines.Rows(splits.train, splits.val, splits.test), data


def auc(fitted, rows):
    return theirs.roc_auc_score(np.asarray(rows.test["y"]), fitted.test[:, 0])


def test_lightgbm_is_as_good_as_on_the_raw_columns(table):
    """Within what 16 buckets of a number cost."""
    lightgbm = pytest.importorskip("lightgbm")
    rows, data = opened(table)
    found = auc(boosting.lightgbm(rows, data), rows)

    def raw(part):
        one_hot = [part["tags"].str.split("|").list.contains(f"t{v}").to_numpy() for v in range(5)]
        site = part["site"].str.strip_prefix("s").cast(pl.Int32).to_numpy()
        age = part["age"].fill_null(float("nan")).to_numpy()
        return np.stack([site, age, part["price"].to_numpy(), *one_hot], axis=1)

    x = {name: raw(part) for name, part in table[1].items()}
    y = {name: part["label"].to_numpy() for name, part in table[1].items()}
    learned = lightgbm.Dataset(x["train"], y["train"], categorical_feature=[0])
    model = lightgbm.train(
        {"objective": "binary", "verbosity": -1},
        learned,
        2000,
        [lightgbm.Dataset(x["valid"], y["valid"], reference=learned)],
        callbacks=[lightgbm.early_stopping(50, verbose=False)],
    )
    best = theirs.roc_auc_score(y["test"], model.predict(x["test"]))
    assert abs(found - best) < 0.015 and found > 0.7


@pytest.mark.parametrize("name", ["constant", "logistic", "lightgbm", "catboost"])
def test_a_baseline_is_a_method_with_the_figures_of_its_logits(name, table, tmp_path):
    if name in ("lightgbm", "catboost"):
        pytest.importorskip(name)
    cfg = table[0].replace({"method.name": name, "train.monitor": "logloss"})
    result = searching.train(cfg, tmp_path, quiet, shown=False)
    rows, data = opened(table)
    fitted = getattr(boosting, name, getattr(baselines, name, None))(rows, data, 0)
    labels, p = np.asarray(rows.test["y"]), 1 / (1 + np.exp(-fitted.test[:, 0]))
    assert result["test"]["logloss"] == pytest.approx(theirs.log_loss(labels, p), abs=1e-6)
    assert result["test"]["auc"] == pytest.approx(theirs.roc_auc_score(labels, p), abs=1e-9)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert searching.train(cfg, tmp_path, quiet, shown=False) == result
    assert (result["test"]["auc"] == 0.5) == (name == "constant")


def test_one_label_alone_is_said(table):
    rows, data = opened(table)
    alone = tuple({**part, "y": 0 * np.asarray(part["y"])} for part in rows.learned)
    with pytest.raises(UserError, match=r"only labels \[0\] among"):
        baselines.logistic(rows._replace(learned=alone), data)
    assert interactions.Interactions(alone, data).found() == ()


def test_a_baseline_has_the_columns_as_they_are_or_the_inputs_of_a_recommender(table, tmp_path):
    for name, part in table[1].items():
        kind = pl.Series("kind", np.arange(part.height) % 3).cast(pl.String)
        both = (part["site"] + kind).alias("both")
        part.with_columns(kind, both).write_parquet(tmp_path / f"{name}.parquet")
    columns = ("site", "kind")
    keys = {"data.path": str(tmp_path), "data.categorical": columns, "method.name": "logistic"}
    plain = table[0].replace(keys)
    crossed = plain.replace({"data.crosses": ("site*kind",)})
    by_hand = plain.replace({"data.categorical": (*columns, "both")})
    same = crossed.replace({"method.same_inputs": True})
    of_plain, of_crossed, of_same, of_hand = (
        searching.train(cfg, tmp_path / str(i), quiet, shown=False)["test"]
        for i, cfg in enumerate((plain, crossed, same, by_hand))
    )
    assert of_plain == of_crossed
    assert of_same["logloss"] == pytest.approx(of_hand["logloss"], abs=1e-4)
    assert abs(of_same["logloss"] - of_plain["logloss"]) > 5e-4


def test_a_library_that_is_not_there_is_said_with_how_to_get_it(table, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"lightgbm is not installed; pip install lightgbm"):
        searching.train(table[0].replace({"method.name": "lightgbm"}), tmp_path, quiet)


def test_several_classes(table, tmp_path):
    three = [
        part.with_columns(label=pl.Series(np.arange(part.height) % 3)) for part in table[1].values()
    ]
    for name, part in zip(("train", "valid", "test"), three, strict=True):
        part.write_parquet(tmp_path / f"{name}.parquet")
    cfg = table[0].replace({"data.path": str(tmp_path), "data.num_classes": 3})
    rows, data = opened((cfg, None))
    for name in ("constant", "logistic"):
        fitted = getattr(baselines, name)(rows, data, 0)
        assert fitted.test.shape == (1000, 3)
        assert baselines.figures(rows, fitted)["logloss"] == pytest.approx(np.log(3), abs=0.05)


def test_a_mistyped_method_to_compare_with_is_said_before_anything_is_trained(table, tmp_path):
    with pytest.raises(UserError, match=r"'lihgtgbm': not a method.*did you mean 'light"):
        modes.train(table[0].replace({"run.compare": ("lihgtgbm",)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def outcome(method, val, test=None):
    test = {"logloss": None, "logloss_calibrated": None} | (test or {})
    rows = {"val": 10, "test": 10 if test["logloss"] else 0}
    return {"method": method, "val": val, "test": test, "num_examples": rows}


def test_what_has_the_lower_logloss_is_said():
    own = outcome("ce", {"logloss": 0.1}, {"logloss": 0.6, "logloss_calibrated": 0.5})
    low = outcome("logistic", {"logloss": 0.9}, {"logloss": 0.9, "logloss_calibrated": 0.4})
    high = outcome("constant", {"logloss": 0.0}, {"logloss": 0.1, "logloss_calibrated": 0.7})
    assert report.better(own, [low, high]) == ["logistic"]
    own, other = outcome("ce", {"logloss": 0.5}), {"logloss": 0.4, "logloss_calibrated": 0.6}
    assert report.better(own, [outcome("constant", other)]) == ["constant"]
    assert report.better(own, []) == []


@pytest.mark.slow
def test_the_last_line_says_what_is_better(table, tmp_path, monkeypatch, capsys):
    """Labels by chance: nothing beats one probability for all."""
    rng = np.random.default_rng(0)
    for name, part in table[1].items():
        chance = part.with_columns(label=(rng.random(part.height) < 0.3).astype(int))
        chance.write_parquet(tmp_path / f"{name}.parquet")
    keys = {"data.path": str(tmp_path), "method.name": "ce", "train.epochs": 2, "model.members": 1}
    compare = {"run.compare": ("constant", "logistic"), "data.crosses": ()}
    modes.train(table[0].replace(presets.BY_RULE | keys | compare), tmp_path / "run")
    said = capsys.readouterr()
    assert "constant" in said.out and "logistic" in said.out
    better = json.loads((tmp_path / "run" / "result.json").read_text())["better"]
    assert "constant" in better
    assert "a lower logloss than this recommender's" in said.err.splitlines()[-1]
