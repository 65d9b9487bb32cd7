"""Which rows of the chunks are train, val and test, and which of val teach W too."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoloss_jax import config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import chunk
from autoloss_jax.data.read import formats
from autoloss_jax.data.split import first_part, moments

DRAWN = "drawn.npy"  # int8[n], beside the rows of a chunk
OUT, TRAIN, VAL, TEST, TAUGHT = -1, 0, 1, 2, 3  # TAUGHT: of val, and teaches W too
ALL = "all"  # the split of a file that is to be divided
OF = {"train": (TRAIN,), "val": (VAL, TAUGHT), "test": (TEST,)}


@dataclasses.dataclass(frozen=True)
class Part:
    """A chunk, as who divides the rows sees it."""

    folder: Path
    facts: chunk.Facts

    @classmethod
    def of(cls, folder: Path) -> "Part":
        """The chunk in a folder."""
        return cls(folder, chunk.read_facts(folder))

    @property
    def drawn(self) -> np.ndarray:
        """int8[n]."""
        return np.load(self.folder / DRAWN)

    @property
    def taught(self) -> np.ndarray:
        """bool[n]: the rows that teach W, from which is learnt what there is to know of values."""
        return np.isin(self.drawn, (TRAIN, TAUGHT))

    def column(self, name: str) -> np.ndarray:
        """Numbers of the rows, NaN where blank."""
        return chunk.read(self.folder, [name]).rows[name].to_numpy()


def divide(parts: list[Part], data: config.Data) -> dict[str, int]:
    """Draw the rows of all parts, in order, and leave with each what was drawn; the rows of each
    split.
    """
    rows = dict.fromkeys(OF, 0)
    for part, drawn in zip(parts, _draws(parts, data), strict=True):
        np.save(part.folder / DRAWN, drawn)
        for name, kinds in OF.items():
            rows[name] += int(np.isin(drawn, kinds).sum())
    if data.train_on_trusted:
        taught, begin = first_part(rows["val"], data.trusted_share, data.split_seed), 0
        for part in parts:
            drawn = part.drawn
            (places,) = np.nonzero(drawn == VAL)
            drawn[places[taught[begin : begin + len(places)]]] = TAUGHT
            begin += len(places)
            np.save(part.folder / DRAWN, drawn)
    return rows


def _draws(parts: list[Part], data: config.Data) -> Iterator[np.ndarray]:
    """int8[n] of each part."""
    if data.time:
        if parts[0].facts.split != ALL:
            raise UserError(
                f"--config.data.time={data.time}: splits one file by time; {data.path} is a "
                "folder with its own splits"
            )
        times = np.concatenate([part.column(formats.TIME) for part in parts])
        if not (times >= 0).any():
            raise UserError(f"--config.data.time={data.time}: no row of {data.path} has a time")
        edges = moments(times[times >= 0], data.split)
    else:
        edges = np.cumsum(data.split)[:2]
    random = np.random.Generator(np.random.Philox(data.split_seed))
    for part in parts:
        if part.facts.split != ALL:
            yield np.full(part.facts.rows, list(OF).index(part.facts.split), np.int8)
            continue
        place = part.column(formats.TIME) if data.time else random.random(part.facts.rows)
        yield np.where(place < 0, OUT, np.searchsorted(edges, place, side="right")).astype(np.int8)
