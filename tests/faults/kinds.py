"""Which faults there are."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults import contents, flags


class Kind(NamedTuple):
    """A kind of fault."""

    fault: str  # what is done
    holds: str  # what must follow
    trial: Callable[[Random, Path], str | None]  # (a seed's random, a folder) -> what was wrong
    share: float = 1.0  # of the time, beside the others


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
}
