"""What tests ask of runs: their bits and their log, and the environment of programs that they
start.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import jax
import numpy as np

from autoloss_jax.training import checkpoint, loop, report

ROOT = Path(__file__).parents[2]


def quiet(_):
    pass


def with_flags(*flags):
    """XLA_FLAGS as they are, and these after them."""
    return " ".join([*os.environ.get("XLA_FLAGS", "").split(), *flags])


def on_devices(count):
    """The environment of a program on simulated devices."""
    flags = with_flags(f"--xla_force_host_platform_device_count={count}")
    return os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}


@contextlib.contextmanager
def optimised():
    """For what is said of programs as users compile them."""
    given = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", given)


def started(cfg, workdir, until):
    """A process that trains, once its log has reached a step, or it has ended. It is forked from
    one that holds what training imports: only the import is spared.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["autoloss_jax.training.loop", "tests.support.runs"])
    process = processes.Process(
        target=loop.train, args=(cfg, workdir, quiet), kwargs={"shown": False}
    )
    process.start()
    while max((r["step"] for r in log(workdir)), default=0) < until and process.is_alive():
        time.sleep(0.01)
    return process


def copied(workdir, folder):
    """A copy of a run, in a folder."""
    return Path(shutil.copytree(workdir, folder / "copy"))


def digest(workdir):
    """SHA-256 of every array of the newest checkpoint and of the best one, and what the host
    remembers beside them.
    """
    out = []
    for folder in ("checkpoints", "best"):
        step = checkpoint.newest(workdir / folder)
        state = checkpoint.load(step).state
        leaves = [
            jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
            for x in jax.tree.leaves(state)
        ]
        progress = checkpoint.read_meta(step)["progress"]
        times = ("train_seconds", "compile_seconds", "wall_seconds", "timed_steps")
        known = json.dumps({k: v for k, v in progress.items() if k not in times}, sort_keys=True)
        out.append(
            hashlib.sha256(
                b"".join(np.asarray(x).tobytes() for x in leaves) + known.encode()
            ).hexdigest()
        )
    return out


def log(workdir):
    return [
        {k: v for k, v in r.items() if k != "examples_per_second"}
        for r in report.read_log(workdir / "metrics.jsonl")
    ]
