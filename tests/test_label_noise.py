"""Method `corrected`: rates of label noise by context, estimated from trusted rows."""

import dataclasses
import functools
import importlib.util
import itertools
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
from autoloss_jax.data import inspection, store
from autoloss_jax.training import checkpoint, label_noise, loop
from autoloss_jax.training.label_noise import Labels
from tests.support import commands, proof, runs
from tests.support.nightly import further

MISSING, FLIPPED = (0.0, 0.16, 0.32, 0.48, 0.64, 0.8), (0.0, 0.08, 0.16, 0.24, 0.32, 0.4)


def made_up(kind, rows, trusted, seed=0, fields=1):
    """(Labels of train, of trusted rows, true rates by cell) of a made-up log."""
    random = np.random.default_rng(seed)
    of_value = np.array(MISSING if kind == "missing" else FLIPPED)
    values = random.integers(0, 6, (rows + trusted, fields))
    chance = 0.3 + 0.4 * (values[:, 0] % 2)  # positives are not alike in all cells
    labels = (random.random(len(values)) < chance).astype(int)
    rate = of_value[values].max(axis=1)
    wrong = random.random(len(values)) < rate
    noisy = np.where(wrong & (labels == 1), 0, labels) if kind == "missing" else labels ^ wrong
    grid = np.indices((6,) * fields).reshape(fields, -1).T
    train = Labels(noisy[:rows], values[:rows])
    return train, Labels(labels[rows:], values[rows:]), of_value[grid].max(axis=1)


@pytest.mark.parametrize("kind", ["missing", "flipped"])
def test_rates_are_those_of_the_made_up_log_within_their_errors(kind):
    gaps = []
    for seed in range(10):
        *log, true = made_up(kind, 60_000, 20_000, seed)
        found = label_noise.estimate(kind, *log, (6,))
        assert found.rows.sum() == 60_000 and found.trusted.sum() == 20_000
        assert np.abs(found.rate - true).max() < 0.08
        gaps.append((found.rate - true) / found.rate_error)
    inside = np.abs(gaps)[:, 1:] < 2  # the rate of the first is 0, and none is below
    assert 0.85 < inside.mean() <= 1


def test_a_cell_without_trusted_rows_has_the_rate_of_all():
    train, trusted, _ = made_up("missing", 60_000, 9000)
    trusted = only(trusted, trusted.context[:, 0] < 3)
    found = label_noise.estimate("missing", train, trusted, (6,))
    empty = found.trusted == 0
    overall = 1 - train.y.mean() / trusted.y.mean()
    assert empty.tolist() == [False] * 3 + [True] * 3
    assert np.allclose(found.rate[empty], overall, atol=0.005)
    assert found.rate_error[empty].min() > 3 * found.rate_error[~empty].max()


def test_cells_of_two_fields_back_off_to_what_each_says():
    train, trusted, true = made_up("missing", 90_000, 3000, fields=2)
    found = label_noise.estimate("missing", train, trusted, (6, 6))
    plain = 1 - train.y.mean() / trusted.y.mean()
    assert np.sqrt(np.mean((found.rate - true) ** 2)) < 0.6 * np.sqrt(np.mean((plain - true) ** 2))
    assert found.rate.shape == (36,)


def only(labels, rows):
    return Labels(labels.y[rows], labels.context[rows])


def test_combinations_of_many_fields_are_numbered_as_train_has_them(monkeypatch):
    train, trusted, _ = made_up("missing", 90_000, 3000, fields=2)
    dense = label_noise.estimate("missing", train, trusted, (6, 6))
    monkeypatch.setattr(label_noise, "MOST_CELLS", 10)
    seen = only(train, train.context[:, 0] != 3)
    found = label_noise.estimate("missing", seen, trusted, (6, 6))
    grid = found.cells.values()
    assert len(found.cells) == 30 and (found.cells.number(grid) == np.arange(30)).all()
    assert (found.cells.number(np.array([[3, 1]])) == 30).all()
    both = dense.cells.number(grid)
    assert np.abs(found.rate - dense.rate[both]).max() < 0.1
    many = [1000] * 6
    wide = label_noise.Cells.of(np.full((5, 6), 999), many)
    assert len(wide) == 1 and wide.values().tolist() == [[999] * 6]


