"""The estimators: scikit-learn's conventions, DataFrames, trusted rows and context."""

import pickle
from unittest import SkipTest

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import autoloss_jax
from autoloss_jax import Classifier, Config, Regressor
from autoloss_jax.data import frames
from tests.support.nightly import further

pytestmark = pytest.mark.slow  # nearly all train

LOST = np.array([0.0, 0.16, 0.32, 0.48, 0.64, 0.8])
SMALL = {"model": "lr", "members": 1, "learning_rate": 0.05, "epochs": 5}
# Rows are drawn in batches and ids go by how often a value is seen, so that two rows are not the
# same training as one of weight two.
NOT_EXACT = ("check_sample_weight_equivalence_on_dense_data",)
QUICK = (  # parts of the names of checks that train little
    "clone",
    "tags",
    "init",
    "params",
    "unfitted",
    "sparse",
    "complex",
    "empty",
    "nan",
    "one_label",
    "1sample",
    "fit1d",
    "regression_target",
    "weights_shape",
    "zero_sample",
    "fit_returns_self",
    "y_none",
    "dict_unchanged",
    "n_features",
)


@pytest.fixture(scope="module")
def log():
    """Conversions of which each platform reports another share."""
    random = np.random.default_rng(1)
    site, platform = random.integers(0, 20, 8000), random.integers(0, 6, 8000)
    score = 1.5 * np.sin(site) + 0.3 * np.sin(platform) - 0.2
    bought = random.random(8000) < 1 / (1 + np.exp(-score))
    seen = bought & (random.random(8000) >= LOST[platform])
    frame = pl.DataFrame({"site": [f"s{v}" for v in site], "platform": [f"p{v}" for v in platform]})
    return frame, bought.astype(int), seen.astype(int)


LOG, SAMPLE, NEW = slice(0, 5000), slice(5000, 6000), slice(6000, 8000)


def fitted(log, **given):
    frame, _, seen = log
    return Classifier(**SMALL).fit(frame[LOG], seen[LOG], **given)


def outcome(estimator, wanted):
    """What scikit-learn says against an estimator, by the name of the check."""
    failed = {}
    for checked, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        if name in NOT_EXACT or not wanted(name):
            continue
        try:
            check(checked)
        except SkipTest:
            pass
        except Exception as error:
            failed[name] = str(error)
    return failed


@pytest.mark.parametrize("kind", further([Classifier, Regressor], daily=[Classifier]))
def test_the_conventions_of_scikit_learn_hold(kind):
    """The checks that train little; the others, which take minutes, pass too."""
    assert not outcome(kind(**SMALL), lambda name: any(part in name for part in QUICK))


def test_trusted_rows_and_context_rank_better(log):
    frame, bought, _ = log
    sample = frame[SAMPLE], bought[SAMPLE]
    alone, both, by_platform = (
        fitted(log, **given)
        for given in ({}, {"trusted": sample}, {"trusted": sample, "context": ["platform"]})
    )
    aucs = [m.evaluate(frame[NEW], bought[NEW])["auc"] for m in (alone, both, by_platform)]
    assert aucs[2] > max(aucs[:2]) + 0.01
    assert by_platform.run_.config.method.name == "corrected"
    assert by_platform.run_.config.data.context == ("platform",)
    kept = (by_platform.run_.workdir / "label_noise.json").read_text()
    assert "platform" in kept


def test_a_context_that_nobody_knows_when_scoring(log):
    frame, bought, seen = log
    site, platform = frame.select("site"), frame.select("platform")
    model = Classifier(**SMALL).fit(
        site[LOG],
        seen[LOG],
        trusted=(site[SAMPLE], bought[SAMPLE], platform[SAMPLE]),
        context=platform[LOG],
    )
    assert model.predict_proba(site[NEW]).shape == (2000, 2)
    assert model.run_.config.data.categorical == ("site",)
    plain = Classifier(**SMALL).fit(site[LOG], seen[LOG])
    aucs = [m.evaluate(site[NEW], bought[NEW])["auc"] for m in (model, plain)]
    assert aucs[0] > aucs[1]  # it knows of whom it knows less
    with pytest.raises(ValueError, match="'platform', which is in"):
        Classifier(**SMALL).fit(
            site[LOG],
            seen[LOG],
            trusted=(site[SAMPLE], bought[SAMPLE]),
            context=platform[LOG],
        )


