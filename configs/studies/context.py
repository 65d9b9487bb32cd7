"""Labels lost, or wrong, more in some places than in others: does a controller that sees the
place find out?

    autoloss study --config=context --config.raw=DIR \\
        --workdir=runs/context

Of train's positives 20 or 40 % are missing, but not evenly: by the time of day (`field_2`, 7
values) or by the country (`field_8`, 80), from none to twice as many, in a random order, as
where one platform reports conversions and another does not. A tenth of validation has true
labels. All methods that do not search learn from these rows too, but for `data.trusted_repeats=0`.

The yardsticks (`autoloss_jax/studies/yardsticks.py`) are what a user would pick instead: the
rows of train alone, the trusted rows alone, both with another weight, corrections by one rate,
by context (`corrected`), by a matrix (`glc`), by rates learned with the recommender
(`noise_layer`), static weights found by trials (`bohb`), a weight for each example (`al2` without
context: Meta-Weight-Net). Two rows know what nobody knows: the true rates, and clean labels.

Ours are `corrected method.rates=model`, whose rates a first model tells too, a noise layer and a
search that begin at these rates, and searches over candidates of fixed rates:
`data.context=[]` does not see the field, `method.epochs=0` learns to the end instead of for six
epochs, `method.min_agreement=0.5` until its signal is lost.

`:flipped` is the same with 20 % of all labels flipped, from none to 40 % by the time of day, as
where some of those who label are careless; `:flipped_by_country` from none to 40 % by the country.
Data: a folder with frappe_x1/. Result: WORKDIR/context.md (or flipped_by.md,
flipped_by_country.md), .csv, .png, report.html. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies import yardsticks
from autoloss_jax.studies.study import QUICK, Study

SEARCHED = (  # by validation, a blind search does not begin near cross-entropy and learns slowly
    "autoloss data.context=[] method.start=0.0 optimizer.controller_learning_rate=1e-4",
    "autoloss",
    "retrain",
    "autoloss method.epochs=6",
    "retrain method.epochs=6",
    "retrain method.min_agreement=0.5",
)
SEEING = ("retrain method.epochs=0", "retrain method.epochs=0 method.min_agreement=0.5", "retrain")


def _flipped(name: str, by: str, searched: tuple[str, ...]) -> dict:
    return {
        "name": name,
        "datasets": (
            f'frappe:flipped data.flipped=0.2 data.flipped_by={by} data.context=["{by}"] '
            "optimizer.controller_learning_rate=1e-3 method.start=0.9",
        ),
        "methods": (
            *yardsticks.label_noise("flipped"),
            *searched,
            *yardsticks.ours("flipped"),
            *yardsticks.oracles("flipped"),
        ),
        "ours": (*searched, *yardsticks.ours("flipped")),
        "oracles": yardsticks.oracles("flipped"),
    }


VARIANTS = {
    "quick": QUICK
    | {
        "oracles": (),
        "gap": (),
        "datasets": ('quickstart:quick data.missing=0.4 data.missing_by=C9 data.context=["C9"]',),
        "methods": ("ce", "autoloss data.context=[]", "autoloss"),
        "ours": ("autoloss",),
    },
    "flipped": _flipped("flipped_by", "field_2", SEARCHED),
    "flipped_by_country": _flipped("flipped_by_country", "field_8", ("retrain method.epochs=6",)),
}


def get_config(variant: str = "") -> Study:
    """Variants: flipped, flipped_by_country, quick."""
    return settings.variant(
        Study(
            name="context",
            datasets=tuple(
                f"frappe:missing data.missing={rate} data.missing_by={field} "
                f'data.context=["{field}"]'
                for field, rate in (("field_2", 0.2), ("field_2", 0.4), ("field_8", 0.4))
            ),
            models=("deepfm",),
            methods=(
                *yardsticks.label_noise("missing"),
                "retrain data.context=[]",
                *SEEING,
                *yardsticks.ours("missing"),
                *yardsticks.oracles("missing"),
            ),
            ours=(*SEEING, *yardsticks.ours("missing")),
            oracles=yardsticks.oracles("missing"),
            gap=yardsticks.GAP,
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
