"""What the examples show is so: each runs as its docstring says, and prints figures that make
sense.
"""

import importlib
import re
import runpy

import pytest

pytestmark = pytest.mark.slow


def printed(name, capsys):
    """What an example prints."""
    text = runpy.run_module(f"examples.{name}", run_name="__main__")["__doc__"]
    assert f".venv/bin/python -m examples.{name}" in text
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "figure", "least", "most"),
    [
        (
            "own_model",
            r"^examples\.own_model:Gated\(squeeze=4\): test AUC (\S+), logloss",
            0.6,
            0.9,
        ),
        ("own_loop", r"^test AUC (\S+)$", 0.65, 0.95),
    ],
    ids=["own_model", "own_loop"],
)
def test_an_example_prints_its_figures(name, figure, least, most, capsys):
    found = re.search(figure, printed(name, capsys), re.MULTILINE)
    assert least < float(found[1]) < most


def test_an_example_finds_what_was_lost_and_ranks_better_for_it(capsys):
    text = printed("lost_labels", capsys)
    aucs = [float(auc) for auc in re.findall(r"test AUC (\S+),", text)]
    loglosses = [float(loss) for loss in re.findall(r"logloss (\S+)$", text, re.MULTILINE)]
    assert len(aucs) == 4 and min(aucs[1:]) > aucs[0] and max(loglosses[1:]) < loglosses[0] - 0.05
    found = re.findall(r"found: desktop (\d+) %, ios (\d+) %, android (\d+) %, tv (\d+) %", text)
    assert len(found) == 3
    for rates in found:
        for rate, true in zip(map(int, rates), (0, 80, 30, 50), strict=True):
            assert abs(rate - true) < 25


def test_an_example_prints_the_weights_that_its_controller_found(capsys):
    """Which loss wins in so short a search is left to rounding, and so to the machine; that the
    controller chose is not: it began even.
    """
    lines = re.findall(r"^(\S+): mean weight (\S+)$", printed("own_loss", capsys), re.MULTILINE)
    weights = {name: float(weight) for name, weight in lines}
    assert list(weights) == ["ce", "focal", "examples.own_loss:soft_hinge(margin=2)"]
    assert sum(weights.values()) == pytest.approx(1, abs=0.002) and min(weights.values()) >= 0
    assert max(weights.values()) - min(weights.values()) > 0.05


def test_a_correction_by_position_ranks_better_than_cross_entropy(monkeypatch, tmp_path):
    """Though nobody knows the position of the rows that are ranked."""
    position = importlib.import_module("examples.position")
    kept = ("CE on both", "corrected by position")
    monkeypatch.setattr(position, "METHODS", {name: position.METHODS[name] for name in kept})
    found = position.figures(tmp_path, seed=0)
    assert found[kept[1]]["auc"] > found[kept[0]]["auc"] + 0.01
