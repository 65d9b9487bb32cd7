"""Searches over trainings: what is found is no worse than what was given, and a kill changes
nothing.
"""

import json

import jax
import numpy as np
import optuna
import pytest

from autoloss_jax.algorithm import candidates, methods, networks
from autoloss_jax.cli import modes
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.search import bohb, gain, trials, tune
from autoloss_jax.search import train as searching
from autoloss_jax.training import checkpoint, loop
from tests.support.runs import digest

pytestmark = pytest.mark.slow


def quiet(_):
    pass


@pytest.fixture(scope="session")
def searched(small, tmp_path_factory):
    """A finished BOHB: (config, workdir, result)."""
    workdir = tmp_path_factory.mktemp("bohb") / "run"
    cfg = small(method__name="bohb", search__trials=6, train__epochs=4)
    return cfg, workdir, searching.train(cfg, workdir, quiet)


def record(workdir):
    """The trials of a search, but for what they took."""
    done = json.loads((workdir / "search" / "trials.json").read_text())
    assert all(t.pop("seconds") > 0 for t in done)
    return done


def test_bohb_trains_the_static_weights_that_it_found(searched):
    cfg, workdir, result = searched
    found = json.loads((workdir / "search" / "best.json").read_text())
    weights = result["config"]["method"]["static"]
    assert result["method"] == "bohb"
    assert weights == found["keys"]["method.static"]
    assert len(weights) == len(candidates.parse_pool(cfg.method.pool)) and np.isclose(
        sum(weights), 1
    )
    done = record(workdir)
    assert [t["trial"] for t in done] == list(range(6))
    assert np.allclose(done[0]["keys"]["method.static"], 0.25)
    whole = [t["logloss"] for t in done if t["state"] == "complete"]
    assert found["logloss"] == min(whole)


def test_hyperband_gives_some_trials_up_early(searched):
    _, workdir, _ = searched
    assert {t["state"] for t in record(workdir)} == {"complete", "pruned"}
    assert all(t["evaluations"] < 4 for t in record(workdir) if t["state"] == "pruned")


def test_a_search_killed_in_the_middle_of_a_trial_ends_as_if_it_had_not_been(
    searched, tmp_path, monkeypatch
):
    cfg, workdir, _ = searched
    plain, calls = trials.loop.train, []

    def killed(cfg, here, say, watch, **kwargs):
        def watching(evaluations, val):
            watch(evaluations, val)
            calls.append(evaluations)
            if len(calls) in (3, 7):
                raise KeyboardInterrupt

        return plain(cfg, here, say, watching, **kwargs)

    monkeypatch.setattr(trials.loop, "train", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            bohb.weights(cfg, tmp_path / "search", quiet)
    keys = bohb.weights(cfg, tmp_path / "search", quiet)
    assert keys == bohb.weights(cfg, workdir / "search", quiet)
    assert record(tmp_path) == record(workdir)


def test_a_finished_search_is_not_run_again(searched, monkeypatch):
    cfg, workdir, result = searched
    monkeypatch.setattr(trials, "_run", None)
    assert searching.train(cfg, workdir, quiet) == result


def test_another_search_in_the_same_workdir_is_refused(searched):
    cfg, workdir, _ = searched
    other = settings.with_keys(cfg, {"optimizer.learning_rate": 0.01})
    with pytest.raises(
        UserError, match=r"holds a run with --config\.optimizer\.learning_rate=0\.001"
    ):
        bohb.weights(other, workdir / "search", quiet)


def test_retraining_searches_a_controller_and_trains_anew_under_it_on_all_rows(small, tmp_path):
    cfg = small(
        method__name="retrain", method__policy="mean", data__train_on_trusted=True, train__epochs=1
    )
    result = searching.train(cfg, tmp_path, quiet)
    search = json.loads((tmp_path / "search" / "result.json").read_text())
    assert (search["method"], result["method"]) == ("autoloss", "retrain")
    assert result["num_examples"]["train"] > search["num_examples"]["train"]
    theirs, ours = (
        checkpoint.load(checkpoint.newest(w / "best")).state.controller
        for w in (tmp_path / "search", tmp_path)
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, theirs.params, ours.params))


