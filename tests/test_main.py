"""The command line: a mistake is one line and exit code 2; --help tells the keys; the program
never tracebacks.
"""

import os
import subprocess
import sys

import pytest

from tests.support import commands
from tests.support.runs import ROOT


def call(*flags):
    return commands.call("autoloss_jax.main", *flags)


def started(*flags):
    """The same as a user starts it."""
    env = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "autoloss_jax.main", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    )


SMALLER = ("--config.model.hidden=(8,)", "--config.model.embed_dim=4")
USER_CODE = "tests.support.user_code"
FRAPPE = "--config=configs/frappe.py --config.data.path=README.md"
MISTAKES = {
    "--config=configs/frappe.py --config.model.embed_dmi=4": "--config.model.embed_dmi: no such "
    "config key; did you mean "
    "'model.embed_dim'?",
    "--config=configs/frappe.py --config.run.signal=true": "--config.run.signal: now called "
    "--config.run.gradient_agreement",
    "--config=configs/frappe.py --noconfig.run.signal": "--config.run.gradient_agreement",
    "--config.train.epochs=3 --config=configs/frappe.py": "name the config file first",
    "--config=configs/studies/table2.py": "a Study, where a Config is wanted",
    "--mode=evaluate --workdir=tests/fixtures/first_format/finished --config.method.every=4": (
        "--config.method.every=4: tests/fixtures/first_format/finished was trained with 2"
    ),
    "--mode=predict --workdir=tests --output=x --config.data.path=x --split=test": "leave --split",
    "--config=configs/frappe.py --config.optimizer.l2=abc": "--config.optimizer.l2=abc",
    "--config=configs/frappe.py --config.model=3": "--config.model is a section",
    "--config=configs/frape.py": "configs/frape.py: no such file",
    "--config=configs/frappe.py:quik": "no variant 'quik' here; it has missing, flipped, ipnn, "
    "encoded, by_rule, paper, quick; did you mean 'quick'?",
    "--confg=configs/frappe.py": "Did you mean: config",
    "--config=configs/frappe.py --config.data.path=/nowhere": "--config.data.path=/nowhere: no "
    "such file or folder",
    f"{FRAPPE} --config.method.name=autolos": "did you mean 'autoloss'?",
    f"{FRAPPE} --config.method.pool=ce,focl": "did you mean 'focal'?",
    f"{FRAPPE} --config.method.pool=ce,{USER_CODE}:breir": f"{USER_CODE} has "
    "no "
    "'breir'; did you mean 'brier'?",
    f"{FRAPPE} --config.method.xi=0": "identically zero",
    "--mode=evaluate --workdir=nowhere": "--workdir=nowhere: no such folder",
    "--mode=predict --workdir=tests": "--output: name the file",
    "--mode=evaluate --workdir=tests": "no checkpoint here",
    "--mode=evaluate --workdir=tests --calibrated": "tests: no finished run here (no result.json)",
    "--mode=evaluate --workdir=tests --calibrated --checkpoint=best/1": "leave --checkpoint out",
    "--config=configs/frappe.py quick": "quick: not a flag",
}


@pytest.mark.parametrize(
    "flags", MISTAKES, ids=lambda f: f.replace("configs/", "").replace("/", "")[-40:]
)
def test_a_mistake_is_one_line_with_the_fix(flags, tmp_path):
    extra = [] if "--workdir" in flags else [f"--workdir={tmp_path}"]
    done = call(*flags.split(), *extra)
    assert done.returncode == 2, done.stderr
    assert MISTAKES[flags] in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr + done.stdout


def test_help_shows_the_keys_with_the_configs_values():
    done = started("--config=configs/frappe.py", "--help")
    assert done.returncode == 0
    assert "--config.optimizer.l2=0.05" in done.stdout
    assert "--workdir" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_the_quickstart_prints_a_table_of_both_methods(tmp_path):
    flags = (
        "--config=configs/quickstart.py:quick",
        f"--workdir={tmp_path / 'a run'}",
        f"--config.data.cache={tmp_path}",
        *SMALLER,
    )
    done = started(*flags)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("autoloss", "ce", "test AUC", "logloss"))
    assert "Traceback" not in done.stderr
    assert "CUDA" not in done.stderr
    assert (tmp_path / "a run" / "compare" / "ce" / "result.json").exists()
    again = call(*flags)
    assert again.returncode == 0
    assert again.stderr.count("this run is complete") == 2
    assert again.stdout.replace("\n", "")[:200] == done.stdout.replace("\n", "")[:200]


@pytest.mark.slow
def test_the_samples_of_criteo_and_avazu_go_through_prepare_one_epoch_and_evaluate(
    real_data, tmp_path
):
    for name in ("criteo", "avazu"):
        workdir = tmp_path / name
        flags = (
            f"--config.data.path={real_data / f'{name}_sample'}",
            f"--config.data.cache={tmp_path}",
            *SMALLER,
        )
        config = f"--config=configs/{name}.py:quick"
        done = call(config, f"--workdir={workdir}", *flags)
        assert done.returncode == 0, done.stderr
        done = call("--mode=evaluate", f"--workdir={workdir}")
        assert done.returncode == 0, done.stderr
        assert '"auc"' in done.stdout