def test_a_models_guesses_make_a_few_trusted_rows_worth_more():
    """Where labels follow from what a model knows, residuals vary less than labels."""
    squares, inside = {"counts": [], "model": []}, []
    for seed in range(10):
        random = np.random.default_rng(seed)
        values, z = random.integers(0, 40, (40_400, 1)), random.normal(0, 4, 40_400)
        chance = 1 / (1 + np.exp(-z))
        y = (random.random(len(z)) < chance).astype(int)
        true = np.linspace(0, 0.8, 40)
        lost = random.random(len(z)) < true[values[:, 0]]
        train = Labels(np.where(lost, 0, y)[:40_000], values[:40_000])
        trusted = Labels(y[40_000:], values[40_000:])
        guesses = chance[:40_000], chance[40_000:]
        for name, given in (("counts", None), ("model", guesses)):
            found = label_noise.estimate("missing", train, trusted, (40,), given)
            squares[name].append(np.mean((found.rate - true) ** 2))
        inside.append(np.abs(found.rate - true) < 2 * found.rate_error)  # with the guesses
    assert np.mean(inside) > 0.9
    assert np.mean(squares["model"]) < 0.4 * np.mean(squares["counts"])


def test_gold_matrices_are_those_of_the_made_up_classes():
    """Classes that a model tells apart: its chances are the rows of the matrix."""
    random = np.random.default_rng(0)
    matrices = np.array([np.eye(3), [[0.6, 0.4, 0], [0, 1, 0], [0.2, 0, 0.8]]])
    y, values = random.integers(0, 3, 4000), random.integers(0, 2, (4000, 1))
    chances = matrices[values[:, 0], y]
    noisy = (random.random((4000, 1)) > chances.cumsum(1)).sum(1)
    train, trusted = Labels(noisy, values), Labels(y[:1500], values[:1500])
    found = label_noise.gold(train, trusted, chances[:1500], (2,))
    assert np.abs(found.transition - matrices).max() < 0.05
    assert np.allclose(found.transition.sum(-1), 1)
    truth = label_noise.made("any", train, y, (2,), 3)
    assert np.abs(truth.transition - matrices).max() < 0.05
    said = label_noise.lines(found, ["platform"], [["unknown", "a"]])
    assert said[0].startswith("platform ") and "of its labels 2 read another" in said[0]


def test_a_cell_of_few_rows_of_train_has_the_rate_of_the_others():
    """Without a positive among three rows it is not that all of them were lost."""
    train, trusted, _ = made_up("missing", 60_000, 9000)
    rare = Labels(np.zeros(3, int), np.full((3, 1), 6))
    both = Labels(
        *(np.concatenate(parts) for parts in ((train.y, rare.y), (train.context, rare.context)))
    )
    found = label_noise.estimate("missing", both, trusted, (7,))
    overall = 1 - train.y.mean() / trusted.y.mean()
    assert found.rate[6] == pytest.approx(overall, abs=0.15)
    assert found.rate[:6] == pytest.approx(
        label_noise.estimate("missing", train, trusted, (6,)).rate, abs=1e-3
    )


def test_rates_of_many_fields_are_those_of_the_one_that_matters():
    """Nearly every row is a cell of its own."""
    random, sizes = np.random.default_rng(0), [6, 40, 50, 60, 30]
    values = np.stack([random.integers(0, size, 50_000) for size in sizes], axis=1)
    z = random.normal(0, 4, 50_000)
    chance = 1 / (1 + np.exp(-z))
    y = (random.random(50_000) < chance).astype(int)
    true = np.array(MISSING)[values[:, 0]]
    noisy = np.where(random.random(50_000) < true, 0, y)
    train, trusted = Labels(noisy[:45_000], values[:45_000]), Labels(y[45_000:], values[45_000:])
    guesses = chance[:45_000], chance[45_000:]
    found = label_noise.estimate("missing", train, trusted, sizes, guesses)
    assert len(found.cells) > 40_000
    gap = found.rate[found.cells.number(train.context)] - true[:45_000]
    assert np.sqrt(np.mean(gap**2)) < 0.5 * np.std(true)