def test_cross_fitted_searches_teach_their_controllers_with_all_rows_once(small, tmp_path):
    cfg = small(
        method__name="retrain",
        method__folds=3,
        data__train_on_trusted=True,
        data__trusted_share=0.5,
        train__epochs=1,
    )
    result = searching.train(cfg, tmp_path, quiet)
    all_rows = result["num_examples"]["train"]
    others = [
        json.loads((tmp_path / "search" / f"fold-{k}" / "result.json").read_text())["num_examples"][
            "train"
        ]
        for k in range(3)
    ]
    assert sum(all_rows - rows for rows in others) == all_rows
    ours, *theirs = (
        checkpoint.load(checkpoint.newest(run / "best"))
        for run in (tmp_path, *(tmp_path / "search" / f"fold-{k}" for k in range(3)))
    )
    logits, labels = jax.numpy.linspace(-3, 3, 8)[:, None], jax.numpy.arange(8) % 2

    def alpha(run):
        V = run.state.controller
        return networks.mean_policy(run.al, V.params, V.stats, logits, {"y": labels})

    assert np.allclose(alpha(ours), np.mean([alpha(run) for run in theirs], axis=0), atol=1e-6)
    assert not np.allclose(alpha(theirs[0]), alpha(theirs[1]), atol=1e-4)


@pytest.mark.nightly
def test_a_cross_fitted_retraining_that_is_killed_ends_in_the_same_bits(
    small, tmp_path, monkeypatch
):
    cfg = small(method__name="retrain", method__folds=2, data__trusted_share=0.0, train__epochs=2)
    whole = searching.train(cfg, tmp_path / "whole", quiet)
    plain, calls = loop.train, []

    def killed(cfg, here, say, **kwargs):
        def watch(evaluations, val):
            calls.append(evaluations)
            if len(calls) in (2, 4, 7):
                raise KeyboardInterrupt

        return plain(cfg, here, say, watch, **kwargs)

    monkeypatch.setattr(loop, "train", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            searching.train(cfg, tmp_path / "killed", quiet)
    again = searching.train(cfg, tmp_path / "killed", quiet)
    assert again["test"] == whole["test"]
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")


OVER = ("optimizer.l2", "model.dropout", "model.embed_dim", "train.batch_size")


def test_tuning_begins_with_the_config_as_given_and_keeps_it_where_nothing_is_surely_better(
    small, tmp_path, monkeypatch
):
    cfg = small(method__name="ce", search__trials=3, train__epochs=1, search__over=OVER)
    said = []
    monkeypatch.setattr(tune, "plateau", lambda done, spaces: done[-1])
    found = tune.tune(cfg, tmp_path / "chance", said.append)
    first, *others = done = json.loads((tmp_path / "chance" / "trials.json").read_text())
    given = {name: value for name, value, _ in settings.keys(cfg) if name in OVER}
    assert found == first["keys"] == given | {"optimizer.l2": 1e-7} and len(done) == 3
    assert first["state"] == "complete" and any("may be chance" in line for line in said)
    for name, value in (pair for trial in others for pair in trial["keys"].items()):
        assert value == float(f"{value:.2g}"), name
        assert isinstance(value, int) == tune.SPACES[name].whole, name
    assert all(200 * 4 >= trial["keys"]["train.batch_size"] >= 32 for trial in others)
    better = gain.Gain("AUC", 0.1, 0.05)
    monkeypatch.setattr(gain, "between", lambda cfg, ours, theirs, tried: better)
    last = [trial for trial in done if trial["state"] == "complete"][-1]
    assert tune.tune(cfg, tmp_path / "better", quiet) == last["keys"]


def trials_of(figures):
    """Finished trials at points of two spaces, with a figure each."""
    spaces = {"a": tune.Space(1e-4, 1.0), "b": tune.Space(0.0, 1.0, log=False)}
    ranges = {
        name: optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)
        for name, space in spaces.items()
    }
    return spaces, [
        optuna.trial.create_trial(params={"a": a, "b": b}, distributions=ranges, value=value)
        for (a, b), value in figures.items()
    ]


