"""Which faults there are."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults import contents, damage, flags, kills


class Kind(NamedTuple):
    """A kind of fault."""

    fault: str  # what is done
    holds: str  # what must follow
    trial: Callable[[Random, Path], str | None]  # (a seed's random, a folder) -> what was wrong
    ready: Callable[[], object] = lambda: None  # what the first trial of a process needs
    seconds: int = 10  # of a trial; more are a hang


KINDS = {
    "files": Kind(
        "a file of any format, right, mutated, compressed, cut off",
        "the same rows in blocks of every size, or one line with the file",
        contents.trial,
    ),
    "flags": Kind(
        "a command line of any keys and values",
        "a config that its JSON gives again, or one line",
        flags.trial,
    ),
    "damage": Kind(
        "a file of a run or of its dataset: a bit, a part, all of it lost or another's",
        "the figures and scores as before, or one line",
        damage.trial,
        damage.ready,
        60,
    ),
    "kills": Kind(
        "train, tune, retrain or prepare killed, or sent SIGTERM or SIGINT, up to three times",
        "130, 143 or the signal's end; in the end the same bits, and nothing left behind",
        kills.trial,
        kills.ready,
        300,
    ),
}
