"""Rows that count more than others, and data without test rows."""

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import autoloss_jax
from autoloss_jax import Config, UserError
from autoloss_jax.algorithm import autoloss
from autoloss_jax.algorithm import losses as candidates
from autoloss_jax.algorithm.networks import CandidateLosses, Output
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.training import evaluation, splits
from autoloss_jax.training.run import Run
from tests.support import runs
from tests.support.proof import problem


@pytest.fixture(scope="module")
def log():
    random = np.random.default_rng(0)
    site, device = random.integers(0, 8, 300), random.integers(0, 3, 300)
    click = random.random(300) < 1 / (1 + np.exp(-np.sin(site) - (device == 1)))
    weight = random.integers(0, 4, 300)
    return pl.DataFrame(
        {"click": click.astype(int), "site": site, "device": device, "weight": weight}
    )


def written(folder, train, valid):
    folder.mkdir()
    train.write_csv(folder / "train.csv")
    valid.write_csv(folder / "valid.csv")
    return Config().replace(
        {
            "data.path": str(folder),
            "data.label": "click",
            "data.categorical": ("site", "device"),
            "data.split": (0.8, 0.2, 0.0),
            "data.cache": str(folder / "cache"),
            "model.name": "lr",
            "model.embed_init_std": 0.0,
            "optimizer.learning_rate": 0.05,
            "method.name": "ce",
            "train.epochs": 4,
            "train.batch_size": train.height,
        }
    )


