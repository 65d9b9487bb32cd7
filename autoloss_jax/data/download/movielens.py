"""MovieLens 1M as one table: its ratings, with what is known of their users and movies."""

from pathlib import Path

import polars as pl

from autoloss_jax.config.errors import UserError, first_line
from autoloss_jax.data.read import text

FILES = {
    "ratings.dat": ("user", "movie", "rating", "timestamp"),
    "users.dat": ("user", "gender", "age", "occupation", "zip"),
    "movies.dat": ("movie", "title", "genres"),
}
COLUMNS = ("user", "movie", "gender", "age", "occupation", "zip", "genres", "rating")


def profiles(folder: Path) -> pl.DataFrame:
    """The three files of a folder (or their .gz) as one table.

    It has COLUMNS, of which rating is 1 to 5, and liked: 1 for more than three stars.
    """
    ratings, users, movies = (_table(folder / name, names) for name, names in FILES.items())
    table = ratings.join(users, on="user", how="left", maintain_order="left")
    table = table.join(movies, on="movie", how="left", maintain_order="left")
    liked = (pl.col("rating").cast(pl.Int32) > 3).cast(pl.Int32)
    return table.select(*COLUMNS, liked=liked)


def _table(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    """All cells of a file as words. Its titles are Latin-1, which nobody here reads."""
    here = path if path.exists() else path.with_name(path.name + ".gz")
    with text.opened(here) as lines:
        content = b"\n".join(block for _, block, _ in lines.blocks())
    try:
        return pl.read_csv(
            content.replace(b"::", b"\t"),
            separator="\t",
            has_header=False,
            quote_char=None,
            schema=dict.fromkeys(names, pl.String),
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{here}: not lines of {'::'.join(names)} ({first_line(error)})") from error
