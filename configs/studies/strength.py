"""What a person would pick instead, and what this package gives, both out of the box.

    autoloss study --config=strength --config.raw=DIR --workdir=runs/strength

MovieLens 1M cut to 2,000 to 100,000 rows, binary, seven fields, and logs of 10,000 rows made up so
that what is in them is known. Nothing is tuned: batch, length, L2 and members are by rule
(`autoloss_jax/training/defaults.py`), LightGBM and CatBoost have as many trees as validation
wants. Two rows more have the inputs that ours make of the columns: pairs of fields, and what
train's labels say of a value. Test has 50,000 rows.

Data: a folder with movielens1m/. Result: WORKDIR/strength.md, .csv, .png, report.html. `:sizes`
has the made-up logs of 2,000 and 50,000 rows; `:large` Frappe and all of MovieLens 1M (a folder
with frappe_x1/ too); `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

KINDS = ("linear", "pairwise", "rank2", "nothing", "rare")
SAME = "method.same_inputs=true"  # the crosses and target encodings that ours have
THEIRS = (
    "constant", "logistic", "lightgbm", "catboost", f"logistic {SAME}", f"lightgbm {SAME}"
)  # fmt: skip
OURS = ("ce model.members=1", "ce model.regression=false", "ce")
VARIANTS = {
    "sizes": {
        "name": "strength_sizes",
        "datasets": tuple(f"small:{kind}_{rows}k" for kind in KINDS for rows in (2, 50)),
    },
    "large": {"name": "strength_large", "datasets": ("frappe:by_rule", "movielens1m:by_rule")},
    "quick": QUICK
    | {
        "methods": ("constant", "logistic", "ce"),
        "ours": ("ce",),
    },
}


def get_config(variant: str = "") -> Study:
    """Variants: sizes, large, quick."""
    return settings.variant(
        Study(
            name="strength",
            datasets=(
                *(f"small:movielens_{rows}k" for rows in (2, 5, 20, 100)),
                *(f"small:{kind}_10k" for kind in KINDS),
            ),
            models=("deepfm",),
            methods=(*THEIRS, *OURS),
            ours=OURS,
            seeds=10,
        ),
        variant,
        VARIANTS,
    )
