"""Table 2: fixed losses, static weights, and losses chosen for each example, under the paper's
settings.

    autoloss study --config=table2 --config.raw=DIR \\
        --workdir=runs/table2

AutoLoss is there twice: as the paper writes it, V minimising the mixture itself after a plain
step, and with cross-entropy at W*(V) and the virtual step scaled as Adam scales, as DARTS has it
too here. No L2, no decay of the rate. Data: a folder with frappe_x1/ and
movielens1m/ratings.dat. The rows of MeLU and BOHB are our adaptations (`search/melu.py`,
`search/bohb.py`): the paper does not say how they weigh losses. Result: WORKDIR/table2.md, .csv,
.png, report.html. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

OURS = "autoloss method.val_objective=ce method.virtual_step=adam"
VARIANTS = {
    "quick": QUICK
    | {
        "methods": ("ce", "bohb search.trials=2", "melu", "autoloss"),
        "ours": ("autoloss",),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="table2",
            datasets=("frappe:paper", "movielens1m:paper"),
            models=("deepfm", "ipnn"),
            methods=(
                "focal",
                "kl",
                "hinge",
                "ce",
                "melu",
                "bohb",
                "darts method.val_objective=ce method.virtual_step=adam",
                "slf",
                "autoloss",
                OURS,
            ),
            ours=("autoloss", OURS),
        ),
        variant,
        VARIANTS,
    )
