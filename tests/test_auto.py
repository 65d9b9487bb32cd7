"""Method `auto`: the best on validation is shipped as it is, whatever test says, and a kill
changes nothing.
"""

import json

import pytest

from autoloss_jax.algorithm import methods
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic
from autoloss_jax.search import auto
from autoloss_jax.search import train as searching
from autoloss_jax.training import evaluator, loop, prediction
from tests.support.runs import digest

pytestmark = pytest.mark.slow


def quiet(_):
    pass


@pytest.fixture(scope="module")
def chosen(small, tmp_path_factory):
    """A finished run of all contenders: (config, workdir, result)."""
    workdir = tmp_path_factory.mktemp("auto") / "run"
    cfg = small(method__name="auto", search__trials=7, train__epochs=1, data__train_on_trusted=True)
    return cfg, workdir, searching.train(cfg, workdir, quiet)


FOLDERS = {name: name for name in methods.METHODS["auto"].contenders} | {
    "autoloss": "retrain/search"
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


def test_the_best_on_validation_is_shipped_as_it_is(chosen):
    _, workdir, result = chosen
    results = {
        name: read(workdir / "search" / folder / "result.json") for name, folder in FOLDERS.items()
    }
    best = max(results, key=lambda name: results[name]["val"]["auc"])
    assert result == results[best] == read(workdir / "result.json")
    assert result["method"] == best and result["val"]["auc"] >= results["ce"]["val"]["auc"]
    assert digest(workdir) == digest(workdir / "search" / FOLDERS[best])
    assert len(read(workdir / "search" / "bohb" / "search" / "trials.json")) == 2
    trained_on = {name: r["num_examples"]["train"] for name, r in results.items()}
    assert trained_on.pop("autoloss") < trained_on["retrain"] and len(set(trained_on.values())) == 1
    loaded = prediction.load(workdir, None, {})
    assert prediction.evaluate_run(loaded, workdir, "", quiet)["auc"] == pytest.approx(
        result["test"]["auc"], abs=1e-9
    )


def test_the_report_says_what_the_results_say(chosen):
    _, workdir, result = chosen
    text = (workdir / "auto.md").read_text()
    names = [line["method"] for line in rows(workdir)]
    assert [name.strip("*") for name in names] == list(FOLDERS)
    assert [name for name in names if "**" in name] == [f"**{result['method']}**"]
    assert f"**{result['method']}** was chosen: its AUC on validation is the best of 5" in text
    for line in rows(workdir):
        name = line["method"].strip("*")
        theirs = read(workdir / "search" / FOLDERS[name] / "result.json")
        assert line["val AUC"] == f"{theirs['val']['auc']:.5f}"
        assert line["val logloss"] == f"{theirs['val']['logloss']:.5f}"
        assert float(line["best epoch"]) == 1
        assert float(line["seconds"]) >= round(theirs["wall_seconds"])
        weights = theirs["config"]["method"]["static"] or ([0.25] * 4 if name == "al1" else [])
        shown = [line[f"weight of {loss}"] for loss in theirs["config"]["method"]["pool"]]
        assert not weights or [float(w) for w in shown] == pytest.approx(weights, abs=1e-3)
    assert len(text.splitlines()) < 60


def test_validation_decides_by_the_monitored_figure_and_a_tie_is_the_formers(small):
    vals = {
        "ce": {"auc": 0.7, "logloss": 0.5},
        "al1": {"auc": 0.8, "logloss": 0.6},
        "bohb": {"auc": 0.8, "logloss": 0.5},
    }
    assert auto.winner(small(train__monitor="auc"), vals) == "al1"
    assert auto.winner(small(train__monitor="logloss"), vals) == "ce"


@pytest.mark.parametrize("trials", range(1, 12))
def test_all_trainings_together_are_within_the_budget_and_ce_is_always_there(small, trials):
    found = auto.contenders(small(method__name="auto", search__trials=trials))
    assert next(iter(found)) == "ce"
    searched = found.get("bohb", {}).get("search.trials", 0)
    spent = len(found) + ("retrain" in found) + searched
    assert spent <= trials and (spent == trials or trials < 7)
    assert searched != 1  # the first trial is al1


def test_whoever_doubts_the_labels_has_corrections_among_the_contenders(small):
    doubts = {"method.name": "auto", "data.context": ("C1",), "search.trials": 16}
    cfg = settings.with_keys(small(), doubts)
    found = auto.contenders(cfg)
    corrections = [
        f"{name}_{kind}" for name in ("corrected", "noise_layer") for kind in ("missing", "flipped")
    ]
    assert list(found) == ["ce", *corrections, "retrain_from_rates", "al1", "retrain", "bohb"]
    searched = found["bohb"]["search.trials"]
    spent = 1 + 2 * 2 + 2 * 1 + 3 + 1 + 2 + searched + 1  # first models and searches too
    assert spent == 16 and found["corrected_missing"]["method.rates"] == "model"
    flipped = settings.with_keys(cfg, {"method.noise": "flipped", "search.trials": 4})
    assert list(auto.contenders(flipped)) == ["ce", "corrected_flipped", "noise_layer_flipped"]
    pool = methods.contenders(flipped)["retrain_from_rates"]["method.pool"]
    assert pool == ("flipped_ce(rate=searched)", "missing_ce(rate=searched)", "ce")
    five = settings.with_keys(cfg, {"data.num_classes": 5})
    assert list(auto.contenders(five)) == ["ce", "glc", "al1", "retrain", "bohb"]


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

    monkeypatch.setattr(loop.Trainer, "open", killed_at(loop.Trainer.open, {2, 4, 6, 8}))
    monkeypatch.setattr(auto.shutil, "copytree", killed_at(auto.shutil.copytree, {12}))
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
    with pytest.raises(UserError, match=r"--config\.search\.trials=7, not 8"):
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


def test_a_contender_that_diverges_loses(small, finished, tmp_path):
    cfg = small(method__name="auto", search__trials=4)
    train = stub(finished[2], {"ce": 0.8, "retrain": 0.7, "autoloss": 0.7})
    assert auto.train(train, cfg, tmp_path, quiet)["val"]["auc"] == 0.8
    text = (tmp_path / "auto.md").read_text()
    assert "`al1` diverged" in text and "`bohb` is not here: raise `--config.search.trials`" in text


def test_a_search_that_is_better_than_its_retraining_is_shipped(small, finished, tmp_path):
    cfg = small(method__name="auto", search__trials=4, data__train_on_trusted=True)
    train = stub(finished[2], {"ce": 0.6, "al1": 0.6, "retrain": 0.7, "autoloss": 0.8})
    assert auto.train(train, cfg, tmp_path, quiet)["val"]["auc"] == 0.8
    assert read(tmp_path / "result.json")["val"]["auc"] == 0.8
    text = (tmp_path / "auto.md").read_text()
    assert "**autoloss** was chosen" in text and "learned from fewer rows than `retrain`" in text
