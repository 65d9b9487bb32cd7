"""Labels of train worse than those of validation: positives that have not arrived yet, or labels
that are wrong.

    python -m autoloss_jax.studies.run --config=configs/studies/noisy_labels.py \\
        --config.raw=DIR --workdir=runs/noisy_labels

Positives of train are missing at 10 to 60 %, or its labels flipped at 10 to 40 %; a tenth of
validation, with true labels, teaches the controller. CE, the even mixture and static weights
found by trials train on all rows, these included: the baselines to beat. Data: a folder with
frappe_x1/. Result: WORKDIR/noisy_labels.md, .csv, .png, report.html. `:quick` is a grid of
minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

VARIANTS = {
    "quick": QUICK
    | {
        "datasets": ("quickstart:quick data.missing=0.4",),
        "methods": ("ce", "autoloss"),
        "ours": ("autoloss",),
    }
}


def get_config(variant: str = "") -> Study:
    """Variants: quick."""
    return settings.variant(
        Study(
            name="noisy_labels",
            datasets=(
                *(f"frappe:missing data.missing={rate}" for rate in (0.1, 0.2, 0.4, 0.6)),
                *(f"frappe:flipped data.flipped={rate}" for rate in (0.1, 0.2, 0.4)),
            ),
            models=("deepfm",),
            methods=("ce", "al1", "bohb", "autoloss", "retrain"),
            ours=("autoloss", "retrain"),
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
