"""What a bar says is seen at once, on a terminal and without one."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = """
from autoloss_jax.distributed.bar import Bar
with Bar("small: autoloss", 100, 0, shown={shown}) as bar:
    bar.say("compiling [8 steps]")
    input()
"""


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, True), (False, False)])
def test_a_line_is_there_before_the_work_goes_on(terminal, shown):
    if terminal:
        read, write = pty.openpty()
    else:
        read, write = os.pipe()
    command = [sys.executable, "-c", SCRIPT.format(shown=shown)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=write, cwd=ROOT)
    said = b""
    if shown:
        while b"small: autoloss: compiling [8 steps]" not in said:
            said += os.read(read, 1000)
        assert process.poll() is None
    process.communicate(b"\n")
    os.close(write)
    if not shown:
        assert os.read(read, 1000) == b""
    os.close(read)
