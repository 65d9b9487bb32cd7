"""Conversions that get lost on some platforms, and a small sample that knows: what brings back
how much of them?

    bash launch/run.sh          (this file is its default)

Data: none needed. A click log is made up (`configs/clicks.py`). 40 % of the conversions in train
are lost, from none on one platform to 80 % on another. 800 rows of validation are trusted.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies import yardsticks
from autoloss_jax.studies.study import Study

LOST = 'data.missing=0.4 data.missing_by=platform data.context=["platform"]'
SEARCH = (
    'retrain method.rates=model method.pool=["missing_ce(rate=searched)","ce"] method.start=0.9'
)


def get_config(variant: str = "") -> Study:
    """No variants."""
    return settings.variant(
        Study(
            name="lost_conversions",
            datasets=(f"clicks {LOST}",),
            models=("deepfm",),
            methods=(
                "ce data.trusted_repeats=0",
                "ce",
                "corrected",
                "corrected method.rates=model",
                SEARCH,
                yardsticks.CLEAN,
            ),
            ours=(SEARCH,),
            oracles=(yardsticks.CLEAN,),
            gap=("ce data.trusted_repeats=0", yardsticks.CLEAN),
            seeds=3,
            train_on_trusted=True,
        ),
        variant,
        {},
    )
