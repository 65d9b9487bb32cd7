"""Clicks that fade with position, and a few rows that were shown at random and judged.

    .venv/bin/python -m examples.position [SEEDS]

makes up a log in which an older ranking, partly wrong, put some items on top. A person clicks on
what is relevant and examined, and what is further down is examined less. Trusted rows have random
items and true relevance. The position is context: the loss sees it, and the recommender does not,
as nobody knows it when an item is scored. Test is relevance, of random items. The example prints
test AUC and calibrated logloss of each method, the mean and deviation over seeds.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import autoloss_jax
from autoloss_jax import Config

USERS, ITEMS, POSITIONS = 200, 60, 10
TRAIN, TRUSTED, VALID, TEST = 20_000, 1_000, 2_000, 8_000
FIXED = ("ce", *(f"missing_ce(rate={rate})" for rate in (0.2, 0.4, 0.6, 0.8)))
SEARCHED = ("missing_ce(rate=searched)", "ce")
METHODS = {
    "CE on the log": {"method.name": "ce", "data.trusted_repeats": 0},
    "CE on both": {"method.name": "ce"},
    "corrected by position": {"method.name": "corrected"},
    "the same, with a first model": {"method.name": "corrected", "method.rates": "model"},
    "a controller that sees the position": {
        "method.name": "retrain",
        "method.pool": FIXED,
        "method.epochs": 4,
    },
    "a search that begins at the rates": {
        "method.name": "retrain",
        "method.pool": SEARCHED,
        "method.rates": "model",
        "method.start": 0.9,
    },
}


def write_log(folder: Path, seed: int) -> None:
    """folder/log with train.csv, valid.csv and test.csv, and folder/trusted.csv."""
    random = np.random.default_rng(seed)
    appeal, taste = random.normal(-1, 1, ITEMS), random.normal(0, 1, (2, max(USERS, ITEMS), 4))
    ranking = 0.3 * appeal + random.normal(0, 1, ITEMS)

    def rows(count: int, ranked: bool) -> pl.DataFrame:
        user, item = random.integers(0, USERS, count), random.integers(0, ITEMS, count)
        score = appeal[item] + (taste[0, user] * taste[1, item]).sum(axis=1) / 2
        relevant = random.random(count) < 1 / (1 + np.exp(-score))
        by_rank = np.argsort(np.argsort(random.normal(0, 0.5, count) - ranking[item]))
        position = by_rank * POSITIONS // count if ranked else random.integers(0, POSITIONS, count)
        examined = random.random(count) < 1 / (1 + 0.5 * position)
        label = relevant & examined if ranked else relevant
        return pl.DataFrame(
            {"label": label.astype(int), "user": user, "item": item, "position": position}
        )

    (folder / "log").mkdir(parents=True)
    rows(TRAIN, ranked=True).write_csv(folder / "log" / "train.csv")
    for name, size in (("valid", VALID), ("test", TEST)):
        unknown = rows(size, ranked=False).with_columns(position=pl.lit(""))
        unknown.write_csv(folder / "log" / f"{name}.csv")
    rows(TRUSTED, ranked=False).write_csv(folder / "trusted.csv")


def figures(folder: Path, seed: int) -> dict[str, dict[str, float]]:
    """Method -> test figures of one seed."""
    write_log(folder, seed)
    base = Config().replace(
        {
            "data.path": str(folder / "log"),
            "data.trusted": str(folder / "trusted.csv"),
            "data.categorical": ("user", "item"),
            "data.context": ("position",),
            "data.train_on_trusted": True,
            "data.cache": str(folder / "cache"),
            "model.embed_dim": 8,
            "model.hidden": (32,),
            "optimizer.learning_rate": 0.005,
            "optimizer.l2": 0.005,
            "train.batch_size": 500,
            "train.epochs": 10,
            "method.every": 2,
            "run.seed": seed,
        }
    )
    return {
        name: autoloss_jax.train(base.replace(keys), folder / str(number), progress=False).result[
            "test"
        ]
        for number, (name, keys) in enumerate(METHODS.items())
    }


def main(seeds: int) -> None:
    """Print a line for each method."""
    found = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(figures(Path(folder), seed))
    for name in METHODS:
        aucs = [of[name]["auc"] for of in found]
        loglosses = [of[name]["logloss_calibrated"] for of in found]
        deviation = f" ± {statistics.stdev(aucs):.4f}" if seeds > 1 else ""
        print(
            f"{name}: AUC {statistics.mean(aucs):.4f}{deviation}, "
            f"calibrated logloss {statistics.mean(loglosses):.4f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
