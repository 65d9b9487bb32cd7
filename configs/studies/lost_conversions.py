"""Wrong labels in a click log, and a small sample that is right: what gets back how much of what
they cost?

    bash launch/run.sh          (this file is its default)

Data: none needed. A click log is made up. Conversions are lost, by platform, and labels are
flipped, by device (`:wrong` of `configs/clicks.py` says how many). 1,600 rows are trusted.

AutoLoss begins at the rates of lost conversions, and searches a mixture of three losses: one
corrected for lost conversions, one for flipped labels, and cross-entropy. Its controller sees the
platform and the device. It is not told which correction fits better.

Result: a table and a sentence; WORKDIR/lost_conversions.png, report.html. `:yardsticks` has what
else a person would try. `:quick` is a grid of seconds.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies import yardsticks
from autoloss_jax.studies.study import Study

SEARCH = (
    'retrain method.pool=["missing_ce(rate=searched)","flipped_ce(rate=searched)","ce"] '
    "method.rates=model method.start=0.9"
)
ALONE = "ce data.trusted_repeats=0"
VARIANTS = {
    "quick": {
        "datasets": ("clicks:wrong data.generate=6000 train.epochs=2",),
        "methods": (ALONE, "corrected", yardsticks.CLEAN),
        "titles": ("cross-entropy", "correcting", "right labels"),
        "ours": ("corrected",),
        "seeds": 1,
    },
    "yardsticks": {
        "methods": (
            ALONE,
            *yardsticks.label_noise("missing"),
            "corrected method.rates=model",
            "corrected method.rates=model method.noise=flipped",
            SEARCH,
            yardsticks.CLEAN,
        ),
        "titles": (),
    },
}


def get_config(variant: str = "") -> Study:
    """Variants: quick, yardsticks."""
    return settings.variant(
        Study(
            name="lost_conversions",
            datasets=("clicks:wrong",),
            models=("deepfm",),
            methods=(
                ALONE,
                "ce",
                "corrected method.rates=model",
                SEARCH,
                "corrected method.rates=model method.noise=flipped",
                yardsticks.CLEAN,
            ),
            titles=(
                "cross-entropy on the log",
                "cross-entropy with the trusted rows",
                "correcting for lost conversions",
                "AutoLoss over both kinds",
                "correcting for flipped labels",
                "cross-entropy on right labels",
            ),
            ours=(SEARCH,),
            oracles=(yardsticks.CLEAN,),
            gap=(ALONE, yardsticks.CLEAN),
            seeds=3,
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