def test_trusted_rows_that_contradict_the_kind_are_said():
    train, trusted, _ = made_up("missing", 60_000, 9000)
    found = label_noise.estimate("missing", trusted, train, (6,))
    assert found.contradicted.any() and (found.rate >= 0).all()
    said = label_noise.lines(found, ["platform"], [["unknown", *"abcde"]])
    assert any("contradict method.noise=missing" in line for line in said)
    assert any(line.startswith("platform a: ") for line in said)


@pytest.mark.parametrize("loss", ["missing_ce", "flipped_ce"])
def test_the_corrected_loss_is_that_of_one_rate(loss):
    z, y = jnp.linspace(-4, 4, 9)[:, None], jnp.arange(9) % 2
    kind = loss.removesuffix("_ce")
    rates = networks.Rates(kind, np.array([0.1, 0.3]), np.ones(2))
    V = {"rates": {kind: rates.parameters()}}
    matrix, right = losses.transition(kind, jnp.full(9, 0.3)), jnp.tile(jnp.eye(2), (9, 1, 1))
    for noise, told, trusted in (
        (rates, {"cell": jnp.ones(9, int)}, {"cell": jnp.full(9, 2)}),
        (networks.Transitions(), {"transition": matrix}, {"transition": right}),
    ):
        ours = noise.loss(told, V)(z, y)
        assert np.allclose(ours, losses.LOSSES[loss](z, y, rate=0.3), atol=1e-5)
        for labels in (trusted, {}):
            assert np.allclose(noise.loss(labels, V)(z, y), losses.ce(z, y), atol=1e-6)


def searched_problem(kind):
    """The problem of the proof with rates of `kind` in V, and cells of two context fields."""
    pool = ("ce", f"{kind}_ce(rate=searched)", "focal")
    al, state, train, val = proof.problem(context=("a", "b"), pool=pool, val_objective="ce")
    cells = np.random.default_rng(0).integers(0, 13, proof.BATCH)  # the last one: trusted
    rates = networks.Rates(kind, np.linspace(0.05, 0.4, 12), np.full(12, 0.1))
    candidates = dataclasses.replace(al.candidates, noise=(None, rates, None), trusted_rows=50)
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
    found = {}
    for name in ("ce", "corrected"):
        cfg = lossy.replace({"method.name": name})
        found[name] = autoloss_jax.train(cfg, tmp_path / name, progress=False).result["test"]
    assert found["corrected"]["auc"] > found["ce"]["auc"] + 0.02
    assert found["corrected"]["logloss"] < 0.95 * found["ce"]["logloss"]
    kept = json.loads((tmp_path / "corrected" / "label_noise.json").read_text())
    cells = kept["missing"]["cells"]
    assert kept["missing"]["fields"] == ["platform"] and max(c["rate"] for c in cells) > 0.6
    assert {c["values"][0] for c in cells} == set("012345")
    corrected_loss_is_that_of_the_rates(tmp_path / "corrected", cells, tmp_path / "out")


def corrected_loss_is_that_of_the_rates(workdir, cells, folder):
    """Value and gradient of each platform, and where the platform is not known, by the mean."""
    module = exported_module(workdir, folder)
    z, rows = np.linspace(-8, 8, 40), np.array([c["rows"] for c in cells])
    rates = {c["values"][0]: c["rate"] for c in cells}
    rates["never seen"] = np.average([c["rate"] for c in cells], weights=rows)
    for platform, rate in rates.items():
        number = np.full(40, module.contexts([[platform]])[0])
        for label in (0, 1):
            y = np.full(40, label)
            losses_of = functools.partial(losses.missing_ce, labels=jnp.asarray(y), rate=rate)
            want = losses_of(jnp.asarray(z, jnp.float32)[:, None])
            slope = jax.grad(lambda z, f=losses_of: f(z[:, None]).sum())(jnp.asarray(z))
            assert np.allclose(module.value(z, y, number), want, atol=2e-4)
            assert np.allclose(module.gradient(z, y, number), slope, atol=2e-4)


