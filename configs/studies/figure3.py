"""Figure 3: a controller searched with DeepFM on one dataset, frozen, and taken to other models
and another dataset.

    autoloss study --config=figure3 --config.raw=DIR \\
        --workdir=runs/figure3

The controller comes from DeepFM on Frappe, by AutoLoss and by SLF; CE needs none. MovieLens 1M
is binary here (more than three stars), as a controller sees one kind of label. DeepFM on Frappe
itself is the training anew under it. Data: a folder with frappe_x1/ and movielens1m/ratings.dat.
Result: WORKDIR/figure3.md, .csv, .png, report.html. `:quick` is a grid of minutes on made-up
data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

VARIANTS = {
    "quick": QUICK
    | {
        "models": ("nfm",),
        "searched_on": "quickstart:quick deepfm",
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="figure3",
            datasets=("frappe:paper", "movielens1m:binary"),
            models=("nfm", "autoint", "deepfm"),
            methods=(
                "ce",
                "transfer method.transfer_from=slf",
                "transfer method.transfer_from=autoloss",
            ),
            ours=("transfer method.transfer_from=autoloss",),
            searched_on="frappe:paper deepfm",
        ),
        variant,
        VARIANTS,
    )
