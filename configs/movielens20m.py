"""MovieLens 20M: 20,000,263 ratings in five classes, user and movie.

    autoloss train --config=movielens20m \\
        --config.data.path=ratings.csv --workdir=runs/ml20m

`autoloss download movielens20m` fetches it. Data: ratings.csv
(`userId,movieId,rating,timestamp`; .gz is read too); half stars are rounded up to 1..5. Split
8:1:1 at random. AUC is one-vs-rest, macro.

Result: the paper gives CE .7692 / 1.2310 and AutoLoss .7717 / 1.2288 (test AUC / logloss) for
DeepFM. Not measured here on the full data. `:paper` has the paper's settings; `:quick` one epoch
of a small network.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

VARIANTS = {"paper": presets.SETTINGS, "quick": {"model.hidden": (16,), "train.epochs": 1}}


def get_config(variant: str = "") -> config.Config:
    """Variants: paper, quick."""
    return settings.variant(
        config.Config(
            data=config.Data(name="movielens20m", format="ratings", num_classes=5),
            optimizer=config.Optimizer(l2=0.003, decay=0.1),
            temperature=config.Temperature(horizon=0),
            train=config.Train(epochs=30),
        ),
        variant,
        VARIANTS,
    )
