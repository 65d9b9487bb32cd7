"""What a bar says is seen at once, on a terminal and without one; how long it will take is always
seen.
"""

import io
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from autoloss_jax.distributed.bar import EVERY, Bar

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
        while b"compiling [8 steps]" not in said:
            said += os.read(read, 1000)
        assert process.poll() is None
    process.communicate(b"\n")
    os.close(write)
    if not shown:
        assert os.read(read, 1000) == b""
    os.close(read)


@pytest.mark.parametrize("columns", [80, 110])
@pytest.mark.parametrize("title", ["ce fm small", "autoloss deepfm quickstart", "a long " * 9])
@pytest.mark.parametrize(("total", "done"), [(117, "40/117"), (110_000, "36%")])
def test_how_far_it_is_and_the_figures_are_seen_in_few_columns(columns, title, total, done):
    bar, screen = Bar(title, total, 0), io.StringIO()
    bar.step(40 if total < 1000 else 40_000)
    bar.note("loss 0.3787, best AUC 0.64403")
    Console(file=screen, width=columns).print(bar.progress)
    (line,) = screen.getvalue().splitlines()
    assert len(line.rstrip()) <= columns
    assert title[:10] in line and f" {done} " in line and re.search(r" [-\d]:[-\d]{2}:", line)
    assert "loss 0.3787" in line and ("AUC 0.64403" in line or len(title) > 60)


class Minutes:
    """A clock by which `number` minutes go by, one at a time, once all is `ready`."""

    def __init__(self, number, ready=None):
        self.left, self.asked, self.ready = number, [], ready

    def __call__(self, seconds):
        if self.ready:
            self.ready.wait()
        self.asked.append(seconds)
        self.left -= 1
        return self.left < 0


def told(bar):
    """What a bar says in the minutes that its clock lets go by."""
    with bar:
        bar.teller.join()


def test_without_a_terminal_a_line_a_minute_says_how_far_all_that_is_open_is(capsys):
    clock = Minutes(3, ready := threading.Event())
    with Bar("study", 12, 3, wait=clock) as outer, Bar("ce", 200, 0, shown=False) as inner:
        outer.note("seed 0")
        inner.step(50)
        inner.note("loss 0.5")
        ready.set()
        outer.teller.join()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and clock.asked == [EVERY] * 4
    for line in lines:
        assert line.startswith("study: 3/12, seed 0, ce: 50/200, loss 0.5, 0:00:0")


def test_what_is_left_is_told_by_what_was_done_since_the_bar_began():
    bar = Bar("study", 12, 3)
    (task,) = bar.progress.tasks
    task.start_time, task.get_time = 0.0, lambda: 600.0
    assert bar.status() == "study: 3/12, 0:10:00 so far"
    bar.step(5)
    assert bar.status() == "study: 5/12, 0:10:00 so far, about 0:35:00 left"
    bar.step(12)
    assert bar.status() == "study: 12/12, 0:10:00 so far"


def test_a_minute_in_which_something_was_said_needs_no_line(capsys):
    minutes = Minutes(2)

    def clock(seconds):
        if minutes.left == 2:
            bar.say("trial 0")
        return minutes(seconds)

    bar = Bar("tune", 3, 0, wait=clock)
    told(bar)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "tune: trial 0" and len(said) == 2 and said[1].startswith("tune: 0/3, 0:00:0")


def test_a_bar_inside_another_belongs_to_it_while_it_is_open(capsys):
    with Bar("outer", 2, 0, shown=False) as outer:
        with Bar("inner", 3, 0) as inner:
            inner.step(1)
            assert outer.status().startswith("outer: 0/2, inner: 1/3, 0:00:0")
            inner.say("a line")
            assert outer.lines == 1 and inner.teller is None
        assert outer.status().startswith("outer: 0/2, 0:00:0")
    assert capsys.readouterr().err == "inner: a line\n"
    with Bar("next", 1, 0, shown=False) as bar:
        assert bar.status().startswith("next: 0/1, 0:00:0")