@pytest.mark.slow
def test_a_row_of_weight_three_teaches_as_three_rows_do(log, tmp_path):
    """In a batch of all rows, from zero: ids go by how often a value is seen."""
    train, valid = log[:240], log[240:]
    known = train.filter(pl.col("weight") > 0)
    again = known.select(pl.all().repeat_by("weight").explode())
    weighted = written(tmp_path / "weighted", known, valid).replace({"data.weight": "weight"})
    repeated = written(tmp_path / "repeated", again, valid)
    runs = [
        autoloss_jax.train(cfg, tmp_path / f"run{number}", progress=False)
        for number, cfg in enumerate((weighted, repeated))
    ]
    frame = valid.select("site", "device")
    a, b = (run.predict(frame) for run in runs)
    alike = autoloss_jax.train(
        weighted.replace({"data.weight": ""}), tmp_path / "alike", progress=False
    )
    assert np.abs(a - b).max() < 0.2 * np.abs(alike.predict(frame) - a).max()
    losses = CandidateLosses((candidates.ce, candidates.focal))
    y, z = np.array([0, 1, 1, 1]), jnp.array([[0.3], [-1.0], [2.0], [2.0]])
    counted = losses(Output(z[:3]), {"y": y[:3], "weight": jnp.array([1.0, 1.0, 2.0])}, {})
    assert np.allclose(counted.sum(0), losses(Output(z), {"y": y}, {}).sum(0), rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_those_of_the_rows_repeated(classes):
    """With ties, and rows of weight 0; a calibration too."""
    rng = np.random.default_rng(classes)
    y, weight = rng.integers(0, classes, 200), rng.integers(0, 4, 200)
    z = rng.normal(size=(200, 1 if classes == 2 else classes)).round(1)
    z[np.arange(200), y * (classes > 2)] += y / 2
    again = {"y": np.repeat(y, weight)}
    repeated, weighted = np.repeat(z, weight, axis=0), {"y": y, "weight": weight}
    for figure in (evaluation.figures, evaluation.calibrated):
        assert figure(weighted, z) == pytest.approx(figure(again, repeated), rel=1e-6)
    assert evaluation.figures(weighted, z) != pytest.approx(evaluation.figures({"y": y}, z))
    ours, theirs = evaluation.calibration(weighted, z), evaluation.calibration(again, repeated)
    assert ours.scale == pytest.approx(theirs.scale, rel=1e-5)
    assert np.allclose(ours.shift, theirs.shift, rtol=1e-5, atol=1e-6)


def test_a_trusted_row_of_weight_three_teaches_the_controller_as_three_do():
    """V's loss, Eq. (12), of a recommender in which rows do not meet."""
    al, state, rows = problem("lr", batches=1)
    weight = jnp.arange(len(rows["y"])) % 4
    again = {name: jnp.repeat(array, weight, axis=0) for name, array in rows.items()}
    counted = {**rows, "weight": weight / weight.mean()}
    W, V = state.drs.params, state.controller.params
    ours, theirs, alike = (
        float(autoloss.val_objective(al, W, V, state, batch)) for batch in (counted, again, rows)
    )
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert ours != pytest.approx(alike, rel=1e-3)


def test_other_files_may_lack_the_weights(log, tmp_path):
    cfg = written(tmp_path / "log", log[:240], log[240:])
    cfg = cfg.replace({"data.weight": "weight", "data.trusted_share": 0.0})
    run = autoloss_jax.train(cfg, tmp_path / "run", progress=False)
    log[240:].write_csv(tmp_path / "with.csv")
    log[240:].drop("weight").write_csv(tmp_path / "without.csv")
    heavy = log[240:].select(pl.exclude("weight").repeat_by("weight").explode())
    heavy.write_csv(tmp_path / "again.csv")
    found = {n: run.evaluate(tmp_path / f"{n}.csv") for n in ("with", "without", "again")}
    for name in ("auc", "logloss"):
        assert found["with"][name] == pytest.approx(found["again"][name], rel=1e-6)
        assert found["with"][name] != pytest.approx(found["without"][name], rel=1e-4)
        assert found["with"][name] == pytest.approx(run.result["val"][name], rel=1e-5)


def test_trusted_rows_have_weights_where_their_file_has(log, tmp_path):
    """Of mean 1, whether they are of val or of a file, which needs none."""
    cfg = written(tmp_path / "log", log[:240], log[240:])
    log[:60].drop("weight").write_csv(tmp_path / "trusted.csv")
    file = {"data.trusted": str(tmp_path / "trusted.csv")}
    for keys, number in (({}, 30), (file, 60)):
        for method in ("ce", "autoloss"):
            more = {"method.name": method, "data.weight": "weight", "data.train_on_trusted": True}
            run = Run.of(cfg.replace(keys | more))
            found = splits.divide(run, pipeline.prepare(run.data, runs.quiet))
            weight = found.train[0]["weight"]
            assert weight.mean() == pytest.approx(1) and len(np.unique(weight)) == 4
            (trusted,) = found.train[1:] if method == "ce" else found.controller
            assert trusted["weight"].mean() == pytest.approx(1) and len(trusted["y"]) == number
            assert len(np.unique(trusted["weight"])) == (1 if number == 60 else 4)


@pytest.mark.parametrize("bad", ["-1", "", "heavy", "inf"])
def test_a_bad_weight_is_told_by_its_line(log, tmp_path, bad):
    cells = [*map(str, log["weight"][:240])]
    cells[7] = bad
    cfg = written(tmp_path / "log", log[:240].with_columns(weight=pl.Series(cells)), log[240:])
    with pytest.raises(UserError, match=r"train.csv:9: column weight: .* is not what belongs"):
        autoloss_jax.train(cfg.replace({"data.weight": "weight"}), tmp_path / "run", progress=False)


def test_weights_that_say_nothing_are_one_line(log, tmp_path):
    nothing = log[:240].with_columns(weight=pl.lit(0))
    cfg = written(tmp_path / "log", nothing, log[240:])
    for weight, said in (("weight", "every row of train has the weight 0"), ("wait", "weight'?")):
        with pytest.raises(UserError, match=said):
            autoloss_jax.train(
                cfg.replace({"data.weight": weight}), tmp_path / weight, progress=False
            )


def test_without_test_rows_the_figures_are_those_of_validation(log, tmp_path):
    cfg = written(tmp_path / "log", log[:240], log[240:])
    run = autoloss_jax.train(cfg, tmp_path / "run", progress=False)
    assert run.result["test"] == {
        "auc": None,
        "logloss": None,
        "logloss_calibrated": None,
        "auc_undefined": "no test rows",
    }
    assert run.result["num_examples"] == {"train": 240, "val": 60, "test": 0}
    figures = run.evaluate()
    assert figures["split"] == "val" and figures["num_examples"] == 60
    log.write_csv(tmp_path / "one.csv")
    one = cfg.replace({"data.path": str(tmp_path / "one.csv"), "train.batch_size": 100})
    found = autoloss_jax.train(one, tmp_path / "one", progress=False)
    assert found.result["num_examples"]["test"] == 0
    with pytest.raises(UserError, match=r"no file test\.\*"):
        autoloss_jax.train(
            cfg.replace({"data.split": (0.8, 0.1, 0.1)}), tmp_path / "wants", progress=False
        )
