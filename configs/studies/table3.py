"""Table 3: what the controller and the Gumbel-softmax add to the even mixture, under the paper's
settings.

    autoloss study --config=table3 --config.raw=DIR \\
        --workdir=runs/table3

AL-2 and AutoLoss are there twice, as in table2: as the paper writes V's objective, and with
cross-entropy at W*(V). Data: a folder with frappe_x1/ and movielens1m/ratings.dat. Result:
WORKDIR/table3.md, .csv, .png, report.html. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

CE = "method.val_objective=ce method.virtual_step=adam"
VARIANTS = {
    "quick": QUICK
    | {
        "methods": ("al1", "al2", "autoloss"),
        "ours": ("autoloss",),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="table3",
            datasets=("frappe:paper", "movielens1m:paper"),
            models=("deepfm", "ipnn"),
            methods=("al1", "al2", "autoloss", f"al2 {CE}", f"autoloss {CE}"),
            ours=("autoloss", f"autoloss {CE}"),
        ),
        variant,
        VARIANTS,
    )