def test_probabilities_are_those_of_the_run_and_survive_being_kept(log, tmp_path):
    frame, bought, _ = log
    model = fitted(log, eval_set=(frame[SAMPLE], bought[SAMPLE]))
    found = model.predict_proba(frame[NEW])
    assert np.allclose(found.sum(1), 1, atol=1e-6)
    assert np.array_equal(model.predict(frame[NEW]), found.argmax(1))
    copied = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert np.array_equal(copied.predict_proba(frame[NEW]), found)
    model.save(tmp_path / "kept")
    loaded = Classifier.load(tmp_path / "kept")
    assert np.array_equal(loaded.predict_proba(frame[NEW]), found)
    assert loaded.get_params()["epochs"] == 5 and loaded.classes_.tolist() == [0, 1]
    run = autoloss_jax.load(tmp_path / "kept")
    assert np.array_equal(run.predict(frame[NEW], calibrated=True), found[:, 1])
    with pytest.raises(ValueError, match="it exists"):
        model.save(tmp_path / "kept")
    with pytest.raises(ValueError, match="no saved Regressor"):
        Regressor.load(tmp_path / "kept")
    with pytest.raises(ValueError, match="no saved Classifier"):
        Classifier.load(tmp_path / "nowhere")


def test_a_workdir_is_a_run_of_the_command_line(log, tmp_path):
    frame, _, seen = log
    two = SMALL | {"model": "fm", "members": 2}
    model = Classifier(**two, workdir=tmp_path / "run", random_state=3)
    model.fit(frame[LOG], seen[LOG])
    run = autoloss_jax.load(tmp_path / "run")
    assert run.result["model"].startswith("2 ")
    assert run.config.run.seed == 3 and run.evaluate()["split"] == "val"
    assert np.array_equal(
        Classifier.load(tmp_path / "run").predict_proba(frame[NEW]), model.predict_proba(frame[NEW])
    )
    model.report(tmp_path / "report.html")
    assert "There are no test rows" in (tmp_path / "report.html").read_text()
    assert model.explain().outcome["auc"][0] == run.result["val"]["auc"]
    with pytest.raises(ValueError, match="a run is there"):
        clone(model).fit(frame[LOG], seen[LOG])


def test_words_are_classes_and_frames_of_pandas_are_frames(log):
    frame, _, _ = log
    words = np.array(["never", "often", "rarely"])
    kind = frame["site"].str.slice(1).cast(pl.Int64).to_numpy() % 3
    theirs = pd.DataFrame(frame.to_dict(as_series=False)).astype({"platform": "category"})
    models = [
        Classifier(**SMALL).fit(rows, words[kind[LOG]]) for rows in (frame[LOG], theirs.iloc[LOG])
    ]
    assert models[0].classes_.tolist() == sorted(words)
    found = [m.predict_proba(rows) for m, rows in zip(models, (frame, theirs), strict=True)]
    assert np.array_equal(*found)
    assert models[0].score(frame[NEW], words[kind[NEW]]) > 0.9
    with pytest.raises(ValueError, match="label 'daily': not among the classes of y"):
        models[0].evaluate(frame[:2], ["never", "daily"])


def test_ratings_are_predicted_between_their_levels():
    random = np.random.default_rng(0)
    movie = random.integers(0, 12, 3000)
    rating = np.clip(np.round(2 * (movie / 4 + random.normal(1, 0.5, 3000))) / 2, 0.5, 5)
    frame = pl.DataFrame({"movie": movie})
    model = Regressor(**SMALL | {"epochs": 15}).fit(frame[:2500], rating[:2500])
    assert model.levels_.tolist() == np.unique(rating[:2500]).tolist()
    found = model.predict(frame[2500:])
    assert (found >= 0.5).all() and (found <= 5).all()
    deviation = np.std(rating[2500:])
    assert model.evaluate(frame[2500:], rating[2500:])["rmse"] < 0.7 * deviation
    many = Regressor(**SMALL).fit(frame[:500], random.normal(size=500))
    assert len(many.levels_) == 32 and np.abs(many.predict(frame)).max() < 2


