"""A part of `python -m tests.faults`: its first trials of each kind."""

import random

import pytest

from tests.faults import __main__ as faults
from tests.faults.kinds import KINDS, Kind

# of kills the tests of resuming have theirs
TRIALS = {"files": 400, "flags": 100, "damage": 40, "kills": 0}
PARTS = 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", [name for name, trials in TRIALS.items() if trials])
def test_faults_do_no_harm(name, part):
    for number in range(part, TRIALS[name], PARTS):
        assert not faults.tried(name, number, seed=0), f"--seed=0, {name} {number}"


def test_what_goes_wrong_is_counted_and_the_counts_go_on(monkeypatch, tmp_path):
    """A trial of every ending: right, wrong, an exception, a hang."""

    def trial(drawn, folder):
        number = drawn.randrange(4)
        while number == 3:
            pass
        return {0: None, 1: "wrong"}[number]

    monkeypatch.setitem(KINDS, "made up", Kind("a fault", "nothing", trial, seconds=1))
    ends = {random.Random(f"0 made up {n}").randrange(4): n for n in range(20)}
    said = {end: faults.tried("made up", number, 0) for end, number in ends.items()}
    assert said[0] is None and said[1] == "wrong"
    assert "KeyError" in said[2] and "hang" in said[3]
    monkeypatch.setitem(KINDS, "made up", Kind("a fault", "nothing", lambda *_: "wrong"))
    state = tmp_path / "state.json"
    first = faults.run(["made up"], 0.001, 0, state)["made up"]
    again = faults.run(["made up"], 0.001, 0, state)["made up"]
    assert again["failed"] == [*range(again["tried"])] and again["tried"] > first["tried"] > 0
    assert f"| {again['tried']:,} | {again['tried']:,} |" in faults.page({"made up": again}, 0)
