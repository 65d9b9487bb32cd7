"""The public API: its names are those of docs/api.md, quick to import, and their examples run."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import autoloss_jax
from autoloss_jax.config.errors import UserError

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "api.md").read_text()
HEAVY = ("jax", "flax", "optax", "orbax", "polars", "numpy", "matplotlib", "optuna")


def test_the_names_are_those_of_the_docs():
    tables = "\n".join(line for line in DOCS.splitlines() if line.startswith("| `"))
    named = re.findall(
        r"`(\w+)(?:\([^)]*\))?`", "\n".join(t.split("|")[1] for t in tables.split("\n"))
    )
    assert sorted(named) == sorted(autoloss_jax.__all__)
    assert f"These {len(autoloss_jax.__all__)} names" in DOCS


@pytest.mark.parametrize("name", autoloss_jax.__all__)
def test_a_name_is_there_and_says_what_it_is(name):
    found = getattr(autoloss_jax, name)
    assert len(inspect.getdoc(found)) > 40
    if inspect.isfunction(found) and name not in ("evaluate", "predict"):
        assert "Args:" in found.__doc__ and "Returns:" in found.__doc__


def test_import_brings_nothing_heavy():
    code = f"import autoloss_jax, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = autoloss_jax.trian


MODULES = (
    "api.runs",
    "api.estimators",
    "config.schema",
    "config.errors",
    "algorithm.gumbel",
    "algorithm.controller",
)


@pytest.mark.parametrize("name", [*MODULES, "algorithm.networks"])
def test_examples_of_docstrings_run(name):
    failed, run = doctest.testmod(importlib.import_module(f"autoloss_jax.{name}"))
    assert run and not failed


def test_examples_of_the_docs_run():
    failed, run = doctest.testfile(str(ROOT / "docs" / "api.md"), module_relative=False)
    assert run and not failed


@pytest.mark.slow
def test_a_run_evaluates_and_predicts_as_the_command_line_does(finished, tmp_path):
    cfg, workdir, result = finished
    run = autoloss_jax.load(workdir)
    assert run.result == result and run.config == cfg
    assert run.evaluate()["auc"] == pytest.approx(result["test"]["auc"], abs=1e-6)
    assert autoloss_jax.evaluate(workdir, split="val")["split"] == "val"
    unlabelled = tmp_path / "rows.txt"
    lines = Path(cfg.data.path).read_text().splitlines()[:30]
    unlabelled.write_text("".join(line.partition("\t")[2] + "\n" for line in lines))
    scores = autoloss_jax.predict(workdir, unlabelled)
    assert scores.shape == (30,) and ((scores > 0) & (scores < 1)).all()
    with pytest.raises(UserError, match="a DataFrame is a table, and this run reads criteo files"):
        run.predict(pl.DataFrame({"C1": ["a"]}))


def test_what_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no finished run here"):
        autoloss_jax.load(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        autoloss_jax.load(tmp_path)
