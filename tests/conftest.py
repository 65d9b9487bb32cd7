"""Where the real data is, and small runs that several tests look at."""

import fcntl
import json
import os
from pathlib import Path

from tests.support import compiling

# A GPU's own choice is TF32, of ten bits, and sums in any order: other implementations are
# compared in float32, and bits with bits.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = compiling.flags()
# LightGBM's threads would wait by spinning, and take ten times as long beside another worker.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax
import pytest

from autoloss_jax import config
from autoloss_jax.config import settings
from autoloss_jax.data import synthetic
from autoloss_jax.training import loop


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder of all workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def compiled_once(shared):
    """What several tests compile is compiled by the first of them, in whatever process: workers
    and programs share it.
    """
    for name, value in {
        "jax_compilation_cache_dir": str(shared / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }.items():
        os.environ[name.upper()] = str(value)  # of the programs that tests start
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def once(shared):
    """Gives the folder of a name, which the first worker that wants it fills."""

    def filled(name, fill):
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "filled").exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                (folder / "filled").touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def real_data():
    """The folder of real datasets: $AUTOLOSS_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("AUTOLOSS_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(
            "no real data here: set AUTOLOSS_DATA to the folder that holds frappe_x1/, "
            "movielens1m/, ..."
        )
    return folder


@pytest.fixture(scope="session")
def criteo_file(once):
    """A made-up Criteo file of 4,000 rows."""
    return (
        once("raw", lambda f: synthetic.write_criteo(f / "criteo.txt", 4000, seed=0)) / "criteo.txt"
    )


@pytest.fixture(scope="session")
def small(criteo_file, shared):
    """A config that trains in seconds; give it dotted keys to change."""
    cache = str(shared / "prepared")

    def make(**values):
        cfg = config.Config(
            data=config.Data(
                name="small", format="criteo", path=str(criteo_file), cache=cache, min_count=3
            ),
            model=config.Model(embed_dim=4, hidden=(8,)),
            method=config.Method(hidden=(8,), every=3),
            train=config.Train(batch_size=200, epochs=3, log_every=5, eval_batch_size=256),
            temperature=config.Temperature(horizon=0),
        )
        return settings.with_keys(cfg, {k.replace("__", "."): v for k, v in values.items()})

    return make


@pytest.fixture(scope="session")
def finished(small, once):
    """A finished AutoLoss run: (config, workdir, result)."""
    cfg = small()

    def fill(folder):
        result = loop.train(cfg, folder / "run", lambda _: None)
        (folder / "returned.json").write_text(json.dumps(result))

    folder = once("finished", fill)
    return cfg, folder / "run", json.loads((folder / "returned.json").read_text())


def pytest_collection_modifyitems(items):
    """`fast` is every test that is neither `slow` nor `nightly`: it takes a second or two. Files
    without slow tests come last, so that no worker waits for another's long test.
    """
    slow = {item.path for item in items if any(item.iter_markers("slow"))}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if not any(item.iter_markers("slow")) and not any(item.iter_markers("nightly")):
            item.add_marker("fast")


def pytest_configure(config):
    """Once, where all reports arrive: beside workers that is not where tests run."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(config), "failures-at-once")


class Failures:
    """Prints the name of a failure, and the first line of what was wrong, when it happens."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = (crash.message if crash else str(report.longrepr)).strip().partition("\n")[0]
            terminal = self.config.pluginmanager.get_plugin("terminalreporter")
            terminal.write(f"\nFAILED {report.nodeid} ({report.when}): {said}\n", red=True)
