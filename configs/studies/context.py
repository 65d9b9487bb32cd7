"""Labels lost, or wrong, more in some places than in others: does a controller that sees the place find out?

    python -m autoloss_jax.studies.run --config=configs/studies/context.py --config.raw=DIR --workdir=runs/context

Of train's positives 20 or 40 % are missing, but not evenly: by the time of day (`field_2`, 7 values) or by the country
(`field_8`, 80), from none to twice as many, in a random order, as where one platform reports conversions and another does not.
Or 20 % of all labels are flipped, by the same fields, as where some of those who label are careless.
A tenth of validation, with true labels, teaches the controller, which sees that field beside label and prediction; `retrain
method.sees=[]` does not. CE, the even mixture and static weights found by trials train on all rows, these included.
Data: a folder with frappe_x1/.
Result: WORKDIR/context.md, .csv, .png, report.html. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax import settings
from autoloss_jax.studies.grid import QUICK, Study

# by validation: a search that sees learns at the usual rate, and begins near cross-entropy
FLIPPED = " optimizer.controller_learning_rate=1e-3 method.start=0.9"
VARIANTS = {
    "quick": QUICK
    | {
        "datasets": ('quickstart:quick data.missing=0.4 data.missing_by=C9 method.sees=["C9"]',),
        "methods": ("ce", "autoloss method.sees=[]", "autoloss"),
        "ours": ("autoloss",),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="context",
            datasets=tuple(
                f'frappe:{what} data.{what}={rate} data.{what}_by={field} method.sees=["{field}"]{more}'
                for what, rate, field, more in (
                    ("missing", 0.2, "field_2", ""),
                    ("missing", 0.4, "field_2", ""),
                    ("missing", 0.4, "field_8", ""),
                    ("flipped", 0.2, "field_2", FLIPPED),
                    ("flipped", 0.2, "field_8", FLIPPED),
                )
            ),
            models=("deepfm",),
            methods=("ce", "al1", "bohb", "retrain method.sees=[]", "retrain"),
            ours=("retrain",),
            fold_in_val=True,
        ),
        variant,
        VARIANTS,
    )
