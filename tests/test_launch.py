"""launch/jobset.yaml is a JobSet, and its pods are told who they are; launch/environment.sh
installs once, by uv where it is there.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture
def jobset():
    return yaml.safe_load((ROOT / "launch/jobset.yaml").read_text())


def check(document):
    """Against the schema that JobSet's releases install in a cluster (tests/golden/jobset.py)."""
    jsonschema.validate(document, json.loads((ROOT / "tests/golden/jobset.json").read_text()))


def job(jobset):
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def test_the_jobset_is_what_its_schema_wants(jobset):
    check(jobset)
    job(jobset)["template"]["spec"]["containers"][0]["enviroment"] = []
    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        check(jobset)


def test_as_many_pods_are_started_as_are_waited_for_at_the_first_ones_address(jobset):
    (container,) = job(jobset)["template"]["spec"]["containers"]
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert job(jobset)["parallelism"] == job(jobset)["completions"] == int(env["JAX_NUM_PROCESSES"])
    name, worker = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"][0]["name"]
    port = container["ports"][0]["containerPort"]
    assert env["JAX_COORDINATOR_ADDRESS"] == f"{name}-{worker}-0-0.{name}:{port}"
    assert "JAX_PROCESS_ID" in env


PLACES = "/usr/bin:/bin"
FILES = (
    "pyproject.toml",
    "setup.py",
    "requirements.lock",
    "requirements-cpu.txt",
    "requirements.txt",
)
PYTHON = """#!/bin/sh
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") echo "$@" >>"$SAID" ;;
  -c*) echo "$0" ;;
  *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def installing(tmp_path):
    """Calls `environment` in a repository of its own; the installs that it asks of a Python, and of
    uv, that only note them.
    """
    repo, programs, said = tmp_path / "repo", tmp_path / "programs", tmp_path / "said"
    (repo / "launch").mkdir(parents=True)
    programs.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, repo)
    shutil.copy(ROOT / "launch/environment.sh", repo / "launch")
    for name, text in (
        ("python", PYTHON.format(python=sys.executable)),
        ("uv", 'echo uv "$@" >>"$SAID"'),
    ):
        (programs / name).write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)

    def call(uv, **variables):
        said.write_text("")
        path = f"{programs}:{PLACES}" if uv else PLACES
        subprocess.run(
            ["bash", "-c", '. "$0" && environment', str(repo / "launch/environment.sh")],
            env={"PATH": path, "SAID": str(said), "PYTHON": str(programs / "python"), **variables},
            check=True,
            capture_output=True,
        )
        return said.read_text().replace(str(repo), "REPO").splitlines()

    call.repo = repo
    return call


@pytest.mark.skipif(
    bool(shutil.which("uv", path=PLACES)), reason="uv is among the system's programs"
)
@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="asks for CUDA too")
def test_the_environment_is_made_once_by_uv_or_pip_in_the_locked_versions(installing):
    wanted = (
        "--editable REPO -r REPO/requirements-cpu.txt --constraint REPO/requirements.lock --quiet"
    )
    assert installing(uv=True) == [f"uv pip install --python REPO/.venv/bin/python {wanted}"]
    assert installing(uv=True) == []
    (installing.repo / "requirements.lock").write_text("jax==0.10.2\n")
    assert installing(uv=False) == [f"-m pip install --disable-pip-version-check {wanted}"]
    assert installing(uv=False) == installing(uv=True) == []


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="asks for CUDA too")
def test_a_held_jax_is_not_held_to_the_lock(installing):
    (asked,) = installing(uv=True, JAX_VERSION="0.10")
    assert "jax==0.10.*" in asked and "--constraint" not in asked
    assert installing(uv=True, JAX_VERSION="0.10") == []
    (asked,) = installing(uv=True)
    assert "jax==" not in asked
