"""Labels are wrong more in some places than in others: does the loss of a run help LightGBM?

    autoloss study --config=boosted_loss \\
        --config.raw=DIR --workdir=runs/boosted_loss

The rows and labels are those of `context.py`. `lightgbm method.transfer_from=METHOD` boosts the
loss of METHOD's run, on the same rows: `corrected` has rates of label noise by context, `retrain`
a searched mixture, and `ce` shows what the way of boosting is worth by itself. Trees are added
until validation, whose labels are right, has its best AUC. Two rows know what nobody knows: clean
labels. Data: a folder with frappe_x1/. Result: WORKDIR/boosted_loss.md, .csv, .png, report.html.
`:quick` is a grid of a minute on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

OURS = tuple(f"lightgbm method.transfer_from={source}" for source in ("corrected", "retrain"))
CLEAN = "data.missing=0.0 data.flipped=0.0"

VARIANTS = {
    "quick": QUICK
    | {
        "datasets": ('quickstart:quick data.missing=0.4 data.missing_by=C9 data.context=["C9"]',),
        "methods": ("ce", "lightgbm", OURS[0]),
        "ours": OURS[:1],
        "oracles": (),
        "gap": (),
    },
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="boosted_loss",
            datasets=(
                'frappe:missing data.missing=0.4 data.missing_by=field_2 data.context=["field_2"]',
                'frappe:missing data.missing=0.4 data.missing_by=field_8 data.context=["field_8"]',
                'frappe:flipped data.flipped=0.2 data.flipped_by=field_2 data.context=["field_2"] '
                "method.noise=flipped optimizer.controller_learning_rate=1e-3 method.start=0.9",
            ),
            models=("deepfm",),
            methods=(
                "ce",
                "corrected",
                "retrain",
                "lightgbm",
                "lightgbm method.transfer_from=ce",
                *OURS,
                f"ce {CLEAN}",
                f"lightgbm {CLEAN}",
            ),
            ours=OURS,
            oracles=(f"ce {CLEAN}", f"lightgbm {CLEAN}"),
            gap=("lightgbm", f"lightgbm {CLEAN}"),
            seeds=3,
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
