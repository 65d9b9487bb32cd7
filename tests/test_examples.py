"""What the examples show is so: each runs as its docstring says, and prints figures that make
sense.
"""

import re
import runpy

import pytest


@pytest.mark.parametrize(
    ("name", "figure", "least", "most"),
    [
        (
            "own_model",
            r"^examples\.own_model:Gated\(squeeze=4\): test AUC (\S+), logloss",
            0.6,
            0.9,
        ),
        ("own_loss", r"^examples\.own_loss:soft_hinge\(margin=2\): mean weight (\S+)$", 0.01, 0.99),
        ("own_loop", r"^test AUC (\S+)$", 0.65, 0.95),
    ],
    ids=["own_model", "own_loss", "own_loop"],
)
def test_an_example_prints_its_figures(name, figure, least, most, capsys):
    text = runpy.run_module(f"examples.{name}", run_name="__main__")["__doc__"]
    assert f".venv/bin/python -m examples.{name}" in text
    found = re.search(figure, capsys.readouterr().out, re.MULTILINE)
    assert least < float(found[1]) < most
