"""Labels lost, or wrong, more in some places than in others: does a controller that sees the
place find out?

    python -m autoloss_jax.studies.run --config=configs/studies/context.py --config.raw=DIR \\
        --workdir=runs/context

Of train's positives 20 or 40 % are missing, but not evenly: by the time of day (`field_2`, 7
values) or by the country (`field_8`, 80), from none to twice as many, in a random order, as
where one platform reports conversions and another does not. A tenth of validation, with true
labels, teaches the controller, which sees that field beside label and prediction; `retrain
data.context=[]` does not; `method.epochs=6` is one that learns for six epochs, `method.epochs=0`
one that learns to the end, `method.min_agreement=0.5` one that learns until its signal is lost.
CE, the even mixture and static weights found by trials train on all rows, these included;
`corrected` has rates of the noise by that field, estimated from the same tenth of validation.
`:flipped` is the same with 20 % of all labels flipped, from none to 40 % by the time of day, as
where some of those who label are careless. Data: a folder with frappe_x1/. Result:
WORKDIR/context.md (or flipped_by.md), .csv, .png, report.html. `:quick` is a grid of minutes on
made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies.study import QUICK, Study

SEARCHED = (
    "autoloss",
    "retrain",
    "autoloss method.epochs=6",
    "retrain method.epochs=6",
    "retrain method.min_agreement=0.5",
)
SEEING = ("retrain method.epochs=0", "retrain method.epochs=0 method.min_agreement=0.5", "retrain")
VARIANTS = {
    "quick": QUICK
    | {
        "datasets": ('quickstart:quick data.missing=0.4 data.missing_by=C9 data.context=["C9"]',),
        "methods": ("ce", "autoloss data.context=[]", "autoloss"),
        "ours": ("autoloss",),
    },
    # by validation: a search that sees begins near cross-entropy and learns at the usual rate, a
    # blind one slowly
    "flipped": {
        "name": "flipped_by",
        "datasets": (
            'frappe:flipped data.flipped=0.2 data.flipped_by=field_2 data.context=["field_2"] '
            "optimizer.controller_learning_rate=1e-3 method.start=0.9",
        ),
        "methods": (
            "ce",
            "corrected method.noise=flipped",
            "al1",
            "bohb",
            "autoloss data.context=[] method.start=0.0 optimizer.controller_learning_rate=1e-4",
            *SEARCHED,
        ),
        "ours": SEARCHED,
    },
}


def get_config(variant: str = "") -> Study:
    """Variants: flipped, quick."""
    return settings.variant(
        Study(
            name="context",
            datasets=tuple(
                f"frappe:missing data.missing={rate} data.missing_by={field} "
                f'data.context=["{field}"]'
                for field, rate in (("field_2", 0.2), ("field_2", 0.4), ("field_8", 0.4))
            ),
            models=("deepfm",),
            methods=("ce", "corrected", "al1", "bohb", "retrain data.context=[]", *SEEING),
            ours=SEEING,
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