def test_a_lucky_trial_among_bad_ones_is_not_the_best_but_one_among_good_ones_is():
    rng = np.random.default_rng(0)
    points = [(float(10 ** -rng.uniform(0, 4)), float(rng.random())) for _ in range(30)]
    figures = {(a, b): (np.log10(a) + 1) ** 2 * 0.01 + rng.normal() * 5e-4 for a, b in points}
    lucky = min(figures, key=lambda p: abs(np.log10(p[0]) + 3))  # far from the valley at a = .1
    figures[lucky] = min(figures.values()) - 1e-4
    spaces, done = trials_of(figures)
    assert trials.lowest(done).params["a"] == lucky[0]
    assert abs(np.log10(tune.plateau(done, spaces).params["a"]) + 1) < 0.4
    assert tune.plateau(done[:5], spaces) is trials.lowest(done[:5])


def test_no_trial_begins_after_the_minutes_of_a_search(small, tmp_path):
    said = []
    cfg = small(method__name="ce", search__trials=5, train__epochs=1, search__minutes=1e-6)
    trials.search(cfg, tmp_path, lambda trial: {"optimizer.l2": 1e-7}, said.append)
    assert len(json.loads((tmp_path / "trials.json").read_text())) == 1
    assert any("none more begins" in line for line in said)


def test_the_best_of_tuning_is_printed_as_flags_and_trained_in_the_workdir(
    small, tmp_path, monkeypatch, capsys
):
    cfg = small(
        method__name="ce",
        model__name="lr",
        search__trials=2,
        train__epochs=1,
        search__over=("optimizer.l2",),
    )
    plain, calls = loop.train, []

    def killed(*args, **kwargs):
        calls.append(args[1])
        if len(calls) in (2, 4):  # in a trial, and before the best is trained
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(loop, "train", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            modes.tune(cfg, tmp_path)
    modes.tune(cfg, tmp_path)
    assert calls[-2:] == [tmp_path] * 2
    result = json.loads((tmp_path / "result.json").read_text())
    found = json.loads((tmp_path / "tune" / "best.json").read_text())["keys"]
    assert result["config"]["optimizer"]["l2"] == found["optimizer.l2"]
    printed = capsys.readouterr().out.splitlines()
    assert printed.count(f"--config.optimizer.l2={found['optimizer.l2']}") == 2
    assert f"{result['test']['auc']:.5f}" in "\n".join(printed)


def test_tuning_leaves_a_run_that_was_not_tuned_alone(small, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run that was not tuned"):
        modes.tune(small(), tmp_path)
    assert not (tmp_path / "tune").exists()


def test_a_key_that_cannot_be_tuned_is_refused(small, tmp_path):
    with pytest.raises(UserError, match=r"did you mean 'optimizer\.l2'"):
        tune.tune(small(search__over=("optimizer.l",)), tmp_path, quiet)
    with pytest.raises(UserError, match="tune one method"):
        tune.tune(small(method__name="auto"), tmp_path, quiet)


@pytest.mark.parametrize("weights", [(), (1.0,), (0.5, 0.5, -0.1, 0.1), (0.0, 0.0, 0.0, 0.0)])
def test_static_weights_must_be_as_many_as_the_pool_and_not_negative(small, weights):
    with pytest.raises(UserError, match=r"method\.static"):
        methods.resolve(small(method__name="static", method__static=weights).method)


def test_a_proposal_that_diverges_is_a_failed_trial_and_the_search_goes_on(small, tmp_path):
    cfg = small(method__name="ce", search__trials=3, train__epochs=1)

    def suggest(trial):
        return {"optimizer.learning_rate": 1e30 if trial.number == 1 else 1e-3}

    trials.search(cfg, tmp_path, suggest, quiet)
    done = json.loads((tmp_path / "trials.json").read_text())
    assert [t["state"] for t in done] == ["complete", "fail", "complete"]
