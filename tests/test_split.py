"""Train is the oldest rows where time divides them, W's vocabulary holds what W learns from, and
noise is as asked.
"""

import dataclasses

import numpy as np
import polars as pl
import pytest

from autoloss_jax import config
from autoloss_jax.config import Config, Data, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import split, store
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.training.run import Run
from autoloss_jax.training.splits import divide


def quiet(_):
    pass


def ratings(path, rows=400, seed=0):
    """Users of one rating each, so that an id tells its row; every tenth row's time is not
    known.
    """
    random = np.random.default_rng(seed)
    times = random.permutation(rows) // 3
    stars = random.integers(1, 6, rows)
    lines = [
        f"{i}::{i % 7}::{s}::{-1 if i % 10 == 0 else t}"
        for i, (s, t) in enumerate(zip(stars, times, strict=True))
    ]
    path.write_text("\n".join(lines) + "\n")
    return np.where(np.arange(rows) % 10 == 0, -1, times)


def data(path, cache, **values):
    base = {
        "name": "t",
        "format": "ratings",
        "num_classes": 5,
        "path": str(path),
        "cache": str(cache),
    }
    return Data(**base | values)


def users(prepared, name):
    """Raw user ids of a split, where the vocabulary has them."""
    _, vocabulary = store.load_vocabulary(prepared.path)
    words = vocabulary.filter(pl.col("field") == "user")["value"].to_list()
    return [int(words[i - 1]) for i in prepared.split(name)["x"][:, 0] if i]


def test_the_oldest_rows_are_train_and_rows_without_a_time_are_left_out(tmp_path):
    times = ratings(tmp_path / "r.dat")
    prepared = pipeline.prepare(
        data(tmp_path / "r.dat", tmp_path / "cache", time="timestamp"), quiet
    )
    rows = prepared.schema.num_examples
    assert (
        sum(rows.values()) == (times >= 0).sum()
        and prepared.schema.num_skipped == (times < 0).sum()
    )
    assert abs(rows["train"] / sum(rows.values()) - 0.8) < 0.02
    mine = times[users(prepared, "train")]
    assert len(mine) == rows["train"]
    rest = np.setdiff1d(times[times >= 0], mine)
    assert mine.max() < rest.min()  # rows of one moment stay together


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_any_column_of_a_table_may_be_the_time_even_one_that_is_a_field(tmp_path, format):
    frame = pl.DataFrame({"label": [0, 1] * 50, "site": ["a", "b"] * 50, "day": range(100)})
    path = tmp_path / f"d.{format}"
    frame.write_csv(path) if format == "csv" else frame.write_parquet(path)
    given = Data(
        path=str(path), cache=str(tmp_path / "cache"), categorical=("site", "day"), time="day"
    )
    rows = pipeline.prepare(given, quiet).schema.num_examples
    assert rows == {"train": 80, "val": 10, "test": 10}


def test_a_time_that_is_not_there_is_one_line(tmp_path):
    ratings(tmp_path / "r.dat")
    with pytest.raises(UserError, match=r"data\.time='timestmp'.*did you mean 'timestamp'"):
        pipeline.prepare(data(tmp_path / "r.dat", tmp_path / "cache", time="timestmp"), quiet)
    (tmp_path / "r.dat").write_text("1::2::3::-1\n" * 20)
    with pytest.raises(UserError, match=r"no row of .* has a time"):
        pipeline.prepare(data(tmp_path / "r.dat", tmp_path / "cache", time="timestamp"), quiet)


