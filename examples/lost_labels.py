"""Labels that get lost on some platforms and not on others, and a small sample that is right.

    .venv/bin/python -m examples.lost_labels

makes up a click log in which up to 80 % of the conversions are lost, by platform, and 300 rows
whose labels are trusted. It trains on the log by cross-entropy; by cross-entropy corrected by
rates that counts of labels tell; by rates that a first model tells, too; and by a search that
begins at these. It prints the rates that were found, beside the true ones, and the test figures.
Test has right labels. On the command line:

    bash launch/run.sh --config=configs/tabular.py --config.data.path=log \\
        --config.data.trusted=trusted.csv --config.data.context="('platform',)" \\
        --config.method.name=corrected --config.method.rates=model
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import autoloss_jax
from autoloss_jax import Config

PLATFORMS = ("desktop", "ios", "android", "tv")
LOST = {"desktop": 0.0, "ios": 0.8, "android": 0.3, "tv": 0.5}
TRAIN, VALID, TEST, TRUSTED = 30_000, 5_000, 10_000, 300


def write_log(folder: Path) -> None:
    """folder/log with train.csv, valid.csv and test.csv, and folder/trusted.csv."""
    random, rows = np.random.default_rng(0), TRAIN + VALID + TEST + TRUSTED
    site, user = random.integers(0, 40, rows), random.integers(0, 300, rows)
    platform = np.array(PLATFORMS)[random.integers(0, len(PLATFORMS), rows)]
    taste = random.normal(0, 1.3, 40)[site] + random.normal(0, 1.3, 300)[user] - 0.7
    click = (random.random(rows) < 1 / (1 + np.exp(-taste))).astype(int)
    lost = random.random(rows) < np.array([LOST[p] for p in platform])
    seen = np.where(lost & (np.arange(rows) < TRAIN), 0, click)
    log = pl.DataFrame({"label": seen, "site": site, "user": user, "platform": platform})
    (folder / "log").mkdir()
    begin = 0
    for name, size in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        log[begin : begin + size].write_csv(folder / "log" / f"{name}.csv")
        begin += size
    log[begin:].write_csv(folder / "trusted.csv")


def main() -> None:
    """Train by each method, and print what it found."""
    searched = {"method.pool": ("missing_ce(rate=searched)", "ce"), "method.start": 0.9}
    model = {"method.rates": "model"}
    methods = {
        "cross-entropy": {"method.name": "ce"},
        "corrected, by counts": {"method.name": "corrected"},
        "corrected, with a first model": {"method.name": "corrected", **model},
        "searched from there": {"method.name": "retrain", **model, **searched},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_log(folder)
        base = Config().replace(
            {
                "data.path": str(folder / "log"),
                "data.trusted": str(folder / "trusted.csv"),
                "data.categorical": ("site", "user"),
                "data.context": ("platform",),
                "data.train_on_trusted": True,
                "data.cache": str(folder / "cache"),
                "model.embed_dim": 8,
                "model.hidden": (32,),
                "optimizer.learning_rate": 0.003,
                "optimizer.l2": 0.003,
                "train.batch_size": 500,
                "train.epochs": 10,
            }
        )
        print("true:", ", ".join(f"{name} {100 * LOST[name]:.0f} %" for name in PLATFORMS))
        for number, (name, keys) in enumerate(methods.items()):
            workdir = folder / str(number)
            run = autoloss_jax.train(base.replace(keys), workdir, progress=False)
            test = run.result["test"]
            print(f"{name}: test AUC {test['auc']:.4f}, logloss {test['logloss']:.4f}")
            for noise in sorted(workdir.glob("**/label_noise.json")):  # the search's, of a search
                cells = json.loads(noise.read_text())["missing"]["cells"]
                of = {cell["values"][0]: cell.get("learned", cell["rate"]) for cell in cells}
                found = (f"{platform} {100 * of[platform]:.0f} %" for platform in PLATFORMS)
                print("   found:", ", ".join(found))


if __name__ == "__main__":
    main()
