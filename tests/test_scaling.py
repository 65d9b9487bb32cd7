"""A table that fits no device compiles for 64 of them, and takes of each what arithmetic says
(docs/scaling.md).
"""

import json
import subprocess
import sys

import pytest

from benchmarks.scaling import REPORTED, Plan, table
from tests.support.runs import ROOT, on_devices

pytestmark = pytest.mark.slow


def test_a_step_for_64_devices_compiles_and_holds_its_share_of_the_table():
    code = (
        "import json; from benchmarks.scaling import Plan, compiled; "
        "print(json.dumps(compiled(Plan(8, 8))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=on_devices(64)
    )
    found, plan = json.loads(done.stdout), Plan(8, 8)
    assert plan.state_bytes > 20e9
    assert plan.state_bytes <= found["kept"] <= found["arguments"] < 1.01 * plan.state_bytes
    assert found["scratch"] < 0.1 * plan.state_bytes
    row = 4 * (plan.embed_dim + 1)
    assert (
        0 < found["largest_exchange"] <= row * plan.touched
    )  # of one of the arrays beside each row


def test_the_document_has_the_table_of_the_arithmetic():
    assert table(REPORTED) in (ROOT / "docs" / "scaling.md").read_text()


def test_a_batch_touches_no_more_rows_than_its_fields_have():
    plan = Plan(1, 1, batch_size=100, num_rows=13 * 50 + 26 * 10)
    assert plan.touched == 13 * 50 + 26 * 10
    assert plan.gathered_bytes == plan.reduced_bytes == 0
    assert plan.state_bytes == 208 * plan.touched