@pytest.mark.parametrize("time", ["", "timestamp"])
def test_values_of_the_rows_that_are_folded_in_enter_the_vocabulary_and_no_others(tmp_path, time):
    ratings(tmp_path / "r.dat")
    cfg = settings.with_keys(
        Config(data=data(tmp_path / "r.dat", tmp_path / "cache", time=time, train_on_trusted=True)),
        {"method.name": "ce"},
    )
    prepared = pipeline.prepare(Run.of(cfg).data, quiet)
    splits = divide(Run.of(cfg), prepared)
    x, folded = (part["x"] for part in splits.train)
    assert (x[:, 0] > 0).all() and (folded[:, 0] > 0).all()
    assert (splits.val["x"][:, 0] == 0).all() and (
        splits.test["x"][:, 0] == 0
    ).all()  # one rating a user
    assert prepared.schema.vocab_sizes[0] == 1 + len(x) + len(folded)


def test_a_method_that_searches_keeps_its_controllers_rows_out_of_the_vocabulary(tmp_path):
    given = data(tmp_path / "r.dat", tmp_path / "cache", train_on_trusted=True)
    for name, folds_in in (("autoloss", False), ("darts", False), ("al1", True), ("slf", True)):
        cfg = settings.with_keys(Config(data=given), {"method.name": name})
        assert Run.of(cfg).data.train_on_trusted == folds_in, name


def test_folds_part_the_rows_that_would_teach_the_recommender_and_no_others(tmp_path):
    ratings(tmp_path / "r.dat")
    given = data(tmp_path / "r.dat", tmp_path / "cache", train_on_trusted=True)
    base = settings.with_keys(Config(data=given), {"method.name": "autoloss"})
    prepared = pipeline.prepare(given, quiet)

    def users(parts):  # one rating a user
        return [int(user) for part in parts for user in part["x"][:, 0]]

    ce = settings.with_keys(base, {"method.name": "ce"})
    plain = divide(Run.of(ce), prepared)
    taught = []
    for k in range(3):
        cfg = settings.with_keys(base, {"data.trusted_fold": (k, 3)})
        assert Run.of(cfg).data == dataclasses.replace(
            given, trusted_fold=(k, 3)
        )  # the same vocabulary
        splits = divide(Run.of(cfg), prepared)
        mine, others = users(splits.controller), users(splits.train)
        assert sorted(mine + others) == sorted(users(plain.train))
        assert len(mine) == pytest.approx(len(others) / 2, abs=3)
        assert np.array_equal(splits.val["y"], plain.val["y"])
        taught += mine
    assert sorted(taught) == sorted(users(plain.train))


@pytest.mark.parametrize("fold", [(0,), (5, 5), (-1, 5), (0, 1)])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(UserError, match=r"data\.trusted_fold=.*as 0,5"):
        config.check(settings.with_keys(Config(), {"data.trusted_fold": fold}))


def test_noise_is_as_much_as_asked_and_the_same_every_time():
    labels = np.random.default_rng(0).integers(0, 5, 100_000).astype(np.int32)
    lost = split.corrupted(labels, 0.4, 0.0, 5, seed=3)
    assert (lost[labels == 0] == 0).all()
    assert abs((lost[labels > 0] == 0).mean() - 0.4) < 0.01
    assert (lost[lost > 0] == labels[lost > 0]).all()
    flipped = split.corrupted(labels, 0.0, 0.2, 5, seed=3)
    shares = np.bincount((flipped - labels) % 5, minlength=5) / len(labels)
    assert np.allclose(shares, [0.8, 0.05, 0.05, 0.05, 0.05], atol=0.005)
    assert np.array_equal(flipped, split.corrupted(labels, 0.0, 0.2, 5, seed=3))
    assert not np.array_equal(flipped, split.corrupted(labels, 0.0, 0.2, 5, seed=4))


