"""Scores go where, and into what, a file's name says; what the rows hold that train did not is
said; a run is finished for the data that it was trained on.
"""

import jax
import numpy as np
import polars as pl
import pytest

from autoloss_jax import Config
from autoloss_jax.api import runs
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import group_metrics, loop, prediction
from tests.support.runs import quiet


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(Config, workdir) of a small run on clicks, whose file lies beside it."""
    folder, rng = tmp_path_factory.mktemp("clicks"), np.random.default_rng(0)
    age = rng.integers(18, 80, 400)
    frame = pl.DataFrame(
        {
            "click": (rng.random(400) < age / 100).astype(int),
            "site": [f"s{v}" for v in rng.integers(0, 5, 400)],
            "age": age,
            "user": [f"u{v}" for v in range(400)],
        }
    )
    frame.write_csv(folder / "clicks.csv")
    keys = {
        "data.path": str(folder / "clicks.csv"),
        "data.cache": str(folder / "cache"),
        "data.label": "click",
        "data.categorical": ("site",),
        "data.values": ("age",),
        "method.name": "ce",
        "model.hidden": (4,),
        "train.batch_size": 50,
        "train.epochs": 2,
    }
    cfg = Config().replace(keys)
    loop.train(cfg, folder / "run", quiet, shown=False)
    return cfg, folder / "run"


def scored(trained, frame, output, keep=()):
    """Lines that were said."""
    _, workdir = trained
    path, said = output.with_name("rows.csv"), []
    frame.write_csv(path)
    loaded = prediction.load(workdir, None, {"data.path": str(path)})
    prediction.predict(loaded, workdir, output, say=said.append, keep=keep)
    return said


ROWS = pl.DataFrame(
    {"user": ["007", "1.0", "x,y"], "age": [20, 30, 79], "site": ["s1", "s2", "s3"]}
)
READ = {
    "csv": pl.read_csv,
    "tsv": lambda path: pl.read_csv(path, separator="\t"),
    "parquet": pl.read_parquet,
    "arrow": pl.read_ipc,
}


@pytest.mark.parametrize("kind", READ)
def test_a_files_name_says_what_is_in_it_and_columns_are_kept(trained, tmp_path, kind):
    assert scored(trained, ROWS, tmp_path / f"all.{kind}", keep=("user", "age")) == []
    found = READ[kind](tmp_path / f"all.{kind}")
    assert found.columns == ["user", "age", "score"]
    assert [*map(str, found["user"])][2] == "x,y" and found["age"].cast(int).to_list() == [
        20,
        30,
        79,
    ]
    scored(trained, ROWS, tmp_path / "plain.parquet")
    plain = pl.read_parquet(tmp_path / "plain.parquet")["score"]
    np.testing.assert_allclose(found["score"], plain, atol=1e-6)


def test_what_would_be_lost_or_misread_is_refused(trained, tmp_path):
    _, workdir = trained
    rows = tmp_path / "rows.csv"
    ROWS.write_csv(rows)
    before = rows.read_bytes()
    (tmp_path / "link.csv").symlink_to(rows)
    loaded = prediction.load(workdir, None, {"data.path": str(rows)})
    for output, message in {
        rows: "the rows to score",
        tmp_path / "link.csv": "the rows to score",
        tmp_path / "scores.xlsx": "of what kind",
        rows / "scores.csv": "cannot be written",
        tmp_path / "none" / "scores.csv": "cannot be written",
    }.items():
        with pytest.raises(UserError, match=message):
            prediction.predict(loaded, workdir, output)
    for keep, message in {"usr": "did you mean 'user'", "score": "rename"}.items():
        with pytest.raises(UserError, match=message):
            prediction.predict(loaded, workdir, tmp_path / "s.csv", keep=(keep,))
    assert rows.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.csv", "rows.csv"]


def test_what_train_had_not_is_said_once_a_field(trained, tmp_path):
    far = pl.DataFrame({"site": ["t"] * 9 + ["s1"], "age": ["1e30", "5", "-1e300", *["30"] * 7]})
    said = scored(trained, far, tmp_path / "far.parquet")
    assert said[0].startswith("site: 90% of the values are unknown to this model; in validation ")
    assert said[1].startswith("age: 3 numbers outside of train's, 18 to 79, are taken for the ")
    near = far.with_columns(age=pl.Series(["79", "18", "18", *["30"] * 7]))
    scored(trained, near, tmp_path / "near.parquet")
    found, wanted = (pl.read_parquet(tmp_path / f"{n}.parquet") for n in ("far", "near"))
    assert found.equals(wanted)


def test_ids_that_became_floats_are_the_same_ids(tmp_path):
    """As pandas makes of a column of whole numbers with a blank."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, 400)
    frame = pl.DataFrame({"item": ids, "label": (rng.random(400) < ids / 9).astype(int)})
    frame.write_parquet(tmp_path / "log.parquet")
    keys = {"data.path": str(tmp_path / "log.parquet"), "data.cache": str(tmp_path / "cache")}
    table = {"data.categorical": ("item",), "method.name": "ce", "model.hidden": (4,)}
    cfg = Config().replace(keys | table | {"train.batch_size": 50, "train.epochs": 1})
    run = runs.train(cfg, tmp_path / "run", progress=False)
    scores = []
    for cells in (frame["item"], frame["item"].cast(float), frame["item"].cast(str) + ".0"):
        path = tmp_path / "rows.parquet"
        pl.DataFrame({"item": cells}).write_parquet(path)
        scores.append(run.predict(path))
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_a_finished_run_is_not_that_of_other_data(trained, tmp_path):
    cfg, workdir = trained
    content = pl.read_csv(cfg.data.path)
    same, other = tmp_path / "same.csv", tmp_path / "other.csv"
    content.write_csv(same)
    content[:-1].write_csv(other)
    asked = settings.with_keys(cfg, {"data.path": str(same)})
    assert loop.train(asked, workdir, quiet, shown=False)["steps"] > 0
    with pytest.raises(UserError, match=r"trained on other data than .*other\.csv holds now"):
        loop.train(settings.with_keys(cfg, {"data.path": str(other)}), workdir, quiet)


