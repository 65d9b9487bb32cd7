"""What train's labels say of a value is an input: of a row of train by the other folds, of any
other row by all of train; new rows have the same.
"""

import re

import numpy as np
import polars as pl
import pytest

import autoloss_jax
from autoloss_jax.config import Config, Data, check, presets
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline, stages, target_encoding
from autoloss_jax.training import defaults

PRIOR = target_encoding.PRIOR_ROWS


def frame_of(rows=3000, classes=2, seed=0):
    """Users with a rate each; whole numbers that say which row it is."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 60, rows), rng.integers(0, 30, rows)
    rate = rng.beta(1, 2, 60)[user]
    label = rng.binomial(classes - 1, rate)
    return pl.DataFrame({"user": user, "item": item, "row": np.arange(rows), "label": label})


def prepared(frame, folder, categorical=("user", "item"), **keys):
    folder.mkdir(exist_ok=True)
    for name, part in (("train", 0), ("valid", 1), ("test", 2)):
        frame.filter((pl.col("row") % 4).clip(0, 2) == part).write_csv(folder / f"{name}.csv")
    data = Data(
        path=str(folder),
        cache=str(folder / "cache"),
        categorical=categorical,
        values=("row",),  # so that a row is known again
        **keys,
    )
    return data, pipeline.prepare(data, lambda _: None)


def numbers(found, split, field):
    """The number of each row, as it was before it was standardised."""
    mean, deviation = found.schema.scales[field]
    return (
        np.asarray(found.split(split)["v"])[:, found.schema.fields.index(field)] * deviation + mean
    )


def logit(p):
    return np.log(p / (1 - p))


@pytest.mark.parametrize("name", ["user", "user*item", "user*kind*item"])
def test_of_rows_that_taught_nothing_it_is_the_smoothed_share_over_train(tmp_path, name):
    fields, by = ("user", "item", "kind"), name.split("*")
    frame = frame_of().with_columns(kind=pl.col("row") // 4 % 3)
    _, found = prepared(frame, tmp_path / "log", fields, target_encoding=(name,))
    assert found.schema.fields == (*fields, "row", f"{name} rate", f"{name} count")
    train = frame.filter(pl.col("row") % 4 == 0)
    known = train.group_by(by).agg(pl.len().alias("n"), pl.col("label").sum().alias("s"))
    prior = train["label"].mean()
    for split, part in (("val", 1), ("test", 2)):
        rows = frame.filter((pl.col("row") % 4).clip(0, 2) == part)
        rows = rows.join(known, on=by, how="left", maintain_order="left").fill_null(0)
        n, s = rows["n"].to_numpy(), rows["s"].to_numpy()
        assert (n == 0).any() == ("*" in name)
        want = logit((s + PRIOR * prior) / (n + PRIOR))
        assert np.allclose(numbers(found, split, f"{name} rate"), want, atol=1e-5)
        assert np.allclose(numbers(found, split, f"{name} count"), np.log1p(n), atol=1e-5)


def test_of_a_row_of_train_its_own_label_is_no_part(tmp_path):
    """Turning the label of one row leaves its number as it is, and moves those of other folds."""
    frame = frame_of()
    rows = frame.filter(pl.col("row") % 4 == 0)
    turned = frame.with_columns(
        label=pl.when(pl.col("row") == rows["row"][0]).then(1 - pl.col("label")).otherwise("label")
    )
    before, after = (
        prepared(f, tmp_path / str(i), target_encoding=("user",))[1]
        for i, f in enumerate((frame, turned))
    )
    mine, others = rows["user"] == rows["user"][0], np.arange(len(rows)) > 0
    prior = [f.filter(pl.col("row") % 4 == 0)["label"].mean() for f in (frame, turned)]
    sums = [  # the prior moves a little with any label
        (
            1 / (1 + np.exp(-numbers(found, "train", "user rate"))),
            numbers(found, "train", "user count"),
        )
        for found in (before, after)
    ]
    n = np.expm1(sums[0][1]) * (1 - 1 / target_encoding.FOLDS)
    positives = [s * (n + PRIOR) - PRIOR * p for (s, _), p in zip(sums, prior, strict=True)]
    moved = np.abs(positives[1] - positives[0]) > 0.5
    assert not moved[0] and not moved[~mine.to_numpy()].any()
    share = moved[mine.to_numpy() & others].mean()
    assert 0.5 < share < 1.0  # those of the row's own fold stay


def test_train_is_standardised_and_ignorance_of_its_labels_is_no_signal(tmp_path):
    frame = frame_of(20_000)
    noise = frame.with_columns(label=pl.Series(np.random.default_rng(5).integers(0, 2, 20_000)))
    for i, f in enumerate((frame, noise)):
        _, found = prepared(f, tmp_path / str(i), target_encoding=("user", "user*item"))
        v, y = (np.asarray(found.split("train")[name]) for name in ("v", "y"))
        assert np.allclose(v[:, 3:].mean(0), 0, atol=1e-3) and np.allclose(
            v[:, 3:].std(0), 1, atol=1e-3
        )
        correlation = [np.corrcoef(v[:, k], y)[0, 1] for k in (3, 5)]
        assert min(correlation) > 0.3 if i == 0 else np.abs(correlation).max() < 0.05


def test_of_several_classes_it_is_the_mean_label(tmp_path):
    frame = frame_of(classes=4)
    _, found = prepared(frame, tmp_path / "log", target_encoding=("user",), num_classes=4)
    train = frame.filter(pl.col("row") % 4 == 0)
    known = dict(train.group_by("user").agg(pl.len(), pl.col("label").sum()).rows_by_key("user"))
    rows = frame.filter(pl.col("row") % 4 == 1)
    of = [known[user][0] for user in rows["user"]]
    want = [(s + PRIOR * train["label"].mean()) / (n + PRIOR) for n, s in of]
    assert np.allclose(numbers(found, "val", "user rate"), want, atol=1e-5)


def test_chunks_change_no_number_of_rows_that_taught_nothing(tmp_path, monkeypatch):
    frame = frame_of()
    _, whole = prepared(frame, tmp_path / "whole", target_encoding=("user",))
    monkeypatch.setattr(stages, "STRETCH", 5000)
    _, parts = prepared(frame, tmp_path / "parts", target_encoding=("user",))
    assert len(list(parts.path.glob("train-*.x.npy"))) > 1
    for field in ("user rate", "user count"):
        assert np.allclose(numbers(whole, "test", field), numbers(parts, "test", field), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("usr", "'usr' is not a categorical field: user, item; did you mean 'user'"),
        ("row", "'row' is not a categorical field"),
        ("user*usr", "'usr' is not a categorical field"),
        ("user*user", "wants each field once"),
        ("user*item*user", "wants each field once"),
    ],
)
def test_what_has_no_values_is_said(tmp_path, name, message):
    with pytest.raises(UserError, match=f"data.target_encoding: .*{re.escape(message)}"):
        prepared(frame_of(50), tmp_path / "log", target_encoding=(name,))


def test_labels_that_a_study_spoils_are_refused_as_their_truth_would_be_an_input(tmp_path):
    data, _ = prepared(frame_of(), tmp_path / "log", target_encoding=("user",))
    cfg = Config(data=data).replace({"data.missing": 0.4, "method.name": "ce"})
    with pytest.raises(UserError, match=r"data\.target_encoding.*data\.missing"):
        autoloss_jax.train(cfg, tmp_path / "run", progress=False)
    check(cfg.replace({"data.target_encoding": ("auto",)}))  # the rule encodes nothing there


def test_a_run_scores_new_rows_as_those_of_its_data(tmp_path):
    frame = frame_of()
    data, _ = prepared(frame, tmp_path / "log", target_encoding=("user", "user*item"))
    keys = {"method.name": "ce", "train.epochs": 1, "train.batch_size": 64, "model.hidden": (8,)}
    run = autoloss_jax.train(Config(data=data).replace(keys), tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "targets.parquet").exists()
    new = tmp_path / "new.csv"
    frame.filter(pl.col("row") % 4 >= 2).write_csv(new)
    assert run.evaluate(new)["auc"] == pytest.approx(run.result["test"]["auc"], abs=1e-9)
    scores = run.predict(pl.read_csv(new).drop("label"))
    assert np.isfinite(scores).all() and scores.shape == (1500,)
    unknown = run.predict(pl.DataFrame({"user": [999, 5], "item": [999, 3], "row": [1, None]}))
    assert np.isfinite(unknown).all()


@pytest.mark.parametrize(
    ("rows", "together", "found"),
    [
        (3000, False, ("user",)),  # 12 and 25 rows of train a value
        (20_000, False, ()),
        (20_000, True, ("user", "item", "user*item")),
    ],
)
def test_the_rule_encodes_values_of_few_rows_and_a_pair_that_acts_together(
    tmp_path, rows, together, found
):
    frame = frame_of(rows).with_columns(kind=pl.col("item") % 3)
    if together:
        rng = np.random.default_rng(1)
        rate = rng.choice([0.05, 0.95], (60, 30))[
            frame["user"].to_numpy(), frame["item"].to_numpy()
        ]
        frame = frame.with_columns(label=pl.Series(rng.random(rows) < rate).cast(pl.Int64))
    data, _ = prepared(frame, tmp_path / "log")
    table = Config(data=data).replace(presets.BY_RULE | {"method.name": "ce"})
    table = table.replace({"data.categorical": ("user", "item", "kind"), "data.values": ()})
    said = []
    assert defaults.resolved(table, tmp_path, said.append).data.target_encoding == found
    assert any(f"data.target_encoding {' '.join(found) or 'none'}" in line for line in said)
    for doubts in ({"data.missing": 0.4}, {"data.context": ("kind",)}):
        assert defaults.resolved(table.replace(doubts), tmp_path, print).data.target_encoding == ()