def test_what_is_lost_differs_by_the_value_of_a_field(tmp_path):
    shares = split.shares(0.4, [6], seed=0)
    assert sorted(shares[1:]) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert shares[0] == 0.4  # of a value that is not known
    assert split.shares(0.7, [3], seed=0).max() == 1.0
    values = np.random.default_rng(0).integers(0, 6, 100_000)
    for missing, flipped in ((shares[values], 0.0), (0.0, shares[values])):
        lost = split.corrupted(np.ones(100_000, np.int32), missing, flipped, 2, seed=3)
        for value, share in enumerate(shares):
            assert (lost[values == value] == 0).mean() == pytest.approx(share, abs=0.015)
    ratings(tmp_path / "r.dat", rows=4000)
    given = data(tmp_path / "r.dat", tmp_path / "cache", missing=0.4, missing_by="movie")
    cfg = settings.with_keys(Config(data=given), {"method.name": "ce"})
    prepared = pipeline.prepare(given, quiet)
    (train,) = divide(Run.of(cfg), prepared).train
    movie = np.asarray(train["x"])[:, 1] - prepared.schema.offsets[1]
    shares = split.shares(0.4, prepared.schema.vocab_sizes[1:2], given.split_seed)
    zero = np.array([(train["y"][movie == m] == 0).mean() for m in range(1, 8)])
    assert np.allclose(zero, 0.2 + 0.8 * shares[1:], atol=0.07)


def test_what_is_lost_by_two_fields_together_shows_in_neither_alone():
    shares = split.shares(0.4, [8, 41], seed=0)
    assert shares.shape == (8, 41)
    known = shares[1:, 1:]
    assert np.allclose(np.sort(known, axis=0), np.linspace(0, 0.8, 7)[:, None])
    assert known.mean(1) == pytest.approx(0.4, abs=0.1)  # 40 steps drawn from 7
    assert np.ptp(known, axis=1).min() == pytest.approx(0.8)


def test_unlikely_positives_are_lost_more_and_their_number_is_as_said():
    random = np.random.default_rng(0)
    ids = np.stack([random.integers(0, 30, 20_000), random.integers(30, 70, 20_000)], axis=1)
    score = random.normal(0, 1, 70)[ids].sum(1)
    labels = (random.random(20_000) < 1 / (1 + np.exp(-score))).astype(int)
    factor = split.unlikely(ids, labels)
    positive = labels > 0
    assert factor.min() >= 0 and factor.max() <= 2
    assert factor[positive].mean() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(factor[positive], score[positive])[0, 1] < -0.9


def test_a_chosen_sample_of_trusted_rows_is_said_in_a_study(tmp_path):
    ratings(tmp_path / "r.dat", rows=4000)
    given = data(tmp_path / "r.dat", tmp_path / "cache", train_on_trusted=True)
    cfg = settings.with_keys(Config(data=given), {"method.name": "ce"})
    prepared = pipeline.prepare(Run.of(cfg).data, quiet)

    def trusted(of):
        run = Run.of(settings.with_keys(cfg, {"data.trusted_of": of}))
        return divide(run, prepared).train[1]

    every, positives, movies = (trusted(of) for of in ("", "positives", "movie"))
    assert (positives["y"] > 0).sum() == (every["y"] > 0).sum()
    assert (positives["y"] == 0).sum() == pytest.approx((every["y"] == 0).sum() / 2, rel=0.15)
    assert len(np.unique(movies["x"][:, 1])) < len(np.unique(every["x"][:, 1])) / 2


def test_noise_is_in_train_alone(tmp_path):
    ratings(tmp_path / "r.dat")
    given = data(tmp_path / "r.dat", tmp_path / "cache", train_on_trusted=True)
    clean, noisy = (
        settings.with_keys(Config(data=given), {"method.name": "ce", "data.missing": rate})
        for rate in (0.0, 0.9)
    )
    prepared = pipeline.prepare(Run.of(clean).data, quiet)
    theirs, ours = (divide(Run.of(cfg), prepared) for cfg in (clean, noisy))
    assert (ours.train[0]["y"] == 0).mean() > 0.8 > (theirs.train[0]["y"] == 0).mean()
    for a, b in (
        (theirs.train[1], ours.train[1]),
        (theirs.val, ours.val),
        (theirs.test, ours.test),
    ):
        assert np.array_equal(a["y"], b["y"])
