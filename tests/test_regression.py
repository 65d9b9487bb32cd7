"""A logistic regression beside the recommender: scikit-learn's, and as much of it as validation
wants.
"""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from autoloss_jax import Config
from autoloss_jax.api import runs
from autoloss_jax.config import presets, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.distributed import processes
from autoloss_jax.models.regression import blend
from autoloss_jax.training import checkpoint, defaults, evaluation, loop, prediction, regression
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import divide
from autoloss_jax.training.trainer import Trainer
from tests.support.logs import log
from tests.support.runs import digest, quiet


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The config of a run on values, numbers and bags of which the label is a sum."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    n = 1500
    site, price, tags = rng.integers(0, 30, n), rng.normal(size=n), rng.integers(0, 5, (n, 2))
    z = rng.normal(size=30)[site] + price - (tags == 3).any(1)
    frame = pl.DataFrame(
        {
            "site": [f"s{v}" for v in site],
            "price": price,
            "tags": [f"t{a}|t{b}" for a, b in tags],
            "label": (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int),
        }
    )
    for name, part in {
        "train": frame[:1000],
        "valid": frame[1000:1200],
        "test": frame[1200:],
    }.items():
        part.write_csv(folder / f"{name}.csv")
    keys = {
        "data.path": str(folder),
        "data.cache": str(folder / "cache"),
        "data.categorical": ("site",),
        "data.values": ("price",),
        "data.bags": ("tags",),
        "data.trusted_share": 0.0,
        "method.name": "ce",
        "model.hidden": (8,),
        "model.members": 2,
        "model.regression": True,
        "train.batch_size": 100,
        "train.epochs": 3,
    }
    return Config().replace(keys)


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """(Its folder, its result)."""
    folder = tmp_path_factory.mktemp("run")
    return folder, loop.train(table, folder, quiet, shown=False)


def test_the_prediction_is_the_mean_of_the_recommender_and_of_scikit_learns_regression(trained):
    folder, result = trained
    loaded = checkpoint.load(checkpoint.newest(folder / "best"))
    run, state = loaded.run, loaded.state
    data = pipeline.prepare(run.data, quiet)
    splits = divide(run, data)

    def features(split):
        dense = np.zeros((len(split["y"]), data.schema.num_rows))
        np.add.at(dense, (np.arange(len(dense))[:, None], split["x"]), split["v"])
        return dense

    (train,) = splits.train
    theirs = LogisticRegression(C=0.3, max_iter=300).fit(features(train), train["y"])
    expected = theirs.decision_function(features(splits.test))
    program = evaluation.program(loaded.al, loaded.mesh)

    def logits(state):
        return evaluation.predictions(program, loaded.mesh, state, splits.test, 64)[0][:, 0]

    of_recommender, share = logits(state.replace(regression=None)), result["regression_share"]
    assert np.abs(of_recommender - expected).max() > 0.1  # they are two models
    assert 0 < share <= 1, "the label is a sum: a regression is of use"
    mean = (1 - share) * of_recommender + share * expected
    np.testing.assert_allclose(logits(state), mean, atol=5e-3)


def test_figures_and_scores_are_those_of_the_mean(trained, tmp_path):
    folder, result = trained
    run = runs.load(folder)
    assert run.evaluate()["auc"] == pytest.approx(result["test"]["auc"], abs=1e-9)
    test = pl.read_csv(f"{run.config.data.path}/test.csv").drop("label")
    loaded = prediction.load(folder, None, {})
    rows = divide(loaded.run, pipeline.prepare(loaded.run.data, quiet)).test
    logits = prediction.logits_of(loaded)(rows)[:, 0]
    np.testing.assert_allclose(run.predict(test), 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_a_run_that_goes_on_ends_in_the_same_bits(trained, table, tmp_path):
    """With the regression that it began with: another is not fitted."""

    def killed(evaluations, val):
        if evaluations == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(table, tmp_path, quiet, killed, shown=False)
    loop.train(table, tmp_path, quiet, shown=False)
    assert digest(tmp_path) == digest(trained[0])


def test_training_does_not_touch_it_and_the_recommender_learns_as_alone(trained, table, tmp_path):
    loop.train(settings.with_keys(table, {"model.regression": False}), tmp_path, quiet, shown=False)
    alone, beside = (
        checkpoint.load(checkpoint.newest(folder / "checkpoints")).state
        for folder in (tmp_path, trained[0])
    )
    assert beside.step == alone.step
    for one, other in zip(*map(jax.tree.leaves, (alone.drs, beside.drs)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("recommender", "of_regression", "share"),
    [(2.0, 0.0, 0.0), (1.0, 1.0, 0.5), (0.0, 2.0, 1.0)],
)
def test_validation_finds_how_good_each_is(recommender, of_regression, share):
    """Each says the truth, with a noise of its own, as loud as the other is good."""
    rng, n = np.random.default_rng(0), 20_000
    truth = 2 * rng.normal(size=(n, 1))
    labels = (rng.random(n) < 1 / (1 + np.exp(-truth[:, 0]))).astype(int)
    one, other = (
        weight * truth + rng.normal(size=(n, 1)) for weight in (recommender, of_regression)
    )
    assert regression.best_share({"y": labels}, one, other) == share


@pytest.mark.parametrize(
    ("keys", "beside"),
    [
        ({}, True),
        ({"model.name": "lr"}, False),
        ({"data.context": ("a",)}, False),
        ({"method.name": "corrected", "data.trusted_share": 0.5}, False),
    ],
)
def test_by_rule_there_is_one_where_labels_are_not_doubted(keys, beside, tmp_path):
    log("linear", 1000).write_csv(tmp_path / "log.csv")
    data = {"data.path": str(tmp_path / "log.csv"), "data.cache": str(tmp_path / "cache")}
    plain = {"method.name": "ce", "data.trusted_share": 0.0}
    asked = Config().replace(presets.BY_RULE | data | plain | keys)
    assert defaults.resolved(asked, tmp_path, quiet).model.regression is beside


def test_several_processes_are_told_that_it_works_in_one(table, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(UserError, match=r"model\.regression=True: works in one process"):
        regression.fitted(None, None, None, None)


def test_several_classes_have_a_regression_of_as_many_logits(table, tmp_path):
    frame = pl.read_csv(f"{table.data.path}/train.csv")
    classes = pl.Series("label", np.arange(len(frame)) % 3)
    frame.with_columns(classes).write_csv(tmp_path / "log.csv")
    keys = {"data.path": str(tmp_path / "log.csv"), "data.num_classes": 3}
    trainer = Trainer.open(Run.of(table.replace(keys)), tmp_path, quiet)
    start = trainer.run.initial_state(trainer.al)
    state = regression.fitted(trainer.splits, trainer.store, start, trainer.mesh)
    wanted = trainer.run.abstract_state(trainer.al, trainer.mesh)
    assert checkpoint.signature(state) == checkpoint.signature(wanted)
    assert state.regression.intercept.size == 3


def test_where_one_has_all_of_the_prediction_it_is_its_own_to_the_bit():
    """Else its logits, which are kept, would differ by which recommender they were taken beside,
    and those of a run that was stopped from those of one that was not.
    """
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 999, 1)).astype(np.float32) * np.float32([[[1]], [[7]]])
    for share, wanted in ((0.0, one), (1.0, other)):
        np.testing.assert_array_equal(blend(one, other, np.float32(share)), wanted)
        np.testing.assert_array_equal(jax.jit(blend)(one, other, jnp.float32(share)), wanted)
