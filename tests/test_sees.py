"""Fields that a controller sees beside (y, y_hat): the right values reach it, wherever batches
are made, and it uses them.
"""

import shutil

import jax
import numpy as np
import polars as pl
import pytest

from autoloss_jax.algorithm import networks
from autoloss_jax.analysis import export, pictures
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.search import train as searching
from autoloss_jax.training import checkpoint, loop, prediction
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import divide
from tests.support.nightly import further

pytestmark = pytest.mark.slow

ROWS = 2400


def quiet(_):
    pass


@pytest.fixture(scope="module")
def clicks(small, tmp_path_factory):
    """A config whose data have two channels: in `web` every click is seen, in `app` 7 of 10 are
    lost in train.
    """
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("clicks")
    for name, rows in {"train": ROWS, "valid": ROWS // 2, "test": ROWS // 4}.items():
        taste = random.integers(0, 10, rows)
        label = (random.random(rows) < taste / 10).astype(int)
        channel = np.where(random.random(rows) < 0.5, "app", "web")
        if name == "train":
            label[(channel == "app") & (random.random(rows) < 0.7)] = 0
        columns = {"label": label, "channel": channel, "taste": taste.astype(str)}
        pl.DataFrame(columns).write_csv(folder / f"{name}.csv")
    cfg = small(
        data__format="tabular",
        data__path=str(folder),
        data__categorical=("taste", "channel"),
        data__context=("channel",),
        method__pool=("ce", "missing_ce(rate=0.7)"),
        method__every=1,
        optimizer__controller_learning_rate=0.02,
        optimizer__learning_rate=0.01,
        train__batch_size=100,
        train__epochs=6,
        train__patience=6,
        model__dropout=0.0,
    )
    return cfg


@pytest.fixture(scope="module")
def searched(clicks, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("searched") / "run"
    return clicks, workdir, loop.train(clicks, workdir, quiet)


def test_what_is_seen_are_the_fields_values_row_by_row(clicks):
    prepared = pipeline.prepare(clicks.data, quiet)
    splits = divide(Run.of(clicks), prepared)
    offset = int(prepared.schema.offsets[prepared.schema.fields.index("channel")])
    parts = [*splits.train, *splits.controller, splits.val, splits.test]
    for part in parts:
        column = list(prepared.schema.fields).index("channel")
        assert np.array_equal(part["seen"][:, 0], np.asarray(part["x"])[:, column] - offset)
        assert set(np.unique(part["seen"])) == {1, 2}


def test_a_method_without_a_controller_sees_nothing(clicks):
    prepared = pipeline.prepare(clicks.data, quiet)
    for name in ("ce", "al1", "darts"):
        cfg = settings.with_keys(clicks, {"method.name": name})
        splits = divide(Run.of(cfg), prepared)
        assert "seen" not in splits.train[0], name


def test_it_finds_where_labels_are_lost(searched):
    """Of negatives that look like clicks, those of the channel that loses clicks are forgiven,
    the others not.
    """
    _, workdir, _ = searched
    negatives, positives = pictures.of(workdir)["weights-channel"].axes
    words = [tick.get_text() for tick in positives.get_xticklabels()]
    ce = dict(zip(words, negatives.get_lines()[0].get_ydata(), strict=True))
    assert ce["app"] < 0.2 < 0.5 < ce["web"]
    assert ce["app"] < ce["unknown"] < ce["web"]


def test_batches_from_the_host_show_it_the_same(searched, tmp_path):
    """To the rounding of two programs; that the batches are the same rows is of test_host.py."""
    cfg, _, _ = searched
    for residence in ("device", "host"):
        keys = {"data.residence": residence, "train.epochs": 1}
        loop.train(settings.with_keys(cfg, keys), tmp_path / residence, quiet)
    ends = [
        checkpoint.load(checkpoint.newest(tmp_path / residence / "best")).state
        for residence in ("device", "host")
    ]
    (drs, V), (other, other_V) = ((e.drs.params, e.controller.params) for e in ends)
    for ours, theirs in ((drs, other), (V, other_V)):
        gaps = jax.tree.map(lambda a, b: float(abs(a - b).max()), ours, theirs)
        assert max(jax.tree.leaves(gaps)) < 0.03  # Adam enlarges rounding


def test_a_checkpoint_evaluates_and_predicts_as_it_was_trained(searched, tmp_path):
    cfg, workdir, result = searched
    again = prediction.evaluate_run(prediction.load(workdir, None, {}), workdir, "", quiet)
    assert again["auc"] == pytest.approx(result["test"]["auc"], abs=1e-9)
    path = f"{cfg.data.path}/test.csv"
    other = prediction.load(workdir, None, {"data.path": path})
    assert prediction.evaluate_run(other, workdir, "", quiet)["auc"] == pytest.approx(
        again["auc"], abs=1e-9
    )
    pl.read_csv(path).drop("label").write_csv(tmp_path / "new.csv")
    new = prediction.load(workdir, None, {"data.path": str(tmp_path / "new.csv")})
    assert prediction.predict(new, workdir, tmp_path / "scores.parquet") == ROWS // 4


def test_it_may_be_searched_frozen_and_replayed(searched, tmp_path):
    cfg, workdir, _ = searched
    keys = {
        "method.name": "transfer",
        "method.policy": "replay",
        "method.transfer_from": str(workdir),
    }
    result = loop.train(settings.with_keys(cfg, keys), tmp_path / "run", quiet)
    assert result["test"]["auc"] > 0.8
    blind = settings.with_keys(cfg, keys | {"data.context": ()})
    with pytest.raises(UserError, match="does not fit"):
        loop.train(blind, tmp_path / "blind", quiet)


@pytest.mark.parametrize("policy", further(["mean", "replay"], daily=["replay"]))
def test_what_it_learnt_of_a_value_stays_with_the_word(clicks, tmp_path, policy):
    """With the controller's rows in the vocabulary its order is another, and there is a channel
    that the search never saw.
    """
    folder = tmp_path / "data"
    shutil.copytree(clicks.data.path, folder)
    train_rows, val = pl.read_csv(folder / "train.csv"), pl.read_csv(folder / "valid.csv")
    few = train_rows.sort("channel").tail(ROWS * 3 // 4)  # web first, app after it
    few.sample(fraction=1.0, shuffle=True, seed=0).write_csv(folder / "train.csv")
    channel = pl.Series(np.resize(["app", "app", "app", "call"], val.height))
    val.with_columns(channel.alias("channel")).write_csv(folder / "valid.csv")
    keys = {
        "data.path": str(folder),
        "data.trusted_share": 0.9,
        "data.train_on_trusted": True,
        "data.min_count": 1,
        "method.name": "retrain",
        "method.policy": policy,
        "train.epochs": 1,  # the best controller is the only snapshot
    }
    searching.train(settings.with_keys(clicks, keys), tmp_path / "run", quiet)
    alphas = {}
    for where in ("run", "run/search"):
        words = ["unknown", *store.words(tmp_path / where, "channel")]
        loaded = checkpoint.load(checkpoint.newest(tmp_path / where / "best"))
        V, stats = loaded.state.controller.params, loaded.state.controller.stats
        batch = {"y": np.zeros(len(words), np.int32), "seen": np.arange(len(words))[:, None]}
        alpha = networks.mean_policy(loaded.al, V, stats, jax.numpy.zeros((len(words), 1)), batch)
        alphas[where] = dict(zip(words, np.asarray(alpha), strict=True))
    ours, theirs = alphas["run"], alphas["run/search"]
    assert list(ours)[1:] != list(theirs)[1:]
    assert not np.allclose(theirs["app"], theirs["web"], atol=1e-3)
    for word in ("app", "web", "unknown"):
        assert np.allclose(ours[word], theirs[word], atol=1e-6), word
    assert np.allclose(ours["call"], theirs["unknown"], atol=1e-6)


def test_its_loss_is_exported_with_a_column_for_each_value(searched, tmp_path):
    """Values that get lost more have another loss, as the controller has it."""
    record = export.export(searched[1], tmp_path)
    words = store.words(searched[1], "channel")
    assert record["context"] == {"fields": ["channel"], "words": [words]}
    table = record["labels"]["0"]
    value = np.array(table["value"])
    assert value.shape == (len(table["logits"]), len(words) + 1)
    assert np.ptp(value[:, 1:], axis=1).max() > 1e-3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"data.context": ("chanel",)},
            r"data\.context: 'chanel' is not a column of.*did you mean 'channel'",
        ),
        (
            {"data.missing_by": "tast"},
            r"data\.missing_by: 'tast' is not a field.*did you mean 'taste'",
        ),
        ({"data.context": ("taste",), "data.bags": ("taste",)}, "'taste' is a bag of values"),
        (
            {"data.context": ("taste",), "data.values": ("taste",)},
            "'taste' is a number fed as a value",
        ),
    ],
)
def test_a_field_that_it_cannot_see_is_one_line(clicks, tmp_path, keys, message):
    cfg = settings.with_keys(clicks, keys)
    kept = tuple(c for c in clicks.data.categorical if c not in cfg.data.bags + cfg.data.values)
    cfg = settings.with_keys(cfg, {"data.categorical": kept, "data.missing": 0.2})
    with pytest.raises(UserError, match=message):
        loop.train(cfg, tmp_path, quiet)
