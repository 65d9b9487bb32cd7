"""Real processes on this machine train one run, whatever their number, and end together."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import processes
from autoloss_jax.training import loop
from configs import quickstart

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SLURM = {"SLURM_STEP_NODELIST": "node[01-02]", "SLURM_NTASKS": "2"}
TOLD = {"JAX_COORDINATOR_ADDRESS": "host:8476", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


@pytest.fixture
def environment(monkeypatch):
    """Gives the arguments of jax.distributed.initialize that a set of variables makes."""

    def told(variables):
        for name in (*SLURM, *TOLD):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return processes.told()

    return told


def test_the_environment_tells_each_process_who_it_is(environment):
    assert environment({}) == {}
    assert environment(SLURM | {"SLURM_NTASKS": "1"}) == {}  # a job of one task
    assert environment(SLURM) == {"cluster_detection_method": "slurm"}
    named = {"coordinator_address": "host:8476", "num_processes": 2, "process_id": 1}
    assert environment(SLURM | TOLD) == named | {"cluster_detection_method": "deactivate"}
    assert environment(TOLD | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JAX_PROCESS_ID", "2"),
        ("JAX_PROCESS_ID", ""),
        ("JAX_NUM_PROCESSES", "two"),
        ("JAX_COORDINATOR_ADDRESS", "host"),
    ],
)
def test_half_an_environment_is_one_line(environment, name, value):
    with pytest.raises(UserError, match=name):
        environment(TOLD | {name: value})


class Run:
    """`python -m autoloss_jax.main` in several processes, whose words are kept."""

    def __init__(self, count, workdir, flags, of_one=()):
        workdir.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        common = {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
        }
        common |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        command = [sys.executable, "-m", "autoloss_jax.main", f"--workdir={workdir}", *flags]
        self.workdir, self.started = workdir, {p: p.stat().st_mtime for p in manifests(workdir)}
        self.errors = [workdir.with_name(f"{workdir.name}.{count}.{i}") for i in range(count)]
        self.members = []
        for i in range(count):
            with self.errors[i].open("w") as stderr:
                env = os.environ | common | {"JAX_PROCESS_ID": str(i)}
                more = of_one if i == 1 else ()
                self.members.append(
                    subprocess.Popen([*command, *more], stderr=stderr, cwd=ROOT, env=env)
                )

    def until_saved(self):
        """Wait for a checkpoint that was not there before."""
        while not any(p not in self.started for p in manifests(self.workdir)):
            assert all(m.poll() is None for m in self.members), self.said()
            time.sleep(0.02)

    def codes(self, within=600):
        """Exit codes; None of one that hangs."""
        end = time.monotonic() + within
        for member in self.members:
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.wait(max(end - time.monotonic(), 0))
        codes = [member.poll() for member in self.members]
        for member in self.members:
            member.kill()
        return codes

    def said(self):
        """Lines of every process's stderr, once no more come: the last go through a filter."""
        texts = before = None
        while texts is None or texts != before:
            before, texts = texts, [path.read_text() for path in self.errors]
            time.sleep(1)
        return [text.splitlines() for text in texts]


def manifests(workdir):
    return list(workdir.glob("checkpoints/*/sha256.json"))


KEYS = {
    "data.generate": 0,
    "data.cache": None,
    "data.path": None,
    "model.embed_dim": 4,
    "model.hidden": (8,),
    "method.hidden": (8,),
    "train.batch_size": 200,
    "train.epochs": 3,
    "train.patience": 9,
    "train.log_every": 1,
    "train.checkpoint_every": 2,
    "train.eval_batch_size": 256,
    "run.compare": (),
}


@pytest.fixture(scope="module")
def keys(criteo_file, tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    return KEYS | {"data.path": str(criteo_file), "data.cache": cache}


@pytest.fixture(scope="module")
def flags(keys):
    return [
        "--config=configs/quickstart.py",
        *(f"--config.{name}={value}" for name, value in keys.items()),
    ]


def losses(workdir):
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r["loss"] for r in records}


def assert_one_line_each(said, wanted, victim=None):
    """Every survivor said at most one line, and at least one of them what is wanted."""
    last = [[s for s in lines if "error" in s or "Check failure" in s] for lines in said]
    assert all(len(lines) <= 1 for lines in last), said
    assert any(wanted in line for i, lines in enumerate(last) if i != victim for line in lines), (
        said
    )
    assert "Traceback" not in str(said)


@pytest.mark.processes
def test_a_run_that_changes_its_number_of_processes_is_the_run_of_one(keys, flags, tmp_path):
    run = Run(2, tmp_path / "run", flags)
    run.until_saved()
    run.members[1].send_signal(signal.SIGTERM)  # to one of them
    assert run.codes() == [143, 143], run.said()
    assert any("the state is saved" in line for line in run.said()[0])
    assert run.said()[1] == []  # the chief alone speaks
    saved = max(losses(tmp_path / "run"))

    run = Run(4, tmp_path / "run", flags)
    run.until_saved()
    run.members[2].kill()
    codes = run.codes()
    assert codes[2] == -signal.SIGKILL and all(code not in (0, None) for code in codes), run.said()
    assert_one_line_each(run.said(), "another process", victim=2)
    assert run.said()[0][0] == f"going on from step {saved}"
    assert max(losses(tmp_path / "run")) > saved

    cfg = settings.with_keys(quickstart.get_config(), keys)
    result, whole = (loop.train(cfg, tmp_path / name, shown=False) for name in ("run", "whole"))
    mixed, alone = losses(tmp_path / "run"), losses(tmp_path / "whole")
    assert list(mixed) == list(alone)
    np.testing.assert_allclose(list(mixed.values()), list(alone.values()), rtol=1e-5)
    assert result["test"]["logloss"] == pytest.approx(whole["test"]["logloss"], rel=1e-5)
    assert result["val"]["auc"] == pytest.approx(whole["val"]["auc"], abs=1e-4)


@pytest.mark.processes
def test_without_its_first_process_a_run_ends_in_one_line(flags, tmp_path):
    run = Run(2, tmp_path / "run", [*flags, "--config.train.epochs=99"])
    run.until_saved()
    run.members[0].kill()
    codes = run.codes()
    assert codes[1] not in (0, None), run.said()
    assert_one_line_each(run.said(), "process 1: another process is gone", victim=0)


@pytest.mark.processes
def test_a_mistake_of_one_process_ends_all(flags, tmp_path):
    run = Run(2, tmp_path / "run", flags, of_one=["--config.data.path=/nowhere"])
    assert run.codes() == [2, 2], run.said()
    assert_one_line_each(
        run.said(), "error: process 1: --config.data.path=/nowhere: no such file", victim=0
    )


LOSS = f"error: process 1: {processes.GONE} (gloo)"
FATAL = "F0101 coordination_service_agent.cc: error"
SAY = """
import sys
from autoloss_jax.distributed import processes, runtime
gone = f"error: process 1: {processes.GONE}; {processes.AGAIN}"
runtime.filter_native_output(gone, processes.GONE)
print(*sys.argv[1:], sep="\\n", file=sys.__stderr__, flush=True)
"""


@pytest.mark.parametrize("lines", [(LOSS, FATAL), (FATAL, LOSS)])
def test_a_lost_process_is_said_once_whoever_is_quicker(lines):
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, "-c", SAY, *lines], capture_output=True, text=True, env=env, check=True
    )
    assert len(ran.stderr.splitlines()) == 1 and "error: process 1: " in ran.stderr