@pytest.mark.slow
def test_lightgbm_takes_the_loss_of_a_run_and_ranks_better_by_it(lossy, tmp_path):
    pytest.importorskip("lightgbm")
    found = {}
    for name in ("ce", "corrected"):
        keys = {"method.name": name, "train.epochs": 1}
        autoloss_jax.train(lossy.replace(keys), tmp_path / name, progress=False)
    for monitor, source in itertools.product(("auc", "logloss"), ("", "ce", "corrected")):
        keys = {"method.name": "lightgbm", "train.monitor": monitor}
        keys |= {"method.transfer_from": str(tmp_path / source)} if source else {}
        workdir = tmp_path / f"lightgbm-{source}-{monitor}"
        run = autoloss_jax.train(lossy.replace(keys), workdir, progress=False)
        found[monitor, source] = run.result["test"]
    for monitor in ("auc", "logloss"):
        own, ce, corrected = (found[monitor, source] for source in ("", "ce", "corrected"))
        assert ce["auc"] == pytest.approx(own["auc"], abs=0.01)  # its own begins at the mean
        assert corrected["auc"] > own["auc"] + 0.02
        assert corrected["logloss_calibrated"] < 0.99 * own["logloss_calibrated"]
    for keys, said in (
        ({"method.name": "logistic"}, "takes the loss of no other run"),
        ({"method.name": "catboost"}, "takes no objective of another run"),
        ({"method.name": "lightgbm", "data.min_count": 3}, "other values of data"),
    ):
        cfg = lossy.replace(keys | {"method.transfer_from": str(tmp_path / "ce")})
        with pytest.raises(UserError, match=said):
            autoloss_jax.train(cfg, tmp_path / "refused", progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("glc", {}),
        ("noise_layer", {"optimizer.controller_learning_rate": 0.05}),
        ("corrected", {"method.rates": "model"}),
    ],
    ids=["glc", "noise_layer", "with a first model"],
)
def test_other_corrections_rank_better_than_cross_entropy_too(lossy, tmp_path, method, more):
    found = {}
    for name, keys in (("ce", {}), (method, more)):
        cfg = lossy.replace({"method.name": name} | keys)
        found[name] = autoloss_jax.train(cfg, tmp_path / name, progress=False)
    figures = {name: run.result["test"]["auc"] for name, run in found.items()}
    assert figures[method] > figures["ce"] + 0.01
    run = found[method]
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    first = tmp_path / method / "search" / "first_model" / "result.json"
    assert first.exists() == (method != "noise_layer")
    if first.exists():  # it has not learned from the trusted rows, but knows their values
        asked = json.loads(first.read_text())
        assert asked["num_examples"]["train"] == 6000 and asked["method"] == "ce"


@pytest.mark.slow
def test_auto_ships_a_correction_where_labels_are_lost_by_context(lossy, tmp_path):
    keys = {"method.name": "auto", "search.trials": 3, "train.epochs": 3}
    run = autoloss_jax.train(lossy.replace(keys), tmp_path / "auto", progress=False)
    shipped = run.result["config"]["method"]
    assert (shipped["name"], shipped["noise"]) == ("corrected", "missing")
    text = (tmp_path / "auto" / "auto.md").read_text()
    for name in ("ce", "corrected_missing"):
        assert f"| {name} |" in text or f"| **{name}** |" in text
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["noise_layer", "retrain"])
def test_rates_of_too_many_combinations_are_a_sum_over_fields(lossy, tmp_path, monkeypatch, method):
    """Of one field a sum is the rate of each value."""
    keys = {"method.pool": ("ce", "missing_ce(rate=searched)"), "train.epochs": 2}
    keys |= {"optimizer.controller_learning_rate": 0.02, "method.every": 1}
    cfg = lossy.replace(keys | {"method.name": method})
    plain = autoloss_jax.train(cfg, tmp_path / "plain", progress=False)
    monkeypatch.setattr(label_noise, "MOST_CELLS", 6)
    run = autoloss_jax.train(cfg, tmp_path / "sum", progress=False)
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    assert run.result["test"]["auc"] == pytest.approx(plain.result["test"]["auc"], abs=0.01)
    kept = [
        {c["values"][0]: c for c in json.loads(path.read_text())["missing"]["cells"]}
        for name in ("plain", "sum")
        for path in (tmp_path / name).glob("**/label_noise.json")
    ]
    for platform in "012345":
        plain_, sum_ = (of[platform] for of in kept)
        assert sum_["rate"] == pytest.approx(plain_["rate"])
        assert sum_["learned"] == pytest.approx(plain_["learned"], abs=0.06)
    assert max(abs(c["learned"] - c["rate"]) for c in kept[1].values()) > 1e-3


