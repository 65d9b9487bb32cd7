"""Criteo, the display-advertising challenge: 45.8M rows, 39 fields, clicks.

    autoloss train --config=criteo --config.data.path=train.txt \\
        --workdir=runs/criteo

`autoloss download criteo` fetches it. Data: train.txt of the Kaggle challenge
(tab, no header: label, I1-I13, C1-C26), or a folder with train.txt, valid.txt and test.txt; .gz
is read too. One file is split 8:1:1 at random; values seen less than 10 times in train share one
row per field.

Result: the paper gives CE .8056 / .4457 and AutoLoss .8092 / .4416 (test AUC / logloss) for
DeepFM with its settings, `:paper`. L2 is that of the board's DeepFM (BARS, Criteo_x1). Not
measured here on the full data. `:quick` makes a small file of the same format and takes seconds.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

VARIANTS = {
    "paper": presets.SETTINGS,
    "quick": {
        "data.generate": 10_000,
        "data.min_count": 5,
        "train.epochs": 1,
        "train.batch_size": 200,
    },
}


def get_config(variant: str = "") -> config.Config:
    """Variants: paper, quick."""
    return settings.variant(
        config.Config(
            data=config.Data(name="criteo", format="criteo", min_count=10),
            optimizer=config.Optimizer(l2=1e-5, decay=0.1),
            train=config.Train(evaluate_every=6000, checkpoint_every=2000),
        ),
        variant,
        VARIANTS,
    )
