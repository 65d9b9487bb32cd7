"""Method `auto`: the best on validation is shipped as it is, whatever test says, and a kill
changes nothing.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from autoloss_jax.algorithm import methods
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic
from autoloss_jax.search import auto
from autoloss_jax.search import train as searching
from autoloss_jax.search.gain import Gain, Scores
from autoloss_jax.training import evaluator, loop, metrics, prediction
from tests.support.runs import digest

pytestmark = pytest.mark.slow


def quiet(_):
    pass


@pytest.fixture(scope="module")
def chosen(small, tmp_path_factory):
    """A finished run of all contenders: (config, workdir, result)."""
    workdir = tmp_path_factory.mktemp("auto") / "run"
    cfg = small(
        method__name="auto", search__trials=17, train__epochs=1, data__train_on_trusted=True
    )
    return cfg, workdir, searching.train(cfg, workdir, quiet)


FOLDERS = {
    "ce": "tune/trials/000",
    "members": "members",
    "al1": "al1",
    "retrain": "retrain",
    "bohb": "bohb",
    "autoloss": "retrain/search",
}


def read(path):
    return json.loads(path.read_text())


def rows(workdir):
    """The table of auto.md as heads -> cells, one of each method."""
    lines = [
        line for line in (workdir / "auto.md").read_text().splitlines() if line.startswith("| ")
    ]
    heads, _, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(heads, c, strict=True)) for c in cells]


def contenders(workdir):
    """Name -> folder of each, the tuned cross-entropy among them where it is one."""
    best = read(workdir / "search" / "tune" / "best.json")["trial"]
    tuned = {"tuned_ce": f"tune/trials/{best:03d}"} if best else {}
    return {"ce": FOLDERS["ce"]} | tuned | FOLDERS


def test_what_is_shipped_is_a_contender_as_it_is(chosen):
    _, workdir, result = chosen
    folders = contenders(workdir)
    results = {
        name: read(workdir / "search" / folder / "result.json") for name, folder in folders.items()
    }
    (name,) = {line["method"].strip("*") for line in rows(workdir) if "**" in line["method"]}
    assert result == results[name] == read(workdir / "result.json")
    assert digest(workdir) == digest(workdir / "search" / folders[name])
    assert len(read(workdir / "search" / "tune" / "trials.json")) == 1 + 3
    assert len(read(workdir / "search" / "bohb" / "search" / "trials.json")) == 2 + 3
    trained_on = {name: r["num_examples"]["train"] for name, r in results.items()}
    assert trained_on.pop("autoloss") < trained_on["retrain"] and len(set(trained_on.values())) == 1
    assert results["members"]["config"]["model"]["members"] == 4
    loaded = prediction.load(workdir, None, {})
    assert prediction.evaluate_run(loaded, workdir, "", quiet)["auc"] == pytest.approx(
        result["test"]["auc"], abs=1e-9
    )


def test_the_report_says_what_the_results_say(chosen):
    cfg, workdir, _ = chosen
    text, folders = (workdir / "auto.md").read_text(), contenders(workdir)
    names = [line["method"].strip("*") for line in rows(workdir)]
    ours = [name for name in names if not name.startswith("(")]
    assert ours == list(folders)
    extras = ("lightgbm", "catboost")
    there = [n for n in methods.METHODS["auto"].yardsticks if n not in extras or find_spec(n)]
    assert names[len(ours) :] == [f"({n})" for n in there]
    theirs = auto.gain.scores(workdir / "search" / folders[ours[len(ours) - 6]], quiet)
    for line in rows(workdir):
        name = line["method"].strip("*")
        result = read(workdir / "search" / folders.get(name, name.strip("()")) / "result.json")
        assert line["val AUC"] == f"{result['val']['auc']:.5f}"
        assert line["val logloss"] == f"{result['val']['logloss']:.5f}"
        if name not in folders:
            continue
        assert float(line["best epoch"]) == 1
        assert float(line["seconds"]) >= round(result["wall_seconds"])
        weights = result["config"]["method"]["static"] or ([0.25] * 4 if name == "al1" else [])
        shown = [line[f"weight of {loss}"] for loss in result["config"]["method"]["pool"]]
        assert not weights or [float(w) for w in shown] == pytest.approx(weights, abs=1e-3)
        if name in FOLDERS and name != "ce":
            ours = auto.gain.scores(workdir / "search" / folders[name], quiet)
            assert line["gain in AUC"] == str(auto.gain.between(cfg, ours, theirs, tried=5))
    assert len(text.splitlines()) < 60


def test_what_may_be_chance_is_not_shipped_and_a_tie_is_the_formers(small):
    def run(auc, logloss):
        return auto.Run(Path(), {"val": {"auc": auc, "logloss": logloss}}, 0.0)

    runs = {
        "ce": run(0.7, 0.5),
        "al1": run(0.8, 0.6),
        "bohb": run(0.8, 0.4),
        "retrain": run(0.9, 0),
    }
    gains = {
        "al1": Gain("AUC", 0.1, 0.09),
        "bohb": Gain("AUC", 0.1, 0.09),
        "retrain": Gain("AUC", 0.2, 0.21),
    }
    assert auto.winner(small(train__monitor="auc"), runs, gains) == "al1"
    assert auto.winner(small(train__monitor="logloss"), runs, gains) == "bohb"
    assert auto.winner(small(train__monitor="auc"), runs | {"tuned_ce": run(0.81, 0)}, gains) == (
        "tuned_ce"
    )


@pytest.mark.parametrize("monitor", ["auc", "logloss", "calibrated"])
def test_a_gain_is_the_difference_of_figures_and_its_interval_that_of_resamples(small, monitor):
    cfg, rng, n = small(train__monitor=monitor), np.random.default_rng(0), 4000
    truth = rng.normal(size=(n, 1))
    labels = (rng.random(n) < 1 / (1 + np.exp(-truth[:, 0]))).astype(int)
    good = Scores({"y": labels}, truth + rng.normal(size=(n, 1)) / 2)
    bad = Scores({"y": labels}, truth + rng.normal(size=(n, 1)))
    found = auto.gain.between(cfg, good, bad)
    logits = [
        metrics.apply(metrics.calibrate(s.logits, labels, metrics.IDENTITY), s.logits)
        if monitor == "calibrated"
        else s.logits
        for s in (good, bad)
    ]
    if monitor == "auc":
        assert found.value == pytest.approx(
            roc_auc_score(labels, logits[0][:, 0]) - roc_auc_score(labels, logits[1][:, 0])
        )
    else:
        losses = [np.logaddexp(0, np.where(labels, -z[:, 0], z[:, 0])) for z in logits]
        differences = losses[1] - losses[0]
        assert found.value == pytest.approx(differences.mean())
        error = differences.std() / n**0.5  # the bootstrap of a mean
        assert found.reach == pytest.approx(1.96 * error, rel=0.2)
    assert found.certain and not auto.gain.between(cfg, good, good).certain
    wider = auto.gain.between(cfg, good, bad, tried=10).reach / found.reach
    assert wider == pytest.approx(2.807 / 1.960, rel=1e-3)


@pytest.mark.parametrize("trials", [*range(1, 16), 20, 40])
def test_all_trainings_together_are_within_the_budget(small, trials):
    planned = auto.plan(small(method__name="auto", search__trials=trials))
    searched = planned.others.get("bohb", {}).get("search.trials", 0)
    members = 3 if "members" in planned.others else 0
    searches = "retrain" in planned.others
    spent = planned.tuning + len(planned.others) + members + searches + searched
    assert spent <= trials and (spent == trials or trials < 11)
    assert planned.tuning == 1 or planned.tuning >= auto.LEAST_TRIALS
    assert searched != 1  # the first trial is al1
    eight = small(method__name="auto", search__trials=trials, model__members=8)
    assert "members" not in auto.plan(eight).others


def test_whoever_doubts_the_labels_has_corrections_among_the_contenders(small):
    doubts = {"method.name": "auto", "data.context": ("C1",), "search.trials": 16}
    cfg = settings.with_keys(small(), doubts)
    planned = auto.plan(cfg)
    corrections = [
        f"{name}_{kind}" for name in ("corrected", "noise_layer") for kind in ("missing", "flipped")
    ]
    assert list(planned.others) == [*corrections, "retrain_from_rates", "members", "al1"]
    assert planned.others["corrected_missing"]["method.rates"] == "model"
    spent = 1 + 2 * 2 + 2 * 1 + 3 + 4 + 1  # first models and searches too
    assert planned.tuning == 1 and spent == 15
    flipped = settings.with_keys(cfg, {"method.noise": "flipped", "search.trials": 4})
    assert list(auto.plan(flipped).others) == ["corrected_flipped", "noise_layer_flipped"]
    pool = methods.contenders(flipped)["retrain_from_rates"]["method.pool"]
    assert pool == ("flipped_ce(rate=searched)", "missing_ce(rate=searched)", "ce")
    five = settings.with_keys(cfg, {"data.num_classes": 5})
    assert list(auto.plan(five).others) == ["glc", "members", "al1", "retrain", "bohb"]


@pytest.mark.nightly
def test_killed_in_each_contender_and_while_shipping_it_ends_the_same(
    chosen, tmp_path, monkeypatch
):
    """As each training is a run that resumes to the same bits, trainings are killed here where
    they begin.
    """
    cfg, workdir, result = chosen
    calls = []

    def killed_at(plain, numbers):
        def call(*args, **kwargs):
            calls.append(None)
            if len(calls) in numbers:
                raise KeyboardInterrupt
            return plain(*args, **kwargs)

        return call

    monkeypatch.setattr(loop.Trainer, "open", killed_at(loop.Trainer.open, {2, 6, 8, 10}))
    monkeypatch.setattr(auto.shutil, "copytree", killed_at(auto.shutil.copytree, {19}))
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            searching.train(cfg, tmp_path, quiet)
        assert not (tmp_path / "result.json").exists()
    again = searching.train(cfg, tmp_path, quiet)
    assert (again["method"], again["val"], again["test"]) == (
        result["method"],
        result["val"],
        result["test"],
    )
    assert digest(tmp_path) == digest(workdir)
    shown = [[row | {"seconds": ""} for row in rows(w)] for w in (tmp_path, workdir)]
    assert shown[0] == shown[1]


def test_a_finished_run_is_not_run_again(chosen, monkeypatch):
    cfg, workdir, result = chosen
    monkeypatch.setattr(loop.Trainer, "open", None)
    assert searching.train(cfg, workdir, quiet) == result


def test_another_runs_folder_is_refused_before_anything_is_trained(chosen, finished, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "open", None)
    cfg, workdir, _ = chosen
    with pytest.raises(UserError, match=r"--config\.search\.trials=17, not 8"):
        searching.train(settings.with_keys(cfg, {"search.trials": 8}), workdir, quiet)
    with pytest.raises(UserError, match=r"holds a run with --config\.data\.train_on_trusted=False"):
        searching.train(cfg, finished[1], quiet)
    assert not (finished[1] / "search").exists()
    with pytest.raises(UserError, match=r"leave method\.static and transfer_from out"):
        searching.train(settings.with_keys(cfg, {"method.static": (1.0,)}), workdir, quiet)


def stub(result, aucs):
    """A training that leaves these validation AUCs, of `retrain` its search's too, and diverges
    where there is none.
    """

    def train(cfg, workdir, say):
        if cfg.method.name not in aucs:
            raise evaluator.Diverged("not finite")
        left = {workdir: aucs[cfg.method.name]}
        if cfg.method.name == "retrain":
            left[workdir / "search"] = aucs["autoloss"]
        for folder, auc in left.items():
            folder.mkdir(parents=True)
            atomic.write_json(
                folder / "result.json", result | {"val": {"auc": auc, "logloss": 0.5}}
            )
            log = json.dumps({"step": result["best_step"], "alpha": {"ce": 1.0}})
            (folder / "metrics.jsonl").write_text(log + "\n")
        return read(workdir / "result.json")

    return train


@pytest.fixture
def certain(monkeypatch):
    """Every gain in AUC is one."""

    def between(cfg, ours, theirs, tried):
        return Gain("AUC", ours["auc"] - theirs["auc"], 0.0)

    monkeypatch.setattr(auto.gain, "scores", lambda run, say: read(run / "result.json")["val"])
    monkeypatch.setattr(auto.gain, "between", between)


def test_a_contender_that_diverges_loses(small, finished, tmp_path, certain):
    cfg = small(method__name="auto", search__trials=4)
    train = stub(finished[2], {"ce": 0.8, "retrain": 0.7, "autoloss": 0.7})
    assert auto.train(train, cfg, tmp_path, quiet)["val"]["auc"] == 0.8
    text = (tmp_path / "auto.md").read_text()
    assert "`al1` diverged" in text and "`bohb` is not here: raise `--config.search.trials`" in text
    assert "Nothing is better than cross-entropy here by more than chance" in text


def test_a_search_that_is_better_than_its_retraining_is_shipped(small, finished, tmp_path, certain):
    cfg = small(method__name="auto", search__trials=4, data__train_on_trusted=True)
    aucs = {"ce": 0.6, "al1": 0.6, "retrain": 0.7, "autoloss": 0.8, "lightgbm": 0.9}
    assert auto.train(stub(finished[2], aucs), cfg, tmp_path, quiet)["val"]["auc"] == 0.8
    assert read(tmp_path / "result.json")["val"]["auc"] == 0.8
    text = (tmp_path / "auto.md").read_text()
    assert "**autoloss** was chosen" in text and "learned from fewer rows than `retrain`" in text
    alone = settings.with_keys(cfg, {"data.train_on_trusted": False})
    auto.train(stub(finished[2], aucs), alone, tmp_path / "alone", quiet)
    assert "learned from fewer rows" not in (tmp_path / "alone" / "auto.md").read_text()
    assert "`lightgbm` has a better AUC on validation than what is shipped" in text