@pytest.mark.parametrize("kind", ["missing", "flipped"])
def test_the_hypergradient_of_a_sum_over_fields_matches_central_differences(kind):
    with jax.enable_x64(True):
        al, state, train, val = searched_problem(kind)
        random = np.random.default_rng(1)
        start = {"all": np.array(-1.0), "0": random.normal(size=4), "1": random.normal(size=3)}
        noise = (None, networks.AdditiveRates(kind, start), None)
        candidates = dataclasses.replace(al.candidates, noise=noise)
        al = dataclasses.replace(al, candidates=candidates, prior=candidates.prior)
        moved = {kind: jax.tree.map(lambda a: a + 0.1, start)}
        V = state.controller.params | {"rates": moved, "prior": {kind: start}}
        state = state.replace(controller=state.controller.replace(params=V))
        train = train | {"cell": jnp.minimum(train["cell"], 1)}
        gradient = jax.jit(lambda s: proof.hypergradient(al, s, train, val))(state)
        f = proof.full_table_outer_loss(al, state, train, val)
        differences = list(proof.central_differences(f, V, count=3))
    scale = np.linalg.norm(proof.flatten(gradient))
    assert all(np.abs(part).max() > 0 for part in gradient["rates"][kind].values())
    for direction, difference in differences:
        assert abs(proof.flatten(gradient) @ proof.flatten(direction) - difference) < 1e-6 * scale


@pytest.mark.nightly
@pytest.mark.slow
def test_a_search_of_rates_that_is_killed_ends_in_the_same_bits(lossy, tmp_path):
    keys = {"method.name": "autoloss", "method.pool": ("ce", "missing_ce(rate=searched)")}
    cfg = lossy.replace(keys | {"method.every": 2, "train.epochs": 3})
    loop.train(cfg, tmp_path / "whole", runs.quiet)

    def kill(number, _):
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(cfg, tmp_path / "killed", runs.quiet, kill)
    loop.train(cfg, tmp_path / "killed", runs.quiet)
    assert runs.digest(tmp_path / "killed") == runs.digest(tmp_path / "whole")
    rates = (tmp_path / name / "label_noise.json" for name in ("killed", "whole"))
    assert len({path.read_text() for path in rates}) == 1


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


@pytest.mark.slow
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
    kept = json.loads((tmp_path / "run" / "label_noise.json").read_text())["missing"]["cells"]
    assert sum(c["trusted"] for c in kept) == 1500 and sum(c["rows"] for c in kept) == 6000


