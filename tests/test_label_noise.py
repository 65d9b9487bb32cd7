"""Method `corrected`: rates of label noise by context, estimated from trusted rows."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import autoloss_jax
from autoloss_jax import Config, UserError
from autoloss_jax.algorithm import losses, networks
from autoloss_jax.analysis import export
from autoloss_jax.data import inspection
from autoloss_jax.training import checkpoint, label_noise
from tests.support import commands, proof

MISSING, FLIPPED = (0.0, 0.16, 0.32, 0.48, 0.64, 0.8), (0.0, 0.08, 0.16, 0.24, 0.32, 0.4)


def made_up(kind, rows, trusted, seed=0, fields=1):
    """(Labels, values, trusted labels, trusted values, true rates by cell) of a made-up log."""
    random = np.random.default_rng(seed)
    of_value = np.array(MISSING if kind == "missing" else FLIPPED)
    values = random.integers(0, 6, (rows + trusted, fields))
    chance = 0.3 + 0.4 * (values[:, 0] % 2)  # positives are not alike in all cells
    labels = (random.random(len(values)) < chance).astype(int)
    rate = of_value[values].max(axis=1)
    wrong = random.random(len(values)) < rate
    noisy = np.where(wrong & (labels == 1), 0, labels) if kind == "missing" else labels ^ wrong
    grid = np.indices((6,) * fields).reshape(fields, -1).T
    return noisy[:rows], values[:rows], labels[rows:], values[rows:], of_value[grid].max(axis=1)


@pytest.mark.parametrize("kind", ["missing", "flipped"])
def test_rates_are_those_of_the_made_up_log_within_their_errors(kind):
    gaps = []
    for seed in range(10):
        *log, true = made_up(kind, 60_000, 20_000, seed)
        found = label_noise.estimate(kind, *log, (6,))
        assert found.rows.sum() == 60_000 and found.trusted.sum() == 20_000
        assert np.abs(found.rate - true).max() < 0.08
        gaps.append((found.rate - true) / found.error)
    inside = np.abs(gaps)[:, 1:] < 2  # the rate of the first is 0, and none is below
    assert 0.85 < inside.mean() <= 1


def test_a_cell_without_trusted_rows_has_the_rate_of_all():
    labels, values, trusted_labels, trusted_values, _ = made_up("missing", 60_000, 9000)
    known = trusted_values[:, 0] < 3
    log = labels, values, trusted_labels[known], trusted_values[known]
    found = label_noise.estimate("missing", *log, (6,))
    empty = found.trusted == 0
    overall = 1 - labels.mean() / trusted_labels[known].mean()
    assert empty.tolist() == [False] * 3 + [True] * 3
    assert np.allclose(found.rate[empty], overall, atol=1e-6)
    assert found.error[empty].min() > 3 * found.error[~empty].max()


def test_cells_of_two_fields_back_off_to_what_each_says():
    labels, values, trusted_labels, trusted_values, true = made_up(
        "missing", 90_000, 3000, fields=2
    )
    found = label_noise.estimate("missing", labels, values, trusted_labels, trusted_values, (6, 6))
    plain = 1 - labels.mean() / trusted_labels.mean()
    assert np.sqrt(np.mean((found.rate - true) ** 2)) < 0.6 * np.sqrt(np.mean((plain - true) ** 2))
    assert found.rate.shape == (36,)


def test_trusted_rows_that_contradict_the_kind_are_said():
    labels, values, trusted_labels, trusted_values, _ = made_up("missing", 60_000, 9000)
    found = label_noise.estimate("missing", trusted_labels, trusted_values, labels, values, (6,))
    assert found.contradicted.any() and (found.rate >= 0).all()
    said = label_noise.lines(found, ["platform"], [["unknown", *"abcde"]])
    assert any("contradict method.noise=missing" in line for line in said)
    assert any(line.startswith("platform a: ") for line in said)


@pytest.mark.parametrize("loss", ["missing_ce", "flipped_ce"])
def test_the_corrected_loss_is_that_of_one_rate(loss):
    z, y = jnp.linspace(-4, 4, 9)[:, None], jnp.arange(9) % 2
    kind = loss.removesuffix("_ce")
    rates = networks.Rates(kind, np.array([0.1, 0.3]), np.ones(2))
    batch = {"y": y, "cell": jnp.ones(9, int)}
    ours = rates.loss(batch, rates.parameters())(z, y)
    assert np.allclose(ours, losses.LOSSES[loss](z, y, rate=0.3), atol=1e-5)
    for trusted in ({"y": y, "cell": jnp.full(9, 2)}, {"y": y}):
        assert np.allclose(
            rates.loss(trusted, rates.parameters())(z, y), losses.ce(z, y), atol=1e-6
        )


def searched_problem(kind):
    """The problem of the proof with rates of `kind` in V, and cells of two context fields."""
    pool = ("ce", f"{kind}_ce(rate=searched)", "focal")
    al, state, train, val = proof.problem(context=("a", "b"), pool=pool, val_objective="ce")
    cells = np.random.default_rng(0).integers(0, 13, proof.BATCH)  # the last one: trusted
    rates = networks.Rates(kind, np.linspace(0.05, 0.4, 12), np.full(12, 0.1))
    candidates = dataclasses.replace(al.candidates, rates=(None, rates, None), trusted_rows=50)
    al = dataclasses.replace(al, candidates=candidates, prior=candidates.prior)
    return al, state, train | {"cell": jnp.asarray(cells)}, val


@pytest.mark.parametrize("kind", ["missing", "flipped"])
def test_the_hypergradient_of_searched_rates_matches_central_differences(kind):
    with jax.enable_x64(True):
        al, state, train, val = searched_problem(kind)
        gradient = jax.jit(lambda s: proof.hypergradient(al, s, train, val))(state)
        f = proof.full_table_outer_loss(al, state, train, val)
        differences = list(proof.central_differences(f, state.controller.params, count=4))
        rates = np.abs(np.asarray(gradient["rates"][kind]))
        without = dataclasses.replace(al, prior=None)
        through = jax.jit(lambda s: proof.hypergradient(without, s, train, val))(state)
    assert (rates > 0).all()
    assert np.abs(np.asarray(through["rates"][kind])).max() > 1e-6  # beside the prior's pull
    scale = np.linalg.norm(proof.flatten(gradient))
    for direction, difference in differences:
        assert abs(proof.flatten(gradient) @ proof.flatten(direction) - difference) < 1e-6 * scale


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """A config of a table whose conversions get lost by platform, in train alone."""
    folder, random = tmp_path_factory.mktemp("lossy"), np.random.default_rng(1)
    site, platform = random.integers(0, 20, 9000), random.integers(0, 6, 9000)
    score = 1.5 * np.sin(site) + 0.3 * np.sin(platform) - 0.2
    click = (random.random(9000) < 1 / (1 + np.exp(-score))).astype(int)
    lost = random.random(9000) < np.array(MISSING)[platform]
    given = np.where(np.arange(9000) < 6000, np.where(lost, 0, click), click)
    table = pl.DataFrame({"click": given, "site": site, "platform": platform})
    for name, begin, end in (("train", 0, 6000), ("valid", 6000, 7500), ("test", 7500, 9000)):
        table[begin:end].write_csv(folder / f"{name}.csv")
    return Config().replace(
        {
            "data.path": str(folder),
            "data.label": "click",
            "data.categorical": ("site", "platform"),
            "data.train_on_trusted": True,
            "data.cache": str(folder / "cache"),
            "method.name": "corrected",
            "data.context": ("platform",),
            "model.name": "fm",
            "model.embed_dim": 4,
            "optimizer.learning_rate": 0.02,
            "train.batch_size": 250,
            "train.epochs": 4,
        }
    )


def test_corrected_ranks_and_judges_better_than_cross_entropy(lossy, tmp_path):
    runs = {}
    for name in ("ce", "corrected"):
        cfg = lossy.replace({"method.name": name})
        runs[name] = autoloss_jax.train(cfg, tmp_path / name, progress=False).result["test"]
    assert runs["corrected"]["auc"] > runs["ce"]["auc"] + 0.02
    assert runs["corrected"]["logloss"] < 0.95 * runs["ce"]["logloss"]
    kept = json.loads((tmp_path / "corrected" / "label_noise.json").read_text())
    assert kept["missing"]["fields"] == ["platform"] and max(kept["missing"]["rate"]) > 0.6


def test_a_run_goes_on_to_the_same_figures_and_scores_rows(lossy, tmp_path):
    whole = autoloss_jax.train(lossy, tmp_path / "whole", progress=False)
    assert whole.evaluate()["auc"] == pytest.approx(whole.result["test"]["auc"], abs=1e-9)
    scores = whole.predict(pl.DataFrame({"site": ["1", "2"], "platform": ["3", "4"]}))
    assert scores.shape == (2,)


@pytest.fixture(scope="module")
def apart(lossy, tmp_path_factory):
    """The same, but the platform is context alone, and the trusted rows are a file."""
    folder = tmp_path_factory.mktemp("apart")
    source = Path(lossy.data.path)
    shutil.copytree(source, folder / "data", ignore=shutil.ignore_patterns("cache"))
    trusted = folder / "trusted.csv"
    shutil.move(folder / "data" / "valid.csv", trusted)
    pl.read_csv(source / "valid.csv")[:500].write_csv(folder / "data" / "valid.csv")
    keys = {"data.path": str(folder / "data"), "data.trusted": str(trusted)}
    return lossy.replace(keys | {"data.categorical": ("site",)})


@pytest.mark.parametrize("method", ["corrected", "autoloss"])
def test_context_alone_is_seen_by_the_loss_and_not_by_the_recommender(apart, tmp_path, method):
    keys = {"method.name": method, "method.every": 2, "train.epochs": 2}
    run = autoloss_jax.train(apart.replace(keys), tmp_path / "run", progress=False)
    loaded = checkpoint.load(checkpoint.newest(tmp_path / "run" / "best"))
    assert loaded.schema.fields == ("site", "platform") and loaded.schema.context == ("platform",)
    assert loaded.state.drs.params["rows"].shape[0] == loaded.schema.vocab_sizes[0]
    if method == "autoloss":
        assert loaded.al.controller.context == (loaded.schema.vocab_sizes[1],)
    scores = run.predict(pl.DataFrame({"site": ["1", "2"]}))  # nobody knows the platform yet
    assert scores.shape == (2,) and np.isfinite(scores).all()
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    rows = tmp_path / "rows.csv"
    pl.read_csv(Path(apart.data.path) / "test.csv").drop("platform").write_csv(rows)
    assert run.evaluate(rows)["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)


def test_trusted_rows_of_a_file_are_counted(apart, tmp_path):
    autoloss_jax.train(apart.replace({"train.epochs": 1}), tmp_path / "run", progress=False)
    kept = json.loads((tmp_path / "run" / "label_noise.json").read_text())
    assert sum(kept["missing"]["trusted"]) == 1500 and sum(kept["missing"]["rows"]) == 6000


@pytest.mark.parametrize("method", ["autoloss", "retrain"])
def test_rates_that_are_searched_begin_at_the_estimates_and_move(lossy, tmp_path, method):
    keys = {"method.name": method, "method.pool": ("ce", "missing_ce(rate=searched)")}
    keys |= {"method.every": 1, "train.epochs": 2, "optimizer.controller_learning_rate": 0.02}
    run = autoloss_jax.train(lossy.replace(keys), tmp_path / "run", progress=False)
    loaded = checkpoint.load(checkpoint.newest(tmp_path / "run" / "best"))
    rates = next(rates for rates in loaded.al.candidates.rates if rates)
    found = np.asarray(rates.rate(loaded.state.controller.params["rates"]["missing"]))
    kept = json.loads((tmp_path / "run" / "label_noise.json").read_text())["missing"]
    gap = np.abs(found - kept["rate"])[1:]
    assert 1e-4 < gap.max() < 0.3 and np.median(gap) < 3 * np.median(kept["error"])
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    with pytest.raises(UserError, match="is no function of"):
        export.export(tmp_path / "run", tmp_path / "out")


def test_inspect_shows_label_rates_by_context_side_by_side(apart, tmp_path):
    autoloss_jax.train(apart.replace({"train.epochs": 1}), tmp_path / "run", progress=False)
    data, asked = inspection.find(tmp_path / "run"), inspection.asked(tmp_path / "run")
    (found,) = inspection.label_rates(data, asked)
    tables = {"train": Path(apart.data.path) / "train.csv", "trusted": Path(apart.data.trusted)}
    assert found["name"] == "platform" and len(found["values"]) == 6
    for which, path in tables.items():
        rows = pl.read_csv(path).group_by("platform").agg(pl.len(), pl.col("click").sum())
        want = {str(platform): (number, clicks) for platform, number, clicks in rows.iter_rows()}
        ours = {v["value"]: (v[which], v[f"{which}_positive"]) for v in found["values"]}
        assert ours == want
    shown = commands.call("autoloss_jax.cli.inspect", str(tmp_path / "run")).stdout
    assert "trusted rows" in shown and "ratio" in shown


def test_mistakes_about_context_and_trusted_rows_are_one_line(apart, tmp_path):
    without = tmp_path / "without.csv"
    pl.read_csv(apart.data.trusted).drop("platform").write_csv(without)
    mistakes = (
        ({"data.trusted": "nowhere.csv"}, "--config.data.trusted=nowhere.csv: no such file"),
        ({"data.trusted": str(without)}, "no column 'platform', which is in --config.data.context"),
        ({"data.context": ("plattform",)}, "'plattform' is not a column of"),
        ({"data.trusted_fold": (0, 5)}, "leave one of the two out"),
    )
    for number, (keys, said) in enumerate(mistakes):
        with pytest.raises(UserError, match=said):
            autoloss_jax.train(apart.replace(keys), tmp_path / f"{number}", progress=False)


def test_what_cannot_be_corrected_is_one_line(lossy, tmp_path):
    mistakes = (
        ({"data.trusted_share": 0.0}, "need trusted rows"),
        ({"data.context": ("plattform",)}, "'plattform' is not a column of"),
        ({"data.num_classes": 3}, "rates of label noise are for two classes"),
        ({"method.name": "autoloss", "method.pool": ("ce", "focal(rate=searched)")}, "takes gamma"),
    )
    for number, (keys, said) in enumerate(mistakes):
        with pytest.raises(UserError, match=said):
            autoloss_jax.train(lossy.replace(keys), tmp_path / f"{number}", progress=False)
