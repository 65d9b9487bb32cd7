"""Devices that share batches and table train as one, and never exchange more than a batch's
rows.
"""

import json
import subprocess
import sys

import pytest

from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import sharding
from tests.support import devices
from tests.support.runs import ROOT, on_devices

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What eight simulated devices found out (tests/support/devices.py)."""
    return found_by(str(tmp_path_factory.mktemp("devices")))


def found_by(*arguments):
    command = [sys.executable, "-m", "tests.support.devices", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=on_devices(8))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", ["autoloss", "everything", *devices.METHODS])
def test_any_grid_of_devices_trains_as_one(report, what):
    """In float64, where no rounding hides a difference; `everything` is bags, numbers as values,
    L2, a field that the controller sees, and losses that look at the whole batch.
    """
    assert report[what]
    for losses, rows in report[what].values():
        assert losses < 1e-12 and rows < 1e-12


@pytest.mark.nightly
def test_models_of_every_kind_train_on_several_devices_as_on_one():
    """Convolutions, logarithms; `python -m tests.support.devices models` does it with
    all of them, in minutes (on eight devices,
    XLA_FLAGS=--xla_force_host_platform_device_count=8).
    """
    found = found_by("models", "xdeepfm", "afn")
    assert len(found) == 2
    assert all(gap < 1e-5 for grids in found.values() for pair in grids.values() for gap in pair)


def test_devices_exchange_no_more_than_the_rows_of_batches(report):
    row, ids = 5, 2 * devices.BATCH * devices.FIELDS
    bounds = {
        "adam": row * ids,
        "sparse_adam": row * 8192,
    }  # the latter's slots come in chunks on a CPU
    for name, bound in bounds.items():
        largest = report["collectives"][name]
        assert 0 < largest["train"] <= bound < row * sum(devices.LARGE) / 8
        assert 0 < largest["evaluate"] <= row * ids
        assert largest["settle"] == 0


def test_a_checkpoint_of_one_grid_is_the_same_bits_on_any_other(report):
    assert report["restored"] == dict.fromkeys(("(1, 1)", "(1, 8)", "(4, 2)"), True)


def test_devices_that_make_no_grid_are_one_line():
    with pytest.raises(UserError, match="3 x 2 is not the 1 devices that are here"):
        sharding.make_mesh(3, 2)
