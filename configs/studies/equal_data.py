"""The table that decides: every method ends on the same rows, train and the controller's share of val.

    python -m autoloss_jax.studies.run --config=configs/studies/equal_data.py --config.raw=DIR --workdir=runs/equal_data

AutoLoss searches its controller on train and its share of val, freezes it, and trains anew on both (`retrain`). L2 and
the rest are those of each dataset's config, tuned with CE.
Data: a folder with frappe_x1/ and movielens1m/ratings.dat.
Result: WORKDIR/equal_data.md and .csv. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax import settings
from autoloss_jax.studies.grid import Study

VARIANTS = {
    "quick": {
        "datasets": ("quickstart:quick",),
        "models": ("deepfm",),
        "methods": ("ce", "retrain"),
        "seeds": 2,
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="equal_data",
            datasets=("frappe", "movielens1m"),
            models=("deepfm", "ipnn"),
            methods=("ce", "al1", "bohb", "retrain"),
            ours="retrain",
            fold_in_val=True,
        ),
        variant,
        VARIANTS,
    )