@pytest.mark.slow
@pytest.mark.parametrize("method", further(["autoloss", "retrain"], daily=["autoloss"]))
def test_rates_that_are_searched_begin_at_the_estimates_and_move(
    lossy, tmp_path, monkeypatch, method
):
    keys = {"method.name": method, "method.pool": ("ce", "missing_ce(rate=searched)")}
    keys |= {"method.every": 1, "train.epochs": 2, "optimizer.controller_learning_rate": 0.02}
    run = autoloss_jax.train(lossy.replace(keys), tmp_path / "run", progress=False)
    loaded = checkpoint.load(checkpoint.newest(tmp_path / "run" / "best"))
    rates = loaded.al.candidates.rates["missing"]
    found = np.asarray(rates.at(loaded.state.controller.params))
    (path,) = (tmp_path / "run").glob("**/label_noise.json")
    assert path.parent == tmp_path / "run" / ("search" if method == "retrain" else "")
    kept = json.loads(path.read_text())["missing"]["cells"]
    words = store.words(tmp_path / "run", "platform")  # in an order of their own
    found = found[[words.index(c["values"][0]) + 1 for c in kept]]
    gap = np.abs(found - [c["rate"] for c in kept])
    if method == "autoloss":
        assert np.allclose(found, [c["learned"] for c in kept])
    assert 1e-4 < gap.max() < 0.3 and np.median(gap) < 3 * np.median([c["error"] for c in kept])
    assert run.evaluate()["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    monkeypatch.setattr(export, "MOST_CONTEXTS", 6)
    with pytest.raises(UserError, match="7 combinations of the values of platform"):
        export.export(tmp_path / "run", tmp_path / "out")
    monkeypatch.undo()
    exported_loss_is_that_of_the_run(tmp_path / "run", loaded, tmp_path / "out")


def exported_module(workdir, folder):
    """The exported file as a program would import it."""
    record = export.export(workdir, folder)
    assert record["context"]["fields"] == ["platform"]
    spec = importlib.util.spec_from_file_location("with_context", folder / "searched_loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported_loss_is_that_of_the_run(workdir, loaded, folder):
    """Value and gradient of each platform, computed here from V in float64."""
    module = exported_module(workdir, folder)
    platforms = ["4", "0", "never seen"]
    numbers = module.contexts([[platform] for platform in platforms])
    (words,) = json.loads((folder / "searched_loss.json").read_text())["context"]["words"]
    assert numbers.tolist() == [words.index("4") + 1, words.index("0") + 1, 0]
    z, controller = np.linspace(-8, 8, 40), loaded.state.controller
    with jax.enable_x64(True):
        for label, number in itertools.product((0, 1), numbers):
            y, seen = jnp.full(40, label), jnp.full((40, 1), number)
            V = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), controller.params)
            p = 1 / (1 + jnp.exp(-z[:, None]))
            inputs = {"params": V, "batch_stats": controller.stats}, y, p, seen
            alpha = jnp.exp(loaded.al.controller.module.apply(*inputs, train=False))
            rate = 0.99 / (1 + np.exp(-V["rates"]["missing"][number]))

            def each(z, y=y, rate=rate):
                pool = losses.ce(z, y), losses.missing_ce(z, y, rate=rate)
                return jnp.stack(pool, axis=1)

            z_ = z[:, None]
            slopes = (each(z_ + 1e-5) - each(z_ - 1e-5)) / 2e-5
            want = jnp.sum(alpha * each(z_), 1), jnp.sum(alpha * slopes, 1)
            where = np.full(40, label), np.full(40, number)
            assert np.allclose(module.value(z, *where), want[0], rtol=2e-4, atol=2e-4)
            assert np.allclose(module.gradient(z, *where), want[1], rtol=2e-4, atol=2e-4)
            jax_loss = jax.vmap(jax.grad(module.jax_loss), (0, 0, 0))
            assert np.allclose(jax_loss(z, *where), module.gradient(z, *where), atol=1e-6)
    with pytest.raises(ValueError, match="looks at platform"):
        module.value(z, np.ones(40))


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
        ({"method.rates": "known"}, "the truth is known where --config.data.missing"),
        ({"method.first_model": "nowhere"}, "with rates=counts no first model is asked"),
        (
            {"method.first_model": "nowhere", "method.rates": "model"},
            "first_model=nowhere: no finished run is there",
        ),
        ({"method.name": "autoloss", "method.pool": ("ce", "focal(rate=searched)")}, "takes gamma"),
    )
    for number, (keys, said) in enumerate(mistakes):
        with pytest.raises(UserError, match=said):
            autoloss_jax.train(lossy.replace(keys), tmp_path / f"{number}", progress=False)
