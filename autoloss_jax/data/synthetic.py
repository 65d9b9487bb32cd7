"""Made-up files with something to learn: a click log for the quickstart, and one in Criteo's
format for tests and benchmarks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic

VOCAB_SIZES = (
    1400,
    500,
    6000,
    4000,
    300,
    20,
    2000,
    600,
    3,
    3000,
    1500,
    5000,
    1200,
    27,
    1800,
    4500,
    10,
    900,
    400,
    4,
    4800,
    15,
    15,
    3200,
    80,
    1600,
)
LATENT = 4
CLICKS = {"platform": 12, "site": 100, "ad": 100, "device": 4, "country": 20, "hour": 24}


def generated(cfg: config.Config, folder: Path, say: Callable[[str], None]) -> config.Config:
    """`cfg` with its data on disk, made up now if it asks for that: in `folder`, unless it names
    a path.
    """
    if not cfg.data.generate:
        return cfg
    name, write = WRITERS[cfg.data.format]
    path = Path(cfg.data.path or folder / "raw" / name)
    if not path.exists():
        say(f"writing {cfg.data.generate:,} made-up rows to {path}")
        write(path, cfg.data.generate, cfg.data.split_seed)
    return settings.with_keys(cfg, {"data.path": str(path)})


def write_criteo(path: Path, rows: int, seed: int) -> None:
    """Write `rows` lines: label, 13 integers with blanks, 26 hashed categories with blanks; tab,
    no header.

    Vocabularies are heavy-tailed (Zipf 1.1). Labels are draws of a planted teacher: effects of
    single values, inner products of latent factors of pairs of fields, and noise; about a
    quarter are positive. The same seed gives the same bytes. The file appears whole or not at
    all.
    """
    random = np.random.Generator(np.random.Philox(seed))
    score = 0.6 * random.standard_normal(rows)
    columns: dict[str, pl.Series] = {}
    total = np.zeros((rows, LATENT))
    squares = np.zeros(rows)
    for i in range(13):
        value = np.floor(np.exp(random.normal(0.4 + 0.35 * i, 1.3, rows))).astype(np.int64) - (
            i % 3 == 1
        )
        blank = random.random(rows) < 0.04 * i
        bucket = np.where(
            blank, 0, 1 + np.clip(np.log1p(np.maximum(value, 0)), 0, 9).astype(np.int64)
        )
        score += (0.25 * random.standard_normal(11))[bucket]
        total, squares = _interact(
            total, squares, (0.12 * random.standard_normal((11, LATENT)))[bucket]
        )
        columns[f"I{i + 1}"] = pl.select(
            pl.when(pl.Series(blank)).then(pl.lit("")).otherwise(pl.Series(value).cast(pl.String))
        ).to_series()
    for i, size in enumerate(VOCAB_SIZES):
        weights = 1.0 / np.arange(1, size + 1) ** 1.1
        place = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(rows)).clip(
            0, size - 1
        )
        words = (
            random.choice(2**32, size, replace=False)
            if size > 2**16
            else np.unique(random.integers(0, 2**32, 2 * size))[:size]
        )
        words = np.array(["", *(f"{w:08x}" for w in random.permutation(words))])
        known = random.random(rows) >= 0.02 * (i % 5)
        score += np.where(known, (0.3 * random.standard_normal(size))[place], 0.0)
        total, squares = _interact(
            total, squares, (0.16 * random.standard_normal((size, LATENT)))[place] * known[:, None]
        )
        columns[f"C{i + 1}"] = pl.Series(words[np.where(known, place + 1, 0)])
    score += 0.5 * (np.square(total).sum(axis=1) - squares)
    score -= np.quantile(score, 0.78)
    label = (random.random(rows) < 1 / (1 + np.exp(-score))).astype(np.int32)
    frame = pl.DataFrame({"label": label, **columns})
    _write(frame, path, separator="\t", include_header=False, quote_style="never")


def write_clicks(path: Path, rows: int, seed: int) -> None:
    """Write `rows` lines of a click log with a header: who bought (`bought`, about a third), and
    on which platform, site, ad, device, in which country and at which hour.

    Each value has an effect, and each pair of a site and an ad one of its own. The same seed gives
    the same bytes. The file appears whole or not at all.
    """
    random = np.random.Generator(np.random.Philox(seed))
    columns, places = {}, {}
    score = np.full(rows, -1.0)
    for name, size in CLICKS.items():
        weights = 1.0 / np.arange(2, size + 2) ** 0.7
        place = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(rows))
        score += (0.5 * random.standard_normal(size))[place]
        columns[name] = [f"{name}-{number}" for number in place.tolist()]
        places[name] = place
    site, ad = (random.standard_normal((CLICKS[name], LATENT)) for name in ("site", "ad"))
    score += 0.6 * (site[places["site"]] * ad[places["ad"]]).sum(axis=1)
    bought = (random.random(rows) < 1 / (1 + np.exp(-score))).astype(np.int32)
    _write(pl.DataFrame({"bought": bought, **columns}), path)


def _write(frame: pl.DataFrame, path: Path, **how: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as temporary:
            frame.write_csv(temporary, **how)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _interact(
    total: np.ndarray, squares: np.ndarray, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Running sums of latent factors [n, LATENT] and of their squared norms [n]: pairs as in
    `interactions.fm`.
    """
    return total + factors, squares + np.square(factors).sum(axis=1)


WRITERS = {"criteo": ("criteo.txt", write_criteo), "tabular": ("clicks.csv", write_clicks)}
