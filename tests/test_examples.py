"""What the examples show is so: each runs as its docstring says, and prints figures that make
sense.
"""

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


def test_an_example_prints_the_weights_that_its_controller_found(capsys):
    """Which loss wins in so short a search is left to rounding, and so to the machine; that the
    controller chose is not: it began even.
    """
    lines = re.findall(r"^(\S+): mean weight (\S+)$", printed("own_loss", capsys), re.MULTILINE)
    weights = {name: float(weight) for name, weight in lines}
    assert list(weights) == ["ce", "focal", "examples.own_loss:soft_hinge(margin=2)"]
    assert sum(weights.values()) == pytest.approx(1, abs=0.002) and min(weights.values()) >= 0
    assert max(weights.values()) - min(weights.values()) > 0.05
