"""What is answered from the flags alone is answered before anything heavy is imported."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {
    "jax", "jaxlib", "flax", "optax", "orbax", "optuna", "polars", "matplotlib", "tensorboardX",
    "grain", "rich", "numpy", "scipy",
}  # fmt: skip
FRAPPE = "--config=configs/frappe.py"
TABLE2 = "--config=configs/studies/table2.py"
ANSWERS = {
    "main --help": 0,
    f"main {FRAPPE} --help": 0,
    "main": 2,
    "main --confg=configs/frappe.py": 2,
    "main --config=configs/frape.py": 2,
    f"main {FRAPPE}:quik": 2,
    f"main {FRAPPE} quick": 2,
    f"main {FRAPPE} --config.model.embed_dmi=4": 2,
    f"main {FRAPPE} --config.model=4": 2,
    f"main {FRAPPE} --config.optimizer.l2=abc": 2,
    f"main {FRAPPE} --config.train.batch_size=-2": 2,
    f"main {FRAPPE} --workdir=nowhere --config.data.path=/nowhere": 2,
    "main --flagfile=nowhere": 2,
    f"main {TABLE2}": 2,
    "main --config.model.embed_dmi=4": 2,
    "main --mode=evaluate": 2,
    "main --mode=evaluate --workdir=nowhere": 2,
    "main --mode=predict --workdir=tests": 2,
    "studies.run --help": 0,
    f"studies.run {TABLE2} --help": 0,
    f"studies.run {TABLE2} --config.sedes=2": 2,
    f"studies.run {TABLE2} --config.seeds=0": 2,
    f"studies.run {FRAPPE}": 2,
    "main --version": 0,
    "cli.compare": 2,
    "cli.compare --help": 0,
    "cli.compare nowhere": 2,
    "cli.download --help": 0,
    "cli.download frape": 2,
    "cli.export_loss --help": 0,
    "cli.export_loss --workdir=tests": 2,
    "cli.inspect": 2,
    "cli.inspect --help": 0,
    "cli.plot": 2,
    "cli.plot --help": 0,
    "cli.prepare": 2,
    "cli.prepare --help": 0,
}


@pytest.mark.parametrize("words", ANSWERS)
def test_nothing_heavy_is_imported_before_the_flags_are_right(words):
    program, *flags = words.split()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"autoloss_jax.{program}", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    imported = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.M)
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == ANSWERS[words], said
    assert len(said) == (1 if done.returncode else 0), said
    assert "autoloss_jax.config.errors" in imported
    assert not HEAVY & {name.split(".")[0] for name in imported}
