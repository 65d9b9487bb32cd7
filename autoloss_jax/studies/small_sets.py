"""Small sets: cuts of MovieLens 1M, and logs made up so that what is in them is known.

Each is a folder of train, valid and test; of its rows a tenth is valid, and test has TEST_ROWS
more.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax.data.download import movielens

TEST_ROWS = 50_000
SIZES = (5, 10, 20, 50, 100, 300)  # values of the fields of a made-up log
USERS, MOVIES = 300, 200  # of one that has two fields


def movielens_cut(folder: Path, rows: int) -> pl.DataFrame:
    """So many ratings and the rows of test, drawn at random, in the order drawn."""
    everything = movielens.profiles(folder)
    drawn = np.random.default_rng(7).permutation(everything.height)[: rows + TEST_ROWS]
    return everything[drawn].drop("rating").rename({"liked": "label"})


def made_up(kind: str, rows: int) -> pl.DataFrame:
    """A log of one kind, and the rows of test.

    - linear: the logit is a sum over fields.
    - pairwise: a sum over pairs of four of the fields, and nothing of one alone.
    - rank2: two fields, the product of a vector of two numbers of each.
    - nothing: the label is by chance.
    - rare: fields and pairs, with one positive in a hundred.
    """
    random, total = np.random.default_rng([7, *kind.encode(), rows]), rows + TEST_ROWS
    sizes = (USERS, MOVIES) if kind == "rank2" else SIZES
    values = [_values(random, size, total) for size in sizes]
    logit = np.full(total, -1.0 if kind == "nothing" else 0.0)
    if kind == "rank2":
        users, movies = (
            random.normal(size=(size, 2))[of] for size, of in zip(sizes, values, strict=True)
        )
        logit += 1.2 * (users * movies).sum(axis=1)
    if kind in ("linear", "rare"):
        for size, of in zip(sizes, values, strict=True):
            logit += 0.6 * random.normal(size=size)[of]
    if kind in ("pairwise", "rare"):
        for i in range(4):
            for j in range(i):
                logit += 0.5 * random.normal(size=(sizes[i], sizes[j]))[values[i], values[j]]
    if kind == "rare":
        logit -= np.quantile(logit, 0.99) + 2.0
    label = (random.random(total) < 1 / (1 + np.exp(-logit))).astype(np.int32)
    columns = {f"f{i}": [f"v{v}" for v in of] for i, of in enumerate(values)}
    return pl.DataFrame({**columns, "label": label})


def _values(random: np.random.Generator, size: int, total: int) -> np.ndarray:
    """Values of which the first are commoner."""
    share = 1 / np.arange(1, size + 1) ** 0.7
    return random.choice(size, total, p=share / share.sum())


def write(rows: pl.DataFrame, folder: Path) -> None:
    """The folder of a set, whole or not at all."""
    log = rows.height - TEST_ROWS
    parts = {
        "train": rows[: log - log // 10],
        "valid": rows[log - log // 10 : log],
        "test": rows[log:],
    }
    partial = folder.with_name(f".{folder.name}")
    partial.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        part.write_csv(partial / f"{name}.csv")
    partial.rename(folder)


KINDS = ("linear", "pairwise", "rank2", "nothing", "rare")
SETS: dict[str, Callable[[Path], pl.DataFrame]] = {
    **{
        f"movielens_{rows // 1000}k": lambda folder, rows=rows: movielens_cut(folder, rows)
        for rows in (2_000, 5_000, 20_000, 100_000)
    },
    **{
        f"{kind}_{rows // 1000}k": lambda folder, kind=kind, rows=rows: made_up(kind, rows)
        for kind in KINDS
        for rows in (2_000, 10_000, 50_000)
    },
}  # name -> its rows, from the folder of MovieLens 1M
