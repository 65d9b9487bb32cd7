"""The benchmark runs as its command says, on whatever device is at hand; what it measures is not
asserted.
"""

import dataclasses
import re
import subprocess
import sys

import pytest

from autoloss_jax.models import registry
from benchmarks import cost, run, workload
from benchmarks import models as table
from benchmarks.cost import Point
from benchmarks.workload import Workload

TINY = Workload(
    num_rows=3000, num_fields=5, batch_size=64, embed_dim=4, hidden=(8, 8), num_examples=1000
)


@pytest.mark.slow
def test_contenders_take_turns_and_the_table_has_their_figures(monkeypatch):
    monkeypatch.setattr("benchmarks.worker.TURN", 0.01)
    names = ("ce", "autoloss", "forward")
    workers = run.take_turns(TINY, names, rounds=2)
    rows = run.table(workers, "ce").splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in names]
    for row in rows:
        speed, low, high, ms = (
            float(v.replace(",", ""))
            for v in re.search(r"\| ([\d,]+) \(([\d,]+) to ([\d,]+)\) \| ([\d.]+)", row).groups()
        )
        assert 0 < low <= speed <= high and ms > 0
        assert int(re.search(r", ([\d,]+) \|$", row)[1].replace(",", "")) >= 0


def test_a_contender_without_its_library_is_named_with_the_reason():
    class Missing:
        name, available, seconds, state, work = (
            "baseline",
            False,
            [],
            {"unavailable": "no module"},
            TINY,
        )

        def close(self):
            return {}

    assert "| baseline | not measured: no module |" in run.table([Missing()], "ce")


def test_a_section_replaces_its_predecessor_and_leaves_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REPORT", tmp_path / "benchmarks.md")
    run.REPORT.write_text("# Benchmarks\n\nHead.\n\n## train, another machine\n\nkept\n")
    for text in ("first", "second"):
        run.write("train", text)
    written = run.REPORT.read_text()
    assert written.startswith("# Benchmarks\n\nHead.\n")
    assert "kept" in written and "second" in written and "first" not in written


def test_the_shape_is_criteos_and_many_examples_repeat_the_first():
    assert workload.field_dims(Workload()).sum() == 1_086_810
    x, y = workload.examples(dataclasses.replace(TINY, num_examples=2_000_500))
    assert x.shape == (2_000_500, 5) and y.shape == (2_000_500,)
    assert (x[2_000_000:] == x[:500]).all()
    assert (x < workload.field_dims(TINY).cumsum()).all()


def test_ours_needs_jax_flax_optax_and_numpy_alone():
    code = "import sys, benchmarks.run, benchmarks.ours; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"grain", "polars", "orbax", "ml_collections", "tensorboard"} & set(loaded)


def test_every_model_names_its_paper_with_the_year_and_says_what_it_computes():
    for name in registry.MODELS:
        paper, formula = table.described(name)
        assert re.search(r"\d{4}$", paper), name
        assert formula.endswith("."), name
    assert table.num_params("lr", TINY) == 3000 + 1


def test_on_the_frontier_is_what_no_other_is_as_fast_and_as_good_as():
    found = {"slow": (9, 0.7), "fast": (1, 0.6), "worse": (2, 0.6), "good": (5, 0.8)}
    points = [Point("d", name, 1, seconds, auc, 0.5) for name, (seconds, auc) in found.items()]
    assert {point.name for point in cost.frontier(points)} == {"fast", "good"}
    other = Point("d", "slow", 2, 9, 0.7, 0.5)  # other cores are a table of their own
    rows = cost.table([*points, other]).splitlines()[2:]
    names = [row.split(" | ")[2] for row in rows]
    assert names == ["**fast**", "worse", "**good**", "slow", "**slow**"]
    assert len(cost.draw([*points, other]).axes) == 2
