"""The table that decides: every method ends on the same rows, train and the controller's share
of val.

    autoloss study --config=equal_data \\
        --config.raw=DIR --workdir=runs/equal_data

AutoLoss searches its controller on train and its share of val, freezes it, and trains anew on
both (`retrain`). L2, dropout and learning rate are tuned for every row, by ten trainings of seed
0 judged by validation logloss; of `bohb` they are those of the even mixture, of `retrain` those
of its search. The candidates are those that validation preferred among a few tried one by one
(docs/research.md). Data: a folder with frappe_x1/ and movielens1m/ratings.dat. Result:
WORKDIR/equal_data.md, .csv, .png, report.html. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

VARIANTS = {
    "quick": QUICK
    | {
        "methods": ("ce", "retrain"),
        "ours": ("retrain",),
        "over": (),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="equal_data",
            datasets=(
                'frappe method.pool=["ce","focal(gamma=0.5)","focal(gamma=1.0)"]',
                'movielens1m method.pool=["ce","generative"]',
            ),
            models=("deepfm", "ipnn"),
            methods=("ce", "al1", "bohb", "retrain"),
            ours=("retrain",),
            train_on_trusted=True,
            over=("optimizer.l2", "model.dropout", "optimizer.learning_rate"),
        ),
        variant,
        VARIANTS,
    )
