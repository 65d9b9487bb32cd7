"""MovieLens 1M: 1,000,209 ratings in five classes, user and movie.

    autoloss train --config=movielens1m \\
        --config.data.path=ratings.dat --workdir=runs/ml1m

`autoloss download movielens1m` fetches it.
Data: ratings.dat (`user::movie::rating::timestamp`; .gz is read too).
Split 8:1:1 at random. AUC is one-vs-rest, macro.

Result: `docs/measured.md` has the table. `:paper` has the paper's settings, `:binary` these with
more than three stars as positive; `:time` trains on the oldest ratings and tests on the newest,
with the L2, pool and controller's rate that validation preferred; `:profiles` has seven fields of
users and movies, more than three stars as positive, and reads profiles.csv, which the download
writes too; `:by_rule` is the same with what a table has that nobody has tuned; `:quick` is one
epoch of a small network.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

PROFILES = {
    "data.name": "movielens1m_profiles",
    "data.format": "tabular",
    "data.num_classes": 2,
    "data.label": "liked",
    "data.categorical": ("user", "movie", "gender", "age", "occupation", "zip"),
    "data.bags": ("genres",),
}
VARIANTS = {
    "paper": presets.SETTINGS,
    "binary": presets.SETTINGS | {"data.name": "movielens1m_binary", "data.num_classes": 2},
    "time": {
        "data.name": "movielens1m_time",
        "data.time": "timestamp",
        "optimizer.l2": 0.3,
        "optimizer.controller_learning_rate": 1e-4,
        "method.pool": ("ce", "focal(gamma=1.0)", "kl"),
    },
    "profiles": PROFILES | {"optimizer.l2": 0.01, "train.batch_size": 1000},
    "by_rule": PROFILES | presets.BY_RULE | {"data.trusted_share": 0.0},
    "quick": {"model.hidden": (16,), "train.epochs": 1},
}


def get_config(variant: str = "") -> config.Config:
    """Variants: paper, binary, time, profiles, by_rule, quick."""
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
