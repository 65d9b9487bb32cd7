"""Regularisation among the candidates: does a search find how much L2 an example wants, in one
training?

    autoloss study --config=regularised \\
        --config.raw=DIR --workdir=runs/regularised

The paper's settings, which have no L2, and two candidates: cross-entropy, and cross-entropy with
L2 on the rows of the batch. AutoLoss weighs them by example, its V minimising cross-entropy at
W*(V); or it searches from near cross-entropy, and a second training has the mean policy of that
controller from its start. Beside them is either candidate alone, their even mixture, and static
weights found by trials, which is tuning L2. Data: a folder with frappe_x1/ and
movielens1m/ratings.dat. Result: WORKDIR/regularised.md, .csv, .png, report.html. `:quick` is a
grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

POOL = 'method.pool=["ce","ce(l2=0.02)"]'
SEARCH = "method.val_objective=ce method.virtual_step=adam"
OURS = f"autoloss {POOL} {SEARCH}"
RETRAINED = f"retrain {POOL} method.start=0.9 method.policy=mean {SEARCH}"
VARIANTS = {
    "quick": QUICK
    | {
        "methods": ("ce(l2=0.02)", OURS),
        "ours": (OURS,),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="regularised",
            datasets=("frappe:paper", "movielens1m:paper"),
            models=("deepfm", "ipnn"),
            methods=("ce", "ce(l2=0.02)", f"al1 {POOL}", f"bohb {POOL}", RETRAINED, OURS),
            ours=(RETRAINED, OURS),
        ),
        variant,
        VARIANTS,
    )
