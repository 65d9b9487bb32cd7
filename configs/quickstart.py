"""AutoLoss in three minutes, with no download.

    autoloss train --config=quickstart

Data: none needed. A Criteo-format text file is made up (13 integers with blanks, 26 hashed
categories, a planted teacher, label noise) and goes through the same prepare step as the real
one.

Result: a table of AutoLoss and CE on the same budget: test AUC and logloss. `:quick` is a
smaller one, in seconds.
"""

from autoloss_jax import config
from autoloss_jax.config import settings

VARIANTS = {"quick": {"data.generate": 10_000, "train.epochs": 2, "train.batch_size": 200}}


def get_config(variant: str = "") -> config.Config:
    """Variants: quick."""
    return settings.variant(
        config.Config(
            data=config.Data(name="quickstart", format="criteo", generate=120_000, min_count=5),
            train=config.Train(batch_size=1000, epochs=6),
            temperature=config.Temperature(horizon=0),
            run=config.Run(compare=("ce",)),
        ),
        variant,
        VARIANTS,
    )
