"""Train on the old, teach the controller on the recent, test on the newest: ratings divided by
time.

    autoloss study --config=drift --config.raw=DIR \\
        --workdir=runs/drift

CE and the even mixture train on all rows, the recent ones that teach the controller included:
the baseline to beat. Data: a folder with movielens1m/ratings.dat, whose users with a time for
every rating are used. Result: WORKDIR/drift.md, .csv, .png, report.html. `:quick` is a grid of
minutes on made-up data, where time is I1.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

VARIANTS = {
    "quick": QUICK
    | {
        "datasets": ("quickstart:quick data.time=I1",),
        "methods": ("ce", "retrain"),
        "ours": ("retrain",),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="drift",
            datasets=("movielens1m:time",),
            models=("deepfm",),
            methods=("ce", "al1", "bohb", "autoloss", "retrain"),
            ours=("autoloss", "retrain"),
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
