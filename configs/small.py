"""Small sets: MovieLens 1M cut to 2,000 to 100,000 rows, and logs made up so that what is in them
is known (`autoloss_jax/studies/small_sets.py`). Every value is by rule, as in `tabular`.

    autoloss study --config=strength --config.raw=DIR --workdir=runs/strength

Data: the study makes them; they need movielens1m/ in DIR. To train on one, name the folder that
the study made: --config=small:linear_2k --config.data.path=runs/strength/raw/linear_2k

Result: WORKDIR/strength.md. `:quick` is one epoch of a small network.
"""

from autoloss_jax import config
from autoloss_jax.config import presets, settings

MOVIELENS = {
    "data.categorical": ("user", "movie", "gender", "age", "occupation", "zip"),
    "data.bags": ("genres",),
}
TWO = {"data.categorical": ("f0", "f1")}
SIX = {"data.categorical": ("f0", "f1", "f2", "f3", "f4", "f5")}
VARIANTS = {
    **{f"movielens_{rows}k": MOVIELENS for rows in (2, 5, 20, 100)},
    **{f"rank2_{rows}k": TWO for rows in (2, 10, 50)},
    **{
        f"{kind}_{rows}k": SIX
        for kind in ("linear", "pairwise", "nothing", "rare")
        for rows in (2, 10, 50)
    },
    "quick": SIX | {"model.hidden": (16,), "model.members": 1, "train.epochs": 1},
}


def get_config(variant: str = "") -> config.Config:
    """Variants: the names of the sets, and quick."""
    table = config.Config(
        data=config.Data(name=variant, format="tabular", trusted_share=0.0),
        method=config.Method(name="ce"),
    )
    return settings.variant(table.replace(presets.BY_RULE), variant, VARIANTS)
