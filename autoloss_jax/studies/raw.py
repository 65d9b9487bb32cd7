"""Where a study's raw data lie: in its folder of them, or made there from what lies in it."""

import functools
from collections.abc import Callable
from pathlib import Path

import polars as pl

from autoloss_jax.config.errors import UserError
from autoloss_jax.data.download import movielens
from autoloss_jax.data.read import text
from autoloss_jax.data.read.text import Layout
from autoloss_jax.distributed import atomic
from autoloss_jax.studies import small_sets


def path(folder: str, dataset: str, workdir: Path, say: Callable[[str], None]) -> Path:
    """The file or folder of a dataset (as "frappe:paper") in the folder of raw data; UserError
    if it is not there.
    """
    name = dataset.partition(":")[0]
    found = Path(folder) / RAW.get(name, name)
    found = next((p for p in (found, found.with_name(found.name + ".gz")) if p.exists()), found)
    if not folder or not found.exists():
        raise UserError(
            f"--config.raw={folder}: {found} is not there; name the folder that holds it"
        )
    return MADE[dataset](found, workdir, say) if dataset in MADE else found


def of_dated_users(ratings: Path, workdir: Path, say: Callable[[str], None]) -> Path:
    """The ratings of users of whom every rating has a time, in a file of their own.

    In MovieLens 1M as it is at hand other users' ratings have a time now and then, and not at
    random.
    """
    target = workdir / "raw" / "ratings.dat"
    if not target.exists():
        say(f"writing the ratings whose users have all their times to {target}")
        layout = Layout(("user", "movie", "rating", "timestamp"), "::")
        with text.opened(ratings) as lines:
            frame = pl.concat(
                text.table(block, line, layout)[0] for line, block, _ in lines.blocks()
            )
        dated = (pl.col("timestamp").cast(pl.Int64) >= 0).all().over("user")
        lines = frame.filter(dated).select(pl.concat_str(*layout.columns, separator="::"))
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(target, lines.write_csv(include_header=False, quote_style="never"))
    return target


def with_profiles(ratings: Path, workdir: Path, say: Callable[[str], None]) -> Path:
    """The ratings with what users.dat and movies.dat beside them say, as one table."""
    target = workdir / "raw" / "profiles.csv"
    if not target.exists():
        say(f"writing the ratings with their users and movies to {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(target, movielens.profiles(ratings.parent).write_csv())
    return target


def small_set(name: str, movielens1m: Path, workdir: Path, say: Callable[[str], None]) -> Path:
    """One of `small_sets.SETS`."""
    target = workdir / "raw" / name
    if not target.exists():
        say(f"writing {name} to {target}")
        small_sets.write(small_sets.SETS[name](movielens1m), target)
    return target


RAW = {
    "frappe": "frappe_x1",
    "movielens1m": "movielens1m/ratings.dat",
    "small": "movielens1m",
}  # where a dataset is in the folder
MADE = {
    "movielens1m:time": of_dated_users,
    "movielens1m:profiles": with_profiles,
    "movielens1m:by_rule": with_profiles,
    **{f"small:{name}": functools.partial(small_set, name) for name in small_sets.SETS},
}
