"""What a config leaves to a rule follows from the rows, is said, and can be set."""

import json
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from autoloss_jax import Config, config
from autoloss_jax.algorithm import methods
from autoloss_jax.api import runs
from autoloss_jax.config import presets, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import defaults, loop, report
from tests.support.logs import log
from tests.support.runs import ROOT

TABLE = Config().replace(presets.BY_RULE)
BY_RULE = {"small", "tabular"}  # configs/
OTHERS = [p for p in sorted((ROOT / "configs").glob("*.py")) if p.stem not in BY_RULE]
SIZES = [2, 31, 500, 2_000, 5_600, 100_000, 1_000_000, 45_000_000]


@pytest.mark.parametrize("rows", SIZES)
def test_patience_counts_steps_and_a_training_has_enough_of_them(rows):
    keys = defaults.by_rows(TABLE, rows)
    batch, steps = keys["train.batch_size"], max(rows // keys["train.batch_size"], 1)
    least = 4 if rows > 50_000 else 10
    assert keys["train.patience"] * steps >= 300 and keys["train.patience"] >= least
    assert keys["train.epochs"] * steps >= 6000 and keys["train.epochs"] >= 20
    assert 2 <= batch <= 4096 and (batch <= rows or rows < 2)
    config.check(TABLE.replace(keys | {"data.crosses": ()}))


@pytest.mark.parametrize("given", [{"train.batch_size": 100}, {"train.evaluate_every": 10}])
def test_patience_follows_what_is_given(given):
    keys = defaults.by_rows(TABLE.replace(given), 2000)
    between = given.get("train.evaluate_every") or 2000 // 100
    assert keys["train.patience"] * between >= 300
    assert keys.keys() & given.keys() == set()


@pytest.mark.parametrize("sizes", [[2, 500, 9_000, 50_000], [50_001, 200_000, 45_000_000]])
def test_l2_falls_as_rows_speak(sizes):
    keys = [defaults.by_rows(TABLE, rows) for rows in sizes]
    strengths = [of["optimizer.l2"] for of in keys]
    assert strengths == sorted(strengths, reverse=True) and strengths[0] > strengths[-1]
    assert {of["model.batch_norm"] for of in keys} == {sizes[0] > 50_000}


def test_without_embeddings_l2_is_a_regressions_and_there_is_one_member():
    plain = defaults.by_rows(TABLE, 2000, embeds=False)
    assert plain["optimizer.l2"] == 1 / 2000 and plain["model.members"] == 1


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: p.stem)
def test_the_configs_of_boards_and_of_the_paper_leave_nothing_to_a_rule(path):
    loaded = runpy.run_path(str(path))
    for variant in {"", *loaded["VARIANTS"]} - {"by_rule"}:
        cfg = loaded["get_config"](variant)
        assert defaults.by_rows(cfg, 1000) == {} and not cfg.data.crosses


def test_a_rule_is_said_and_saved_and_the_run_goes_on_with_it(tmp_path, capsys):
    log("pairs", 3000).write_csv(tmp_path / "log.csv")
    keys = presets.BY_RULE | {
        "data.path": str(tmp_path / "log.csv"),
        "data.cache": str(tmp_path / "cache"),
        "data.categorical": ("a", "b", "c", "d"),
        "data.trusted_share": 0.0,
        "method.name": "ce",
        "model.hidden": (8,),
        "model.members": 2,
        "train.epochs": 1,
    }
    cfg = Config().replace(keys)
    run = runs.train(cfg, tmp_path / "run")
    said = capsys.readouterr().err
    rows = f"{run.result['num_examples']['train']:,}"
    assert f"from {rows} rows: model.embed_init_std 0.1, model.batch_norm False, " in said
    assert (
        "optimizer.decay 0.7, optimizer.l2 0.01, train.batch_size 32, train.patience 10, " in said
    )
    assert run.config.train.batch_size == 32 and run.config.model.members == 2
    assert set(run.config.data.crosses) <= {"a*c", "b*c", "a*b"} and run.config.data.crosses
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["patience"] == 10
    assert runs.train(cfg, tmp_path / "run").result == run.result
    with pytest.raises(UserError, match=r"model\.members=2"):
        runs.train(cfg.replace({"model.members": 3}), Path(tmp_path / "run"))


@pytest.mark.parametrize(("key", "value"), [("train.epochs", -1), ("optimizer.l2", -0.5)])
def test_only_the_value_of_a_rule_is_outside_the_range(key, value):
    settings.check(TABLE)
    with pytest.raises(UserError, match=f"--config.{key}="):
        settings.check(TABLE.replace({key: value}))


@pytest.mark.slow
def test_where_evaluations_are_chance_the_mean_of_three_decides_and_a_kill_changes_nothing(
    small, tmp_path
):
    keys = {"method.name": "ce", "train.epochs": 3, "train.evaluate_every": 2}
    cfg = settings.with_keys(small(), keys | {"train.smooth": 3, "train.patience": 99})
    result = loop.train(cfg, tmp_path / "run", lambda _: None)
    rows = [r for r in report.read_log(tmp_path / "run" / "metrics.jsonl") if "val" in r]
    figures = np.array([r["val"]["auc"] for r in rows])
    means = np.convolve(figures, np.full(3, 1 / 3), "valid")
    assert result["best_step"] == rows[int(np.argmax(means)) + 2]["step"]
    assert result["val"]["auc"] == figures[int(np.argmax(means)) + 2]

    def killed(evaluations, val):
        if evaluations == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(cfg, tmp_path / "killed", lambda _: None, killed)
    again = loop.train(cfg, tmp_path / "killed", lambda _: None)
    assert (again["best_step"], again["test"]) == (result["best_step"], result["test"])


@pytest.mark.parametrize(("positives", "smooth"), [(300, 3), (3000, 1)])
def test_few_positives_of_validation_are_averaged_over(tmp_path, positives, smooth):
    rng = np.random.default_rng(0)
    label = np.arange(9000) < positives
    frame = pl.DataFrame({"a": rng.integers(0, 9, 9000), "label": label.astype(int)})
    frame.sample(fraction=1.0, shuffle=True, seed=0).write_csv(tmp_path / "log.csv")
    data = {"data.path": str(tmp_path / "log.csv"), "data.cache": str(tmp_path / "cache")}
    keys = {"data.categorical": ("a",), "method.name": "ce", "data.trusted_share": 0.0}
    found = defaults.resolved(TABLE.replace(data | keys), tmp_path, lambda _: None)
    assert found.train.smooth == smooth


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_rules_serve_every_method(name, tmp_path):
    """Also one that is none before its search."""
    log("linear", 1000).write_csv(tmp_path / "log.csv")
    data = {"data.path": str(tmp_path / "log.csv"), "data.cache": str(tmp_path / "cache")}
    given = {
        "static": {"method.static": (1.0, 0.0, 0.0, 0.0)},
        "transfer": {"method.transfer_from": "elsewhere"},
    }
    asked = TABLE.replace(data | {"method.name": name} | given.get(name, {}))
    found = defaults.resolved(asked, tmp_path, lambda _: None)
    assert settings.left_to_rule(found) == [] and found.method == asked.method
