"""MovieLens 1M: 1,000,209 ratings in five classes, user and movie.

    python -m autoloss_jax.main --config=configs/movielens1m.py --config.data.path=ratings.dat --workdir=runs/ml1m

Data: ratings.dat (`user::movie::rating::timestamp`; .gz is read too).
Split 8:1:1 at random. AUC is one-vs-rest, macro.

Result: the README has the table.
`:paper` has the paper's settings; `:quick` one epoch of a small network.
"""

from autoloss_jax import config, settings

VARIANTS = {"paper": config.PAPER, "quick": {"model.hidden": (16,), "train.epochs": 1}}


def get_config(variant: str = "") -> config.Config:
    """Variants: paper, quick."""
    return settings.variant(
        config.Config(
            data=config.Data(name="movielens1m", format="ratings", num_classes=5),
            optimizer=config.Optimizer(l2=0.003, decay=0.1),
            temperature=config.Temperature(horizon=0),
            train=config.Train(epochs=30),
        ),
        variant,
        VARIANTS,
    )
