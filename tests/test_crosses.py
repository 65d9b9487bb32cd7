"""A pair of fields is a field too where it is asked for; which pairs act together is found, and
only those.
"""

import numpy as np
import polars as pl
import pytest

from autoloss_jax.config import Data
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.training import interactions
from tests.support.logs import log


def prepared(frame, folder, **keys):
    folder.mkdir()
    frame.write_csv(folder / "log.csv")
    data = Data(
        path=str(folder / "log.csv"),
        cache=str(folder / "cache"),
        categorical=("a", "b", "c", "d"),
        **keys,
    )
    return data, pipeline.prepare(data, lambda _: None)


@pytest.mark.parametrize(
    ("kind", "expected"), [("pairs", {"a*c", "b*c"}), ("fields", set()), ("nothing", set())]
)
def test_the_pairs_that_act_together_are_found_and_no_others(kind, expected, tmp_path):
    _, data = prepared(log(kind), tmp_path / kind)
    assert set(interactions.Interactions((data.split("train"),), data).found()) == expected


def test_by_chance_the_excess_is_none():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.9, 4000)
    found = [
        interactions.excess(rng.integers(0, 300, 4000), (rng.random(4000) < p) - p, p * (1 - p))
        for _ in range(200)
    ]
    assert abs(np.mean(found)) < 0.2 and 0.7 < np.std(found) < 1.3


def test_a_cross_is_a_field_whose_values_are_pairs_of_values(tmp_path):
    frame = log("pairs", 300)
    data, found = prepared(frame, tmp_path / "log", crosses=("a*c",), context=("d",))
    assert found.schema.fields == ("a", "b", "c", "d", "a*c")
    _, words = pipeline.store.load_vocabulary(found.path)
    known = ["", *words.filter(pl.col("field") == "a*c")["value"]]
    first = found.schema.offsets[4]
    (block,) = pipeline.encode(_file(frame, tmp_path), data, found.schema, words, labelled=True)
    pairs = [known[i - first] for i in block.rows["x"][:, 4]]
    expected = [f"{a} * {c}" for a, c in zip(frame["a"], frame["c"], strict=True)]
    assert {p for p in pairs if p} <= set(expected)
    assert all(p in ("", e) for p, e in zip(pairs, expected, strict=True))
    assert pairs.count("") < 60  # seen in val or test alone


def _file(frame, folder):
    frame.write_csv(folder / "new.csv")
    return folder / "new.csv"


def test_context_alone_stays_the_last_field(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    log("pairs", 300).write_csv(folder / "log.csv")
    data = Data(
        path=str(folder / "log.csv"),
        cache=str(folder / "cache"),
        categorical=("a", "b"),
        crosses=("a*b",),
        context=("d",),
    )
    found = pipeline.prepare(data, lambda _: None)
    assert found.schema.fields == ("a", "b", "a*b", "d") and found.schema.num_inputs == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a*e", "'e' is not a categorical field: a, b, c, d"),
        ("a", "wants two"),
        ("a*a", "wants two"),
    ],
)
def test_a_pair_that_is_none_is_said(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        prepared(log("fields", 50), tmp_path / "log", crosses=(name,))


def test_what_rows_of_a_cell_tell_of_each_other_is_a_fall_of_logloss():
    """Of cells with a logit each, it is what a logistic regression on the other rows' sum gains."""
    rng = np.random.default_rng(0)
    cells, effect = rng.integers(0, 2000, 6000), rng.choice([-1.0, 1.0], 2000)
    p = np.full(6000, 0.5)
    for strength, low, high in ((0.0, 0.0, 0.003), (0.7, 0.005, 0.05), (3.0, 0.2, 0.9)):
        label = rng.random(6000) < 1 / (1 + np.exp(-strength * effect[cells]))
        found = interactions.gain(cells, label - p, p * (1 - p))
        assert low <= found <= high, (strength, found)
    assert interactions.gain(np.arange(6000) // 2, np.tile([0.5, -0.5], 3000), p / 2) == 0
