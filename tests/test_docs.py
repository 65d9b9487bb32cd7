"""What README and docs say can be typed, and README's own lines do what it says."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from autoloss_jax.algorithm import losses
from autoloss_jax.cli import commands, flags
from autoloss_jax.config import Config
from autoloss_jax.data import synthetic
from autoloss_jax.training import defaults
from tests.support import runs
from tests.support.commands import call
from tests.support.documents import blocks
from tests.support.runs import ROOT

PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
# Parses each command line of a file as the program would, in a process of its own, and prints
# what is wrong with it.
CHECK = """
import importlib, json, os, sys
from autoloss_jax import config
from autoloss_jax.cli import command_line
from autoloss_jax.config.errors import UserError
from autoloss_jax.studies.study import Study
for module, words in json.load(open(sys.argv[1])):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    try:
        importlib.import_module(module)
        kind = Study if "studies" in module else config.Config
        command_line.parse(["program", *words], module, kind())
        if command_line.config_file():
            found = command_line.config(kind)
            config.check(found) if kind is config.Config else config.settings.check(found)
    except UserError as error:
        print(" ".join(words), ":", error)
    sys.stdout.flush()
    os._exit(0)
"""


def typed(page):
    """The commands of a page's blocks that start a program of the package: (module, words)."""
    for body in blocks(page, ""):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            found = program(words)
            if found:
                yield found


def program(words):
    """The module of the package that a command starts, and its flags."""
    if words[:1] == ["autoloss"]:
        command = commands.TABLE[words[1]]
        return f"autoloss_jax.{command.module}", [*command.flags, *words[2:]]
    if words[:2] == ["bash", "launch/run.sh"] and any("--config" in word for word in words):
        return "autoloss_jax.main", words[2:]
    if words[1:3] and words[1] == "-m" and words[2].startswith("autoloss_jax."):
        return words[2], words[3:]
    return None


def test_the_page_of_flags_is_what_the_program_prints():
    assert (ROOT / "docs" / "flags.md").read_text() == flags.page()


def test_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().split()) <= 700


def test_links_lead_somewhere():
    for page in PAGES:
        text = (ROOT / page).read_text()
        for path in re.findall(r"`((?:docs|configs|launch|examples)/[\w./]+\.\w+)`", text):
            assert (ROOT / path).exists(), f"{page}: {path}"
        for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert ((ROOT / page).parent / path).exists(), f"{page}: {path}"


def test_every_command_can_be_typed(tmp_path):
    """Each of its flags is one, and each value fits."""
    all_typed = [(page, *found) for page in PAGES for found in typed(page)]
    by_absl = ("main", "studies.run", "cli.prepare", "cli.plot", "cli.export_loss")
    with_config = [f"autoloss_jax.{name}" for name in by_absl]
    asked = [(module, words) for _, module, words in all_typed if module in with_config]
    assert len(asked) > 15
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path / "asked.json")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    for page, module, words in all_typed:
        if module not in with_config:
            source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
            for word in words:
                if word.startswith("--"):
                    assert f'"{word.partition("=")[0]}"' in source, f"{page}: {module} {word}"


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    """A folder with the files that README speaks of."""
    log = Config().replace({"data.format": "tabular", "data.generate": 6000})
    synthetic.generated(log, tmp_path, runs.quiet)
    lines = (tmp_path / "raw" / "clicks.csv").read_text().splitlines(keepends=True)
    head, rows = lines[0], lines[1:]
    for name, part in (("clicks", rows[:4500]), ("audited", rows[4500:5500]), ("new", rows[5500:])):
        (tmp_path / f"{name}.csv").write_text(head + "".join(part))
    pl.read_csv(tmp_path / "new.csv").drop("bought").write_csv(tmp_path / "new.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
def test_readmes_lines_of_python_run(newcomer, monkeypatch):
    """Of a training that ends early: that they run is what is claimed."""
    monkeypatch.setattr(defaults, "STEPS_AN_EPOCH", 10)
    monkeypatch.setattr(defaults, "LEAST_STEPS", 100)
    monkeypatch.setattr(defaults, "PATIENCE_STEPS", 20)
    (lines,) = blocks("README.md", "python")
    assert len([line for line in lines.splitlines() if line.strip()]) <= 16
    found: dict = {}
    with runs.optimised():
        exec(lines, found)
    assert found["scores"].shape == (500,) and found["scores"].min() > 0
    assert (newcomer / "runs" / "clicks" / "result.json").exists()


def test_the_loss_that_a_newcomer_adds_is_its_formula():
    (lines,) = blocks("docs/first_hour.md", "python")
    found = dict(vars(losses))
    exec(lines, found)
    z, y = np.linspace(-3, 3, 7), np.array([0, 1, 0, 1, 1, 0, 1])
    ours = found["squared_hinge"](z[:, None], y)
    assert np.allclose(ours, np.maximum(0, 1 - (2 * y - 1) * z) ** 2)


@pytest.mark.slow
def test_readmes_commands_run(newcomer):
    asked = [(module, words) for module, words in typed("README.md") if "clicks" in str(words)]
    assert [module for module, _ in asked] == ["autoloss_jax.main", "autoloss_jax.report"]
    for module, words in asked:
        shorter = ["--config.train.epochs=2"] if module.endswith("main") else []
        done = call(module, *words, *shorter, cwd=newcomer)
        assert done.returncode == 0, done.stderr
    assert "platform" in (newcomer / "runs" / "clicks" / "report.html").read_text()
