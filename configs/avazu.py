"""Avazu, click-through of mobile ads: 40.4M rows, 22 fields.

    autoloss train --config=avazu --config.data.path=train.csv \\
        --workdir=runs/avazu

`autoloss download avazu` fetches all of it, split 8:1:1 as in the benchmark
Avazu_x4; the one file is behind an account at Kaggle. Data: train.csv of the Kaggle challenge
(comma, with or without its header: id, click, hour, ...), or a folder with train.csv, valid.csv
and test.csv; .gz is read too. Values seen less than 4 times in train share one row per field.

Result: the benchmark Avazu_x4 has DeepFM with CE at .793 / .372 (test AUC / logloss) on a split
of the same shares. Not measured here on the full data, and L2 is not tuned. `:paper` has the
paper's settings; `:quick` one epoch in small batches.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

VARIANTS = {
    "paper": presets.SETTINGS,
    "quick": {"train.epochs": 1, "train.batch_size": 200, "train.evaluate_every": 0},
}


def get_config(variant: str = "") -> config.Config:
    """Variants: paper, quick."""
    return settings.variant(
        config.Config(
            data=config.Data(name="avazu", format="avazu", min_count=4),
            optimizer=config.Optimizer(l2=1e-5, decay=0.1),
            train=config.Train(evaluate_every=6000, checkpoint_every=2000),
        ),
        variant,
        VARIANTS,
    )
