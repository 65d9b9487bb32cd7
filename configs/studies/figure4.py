"""Figure 4: what each search costs in time, and what f, the recommender's updates per controller
update, is worth.

    autoloss study --config=figure4 --config.raw=DIR \\
        --workdir=runs/figure4

f is swept as the paper writes V's objective, and with cross-entropy at W*(V), as DARTS has it
too here. Seconds are of training up to the best validation, with the search before it where
there is one; run it alone on a machine for them to mean something. Data: a folder with
frappe_x1/ and movielens1m/ratings.dat. Result: WORKDIR/figure4.md, .csv, .png, report.html.
`:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

CE = "method.val_objective=ce method.virtual_step=adam"
EVERY = tuple(f"method.every={f}" for f in (1, 3, 5, 7, 9, 11, 13))
AUTOLOSS = (*(f"autoloss {f}" for f in EVERY), *(f"autoloss {f} {CE}" for f in EVERY))
VARIANTS = {
    "quick": QUICK
    | {
        "methods": ("slf", "autoloss method.every=1", "autoloss method.every=7"),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="figure4",
            datasets=("frappe:paper", "movielens1m:paper"),
            models=("deepfm",),
            methods=(
                "bohb",
                f"darts {CE}",
                "slf",
                *AUTOLOSS,
            ),
            ours=AUTOLOSS,
        ),
        variant,
        VARIANTS,
    )