def test_pipelines_and_grids_work():
    X, y = make_classification(200, 4, random_state=0)
    grid = GridSearchCV(
        make_pipeline(StandardScaler(), Classifier(**SMALL)),
        {"classifier__epochs": [3]},
        cv=2,
        scoring="roc_auc",
    )
    assert grid.fit(X, y).best_score_ > 0.8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trusted": ([[1, 2]], [1])}, "X has 2 features, but Classifier is expecting 4"),
        ({"sample_weight": np.ones(3)}, "sample_weight has 3 rows, and X has 200"),
        ({"sample_weight": -np.ones(200)}, "is not what belongs there"),
        ({"context": ["platform"]}, "'platform' is not a column of"),
        ({"context": pd.DataFrame({"x1": np.ones(200)})}, "column 'x1' is in X and in context"),
    ],
)
def test_what_cannot_be_is_one_line(given, said):
    X, y = make_classification(200, 4, random_state=0)
    with pytest.raises(ValueError, match=said):
        Classifier(**SMALL).fit(X, y, **given)


def test_what_a_config_has_not_is_one_line():
    X, y = make_classification(200, 4, random_state=0)
    with pytest.raises(ValueError, match=r"model.embed_din: .*embed_dim"):
        Classifier(**SMALL, config={"model.embed_din": 3}).fit(X, y)


def test_a_number_is_one_value_however_it_is_held():
    whole = frames.table(pd.DataFrame({"a": [3, 4], "b": [1.5, None]}))
    blank = frames.table(pd.DataFrame({"a": [3.0, None], "b": [1.0, 2.5]}))
    assert whole["a"].cast(pl.String).to_list() == ["3", "4"]
    assert blank["a"].cast(pl.String).to_list() == ["3", None]
    assert whole["b"].to_list() == [1.5, None]
    mixed = frames.table(
        pd.DataFrame(
            {
                "n": pd.array([1, None], dtype="Int64"),
                "w": pd.Series(["a", np.nan], dtype=object),
                "t": [True, False],
                "c": pd.Categorical(["x", "y"]),
                "l": [["a", "b"], []],
            }
        )
    )
    assert mixed.rows() == [(1, "a", True, "x", ["a", "b"]), (None, None, False, "y", [])]
    assert frames.table(np.array([[1.0, 2.5]])).columns == ["x0", "x1"]


class Handed:
    """What hands its columns over as Arrow does, and nothing else."""

    def __init__(self, frame):
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self.frame.__arrow_c_stream__(requested_schema)


class Dataset:
    """What can become a frame of polars."""

    def __init__(self, frame):
        self.to_polars = lambda: frame


TABLES = {
    "polars": lambda frame: frame,
    "lazy": pl.DataFrame.lazy,
    "pandas": lambda frame: pd.DataFrame({n: frame[n].to_list() for n in frame.columns}),
    "arrow": Handed,
    "dataset": Dataset,
    "dict": lambda frame: frame.to_dict(as_series=False),
    "arrays": lambda frame: {n: frame[n].to_numpy() for n in frame.columns},
}


@pytest.fixture(scope="module")
def mixed():
    """Columns of every kind, with blanks."""
    r, n = np.random.default_rng(0), 200
    return pl.DataFrame(
        {
            "word": [None if v == 0 else f"w{v}" for v in r.integers(0, 5, n)],
            "whole": [None if v == 0 else int(v) for v in r.integers(0, 6, n)],
            "truth": r.random(n) < 0.5,
            "number": [None if v < 0.1 else v for v in r.random(n)],
        }
    )


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_gives_the_bits_of_a_file(mixed, kind, tmp_path_factory, once):
    def fill(folder):
        rows = mixed.with_columns(label=pl.Series(np.arange(200) % 3 == 0).cast(int))
        rows.write_csv(folder / "log.csv")
        data = {"path": str(folder / "log.csv"), "cache": str(folder / "cache")}
        columns = {"categorical": ("word", "whole", "truth"), "values": ("number",)}
        keys = {f"data.{name}": value for name, value in (data | columns).items()}
        small = {"model.name": "lr", "train.epochs": 1, "train.batch_size": 20}
        cfg = Config().replace(keys | small | {"method.name": "ce"})
        autoloss_jax.train(cfg, folder / "run", progress=False)

    folder = once("tables", fill)
    run = autoloss_jax.load(folder / "run")
    wanted = run.predict(folder / "log.csv")
    np.testing.assert_array_equal(run.predict(TABLES[kind](mixed)), wanted)
    y = np.arange(200) % 3 == 0
    small = Classifier(model="lr", epochs=1, members=1)
    ours, plain = (small.fit(rows, y).predict_proba(rows) for rows in (TABLES[kind](mixed), mixed))
    np.testing.assert_array_equal(ours, plain)


def test_what_is_no_table_is_one_line(mixed):
    with pytest.raises(TypeError, match="rows as a set: give a DataFrame"):
        frames.table({1, 2})