def test_a_workdir_that_could_not_be_restored_from_is_refused_before_training(trained, tmp_path):
    with pytest.raises(UserError, match=r"lr=\[0\.1\]: no checkpoint can be restored"):
        loop.train(trained[0], tmp_path / "lr=[0.1]", quiet)
    assert not (tmp_path / "lr=[0.1]").exists()


def test_a_program_in_float64_trains_the_same_run(trained, tmp_path):
    cfg, _ = trained
    asked = settings.with_keys(cfg, {"method.name": "autoloss"})
    alone = runs.train(asked, tmp_path / "alone", progress=False)
    with jax.enable_x64(True):
        run = runs.train(asked, tmp_path / "run", progress=False)
        assert run.result["test"] == alone.result["test"]
        assert np.all(run.predict(cfg.data.path) == alone.predict(cfg.data.path))


def test_figures_within_a_column_are_those_of_its_scores(trained, tmp_path):
    """A column of a file, or, in the run's own data, a field."""
    cfg, workdir = trained
    run = runs.load(workdir)
    rows = pl.read_csv(cfg.data.path).with_columns(user="u" + (pl.col("age") % 7).cast(str))
    rows.write_csv(tmp_path / "rows.csv")
    found = run.evaluate(tmp_path / "rows.csv", group="user")
    scores = run.predict(rows.drop("click"))
    logits = np.log(scores / (1 - scores))
    wanted = group_metrics.figures(rows["click"].to_numpy(), logits, rows["user"].to_numpy())
    assert found["groups"] == 7
    assert found["gauc"] == pytest.approx(wanted["gauc"], abs=1e-3)
    assert run.evaluate(group="site")["groups"] == 5
    with pytest.raises(UserError, match="--group: 'sight' is not a field"):
        run.evaluate(group="sight")
    with pytest.raises(UserError, match="did you mean 'user'"):
        run.evaluate(tmp_path / "rows.csv", group="usr")


def test_rows_that_cannot_be_read_have_no_score_and_shift_none(trained, tmp_path):
    """Wherever they are, also at the end, and cut short."""
    _, workdir = trained
    good = ["u1,20,s1", "u2,30,s2", "u3,79,s3"]
    lines = ["user,age,site", "bad", good[0], "u,old,s1", 'u,"x', good[1], good[2], "u,1", "", "a"]
    files = {"good.csv": [lines[0], *good], "mixed.csv": lines}
    for name, content in files.items():
        (tmp_path / name).write_text("\n".join(content) + "\n")

    def predicted(name, output, keep=(), **keys):
        said, keys = [], {"data.path": str(tmp_path / name), **keys}
        loaded = prediction.load(workdir, None, keys)
        prediction.predict(loaded, workdir, tmp_path / output, say=said.append, keep=keep)
        return pl.read_parquet(tmp_path / output), said

    skip = {"data.on_bad_row": "skip"}
    plain, _ = predicted("good.csv", "good.parquet")
    found, said = predicted("mixed.csv", "mixed.parquet", ("user",), **skip)
    at = [1, 4, 5]
    assert found["score"].is_null().arg_true().to_list() == [0, 2, 3, 6, 7, 8]
    assert found["score"][at].to_list() == plain["score"].to_list()
    assert found["user"].to_list() == [None, "u1", None, None, "u2", "u3", None, None, None]
    assert said[-1] == "6 rows are without a score; the first is row 1"
    with pytest.raises(UserError, match=r"mixed.csv:2: .*on_bad_row=skip"):
        predicted("mixed.csv", "error.parquet")
    assert not (tmp_path / "error.parquet").exists()


def test_where_no_row_can_be_read_there_is_nothing_to_evaluate_on(trained, tmp_path):
    _, workdir = trained
    (tmp_path / "bad.csv").write_text("click,age,site\nbad\n1\n")
    keys = {"data.path": str(tmp_path / "bad.csv"), "data.on_bad_row": "skip"}
    with pytest.raises(UserError, match="no rows to evaluate on"):
        prediction.evaluate_run(prediction.load(workdir, None, keys), workdir, "", quiet)
