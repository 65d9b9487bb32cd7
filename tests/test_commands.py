"""`autoloss COMMAND`: one table of programs, answered at once, and the same from a wheel."""

import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autoloss_jax.cli import commands
from autoloss_jax.config import library
from autoloss_jax.config.errors import UserError

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
START = "from autoloss_jax.cli import commands; commands.main()"
HEAVY = {"jax", "flax", "numpy", "polars", "rich", "optuna", "matplotlib"}


def autoloss(*words, package=ROOT, cwd=ROOT):
    """The command as an installed script starts it; what it printed, and what it imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-P", "-c", START, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(package)},
    )
    done.imported = set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.M))
    lines = done.stderr.splitlines()
    done.said = [line for line in lines if not line.startswith("import time:")]
    return done


def test_the_project_has_one_command_and_it_is_the_table():
    (script,) = PROJECT["project"]["scripts"].items()
    assert script == ("autoloss", "autoloss_jax.cli.commands:main")
    assert pkgutil.resolve_name(script[1]) is commands.main


def test_every_program_is_in_the_table():
    programs = {
        ".".join(path.relative_to(ROOT / "autoloss_jax").with_suffix("").parts)
        for path in (ROOT / "autoloss_jax").rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    }
    assert {command.module for command in commands.TABLE.values()} == programs


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        ("", 0, r"  compare +finished runs"),
        ("--help", 0, r"autoloss train --config=quickstart:quick"),
        ("--version", 0, r"autoloss_jax \d+\.\d+\.\d+$"),
        ("train --version", 0, r"autoloss_jax \d"),
        ("compare --version", 0, r"autoloss_jax \d"),
        ("trian", 2, r"^error: autoloss trian: no such command; did you mean 'train'\?"),
        ("compare", 2, r"as: autoloss compare runs/\*$"),
        ("evaluate", 2, r"^error: --workdir: name the folder of a finished"),
        ("predict --workdir=tests", 2, r"^error: --output"),
        ("train criteo:quick", 2, r"not a flag; flags begin with --, as --config=criteo:quick$"),
        ("train --config=frape", 2, r"no config of this name; did you mean 'frappe'\?"),
        ("study --config=studies/contxt", 2, r"did you mean 'context'\?"),
        ("study --config=criteo", 2, r"autoloss train takes the configs of trainings"),
        ("train --config=context", 2, r"autoloss study those of studies"),
        ("train --config=frappe:quik", 2, r"did you mean 'quick'\?"),
        ("train --config=frappe:missing", 2, r"--config\.data\.path"),
        *((f"{name} --help", 0, rf"(?m)^(usage: )?autoloss {name}\b") for name in commands.TABLE),
    ],
)
def test_the_command_answers_before_anything_heavy_is_imported(words, code, answer):
    done = autoloss(*words.split())
    assert done.returncode == code, done.said
    assert re.search(answer, done.stdout if code == 0 else "\n".join(done.said))
    assert len(done.said) == (1 if code else 0), done.said
    assert "python -m" not in done.stdout + "\n".join(done.said)
    assert not HEAVY & done.imported


def test_a_module_started_by_itself_names_modules(monkeypatch):
    text = "autoloss evaluate --workdir=DIR; the method autoloss trains"
    as_module = "python -m autoloss_jax.main --mode=evaluate --workdir=DIR"
    assert commands.spelled(text).startswith(as_module)
    assert commands.spelled(text).endswith("the method autoloss trains")
    monkeypatch.setattr(commands._started, "by_name", True)
    assert commands.spelled(text) == text


def test_a_config_is_found_by_its_name_and_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    assert library.find("criteo") == ROOT / "configs" / "criteo.py"
    assert library.find("studies/table2") == library.find("table2")
    assert library.find("configs/criteo.py") == Path("configs/criteo.py")
    assert not library.trainings().keys() & library.studies().keys()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "criteo").write_text("")
    assert library.find("criteo") == Path("criteo")
    with pytest.raises(UserError, match="did you mean 'criteo'"):
        library.find("configs/criteo.py")


def test_the_package_that_is_built_holds_all_of_it_and_the_configs(tmp_path):
    pytest.importorskip("setuptools", reason="the wheel is built with setuptools")
    built = tmp_path / "lib"
    places = ("egg_info", f"--egg-base={tmp_path}", "build", f"--build-base={tmp_path / 'base'}")
    subprocess.run(
        [sys.executable, "setup.py", "-q", *places, f"--build-lib={built}"], cwd=ROOT, check=True
    )
    package = {str(p.relative_to(built)) for p in built.rglob("*") if p.is_file()}
    wanted = {
        str(Path("autoloss_jax", *p.relative_to(ROOT).parts[skip:]))
        for folder, skip in (("autoloss_jax", 1), ("configs", 0))
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert "autoloss_jax/py.typed" in wanted and package == wanted
    done = autoloss("study", "--config=table3", "--help", package=built, cwd=tmp_path)
    assert "--config.name='table3'" in done.stdout, done.said
    done = autoloss("train", "--config=frape", package=built, cwd=tmp_path)
    assert "did you mean 'frappe'?" in done.said[0]


def test_the_lock_names_a_version_of_all_that_is_required_and_no_place():
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?:|file:|@ |/opt|/home|--\w*index", lock)
    locked = set(re.findall(r"^([\w-]+)==", lock, re.M))
    files = [ROOT / "requirements-cpu.txt", ROOT / "requirements-test.txt"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    extras = PROJECT["project"]["optional-dependencies"].values()
    for line in [*lines, *(line for extra in extras for line in extra)]:
        if match := re.match(r"[A-Za-z][\w.-]*", line):
            assert re.sub(r"[._]", "-", match[0]) in locked, line
    (old,) = re.findall(r"^jax==(\S+) ; python_full_version < '3\.12'$", lock, re.M)
    (new,) = re.findall(r"^jax==(\S+) ; python_full_version >= '3\.12'$", lock, re.M)
    assert old.startswith("0.10.") and new.startswith("0.11.")
