"""Runs that an earlier version left (tests/fixtures/first_format) are read, and gone on with."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from autoloss_jax import config
from autoloss_jax.analysis import export
from autoloss_jax.training import loop, prediction
from tests.support import commands
from tests.support.runs import ROOT, quiet

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parent / "fixtures" / "first_format"


@pytest.fixture(scope="module")
def expected():
    return json.loads((FIXTURE / "expected.json").read_text())


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Gives a copy of a run, in the folder that its data.path starts from."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)
    return lambda name: Path(shutil.copytree(FIXTURE / name, tmp_path / name))


def test_its_figures_are_found_again(run):
    workdir = run("finished")
    result = json.loads((workdir / "result.json").read_text())
    figures = prediction.evaluate_run(prediction.load(workdir, None, {}), workdir, "", quiet)
    assert figures["logloss"] == pytest.approx(result["test"]["logloss"], abs=1e-5)
    assert figures["auc"] == pytest.approx(result["test"]["auc"], abs=0.01)  # ties by rounding


def test_its_scores_are_what_they_were(run, expected, tmp_path):
    workdir, new = run("finished"), tmp_path / "new.csv"
    rows = pl.read_csv(FIXTURE / "clicks.csv").drop("click").head(len(expected["scores"]))
    rows.write_csv(new)
    loaded = prediction.load(workdir, None, {"data.path": str(new)})
    assert prediction.predict(loaded, workdir, tmp_path / "scores.parquet") == len(rows) == 39
    scores = pl.read_parquet(tmp_path / "scores.parquet")["score"].to_numpy()
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)
    assert np.std(expected["scores"]) > 1e-3


def test_its_controller_is_pictured(run):
    workdir = run("finished")
    done = commands.call("autoloss_jax.cli.plot", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    drawn = {path.stem: path.read_bytes() for path in (workdir / "pictures").iterdir()}
    assert drawn.keys() == {"weights", "loss", "movement", "gradient_agreement"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_its_loss_is_exported(run, expected, tmp_path):
    table = export.export(run("finished"), tmp_path / "loss")
    ends = [table["labels"]["1"][name][0] for name in ("value", "gradient")]
    ends += [table["labels"]["0"][name][-1] for name in ("value", "gradient")]
    assert list(table["pool"]) == expected["export"]["pool"]
    np.testing.assert_allclose(ends, expected["export"]["ends"], atol=1e-3)


def test_a_stopped_one_is_gone_on_with(run, expected):
    workdir = run("stopped")
    cfg = config.from_dict(json.loads((workdir / "config.json").read_text()))
    result, was = loop.train(cfg, workdir, quiet), expected["stopped"]
    assert result["steps"] == was["steps"]
    assert result["test"]["logloss"] == pytest.approx(was["test"]["logloss"], abs=0.02)
