"""Where the model behind a correction by context is wrong, or knows too little: what is left of
it, and is a first model, or a search that begins at its rates, better?

    autoloss study --config=beyond_correction \\
        --config.raw=DIR --workdir=runs/beyond_correction

Positives of train are missing, 40 % on average:

- by the time of day and the weekday together (7 x 7), so that neither alone shows anything;
- by the time of day, and the more so the less likely they are (`data.missing_unlikely`);
- by the time of day, while a tenth of all labels is flipped by the country;
- by the country (80 values) or the city (233), with 100, 300 or 1,000 trusted rows;
- by the time of day, with trusted rows of heavy users alone, of one weather alone, or with twice
  the odds of a positive (`data.trusted_of`);
- by the time of day, with all ten fields as context;
- not at all, with the time of day as context.

Yardsticks, oracles and ours are those of `context.py`. Data: a folder with frappe_x1/. Result:
WORKDIR/beyond_correction.md, .csv, .png, report.html. `:movielens` has six of the settings on
MovieLens 1M, a quarter of its train, where labels go wrong by the user's age and occupation (a
folder with movielens1m/); `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies import yardsticks
from autoloss_jax.studies.study import QUICK, Study

DAYTIME = 'data.missing=0.4 data.missing_by=field_2 data.context=["field_2"]'
TEN = ",".join(f'"field_{number}"' for number in range(10))
SHARES = {100: 0.001733, 300: 0.0052, 1000: 0.01733}  # of validation


def _few(field: str, rows: int) -> str:
    share = f"data.trusted_share={SHARES[rows]}"
    return f'data.missing=0.4 data.missing_by={field} data.context=["{field}"] {share}'


SETTINGS = (
    'data.missing=0.4 data.missing_by=field_2,field_3 data.context=["field_2","field_3"]',
    f"{DAYTIME} data.missing_unlikely=true",
    "data.missing=0.4 data.missing_by=field_2 data.flipped=0.1 data.flipped_by=field_8 "
    'data.context=["field_2","field_8"]',
    *(_few(field, rows) for field in ("field_8", "field_9") for rows in SHARES),
    f"{DAYTIME} data.trusted_of=field_0",
    f"{DAYTIME} data.trusted_of=field_7",
    f"{DAYTIME} data.trusted_of=positives",
    f"data.missing=0.4 data.missing_by=field_2 data.context=[{TEN}]",
    'data.missing=1e-9 data.missing_by=field_2 data.context=["field_2"]',
)
BY_AGE = 'data.missing=0.4 data.missing_by=age data.context=["age"]'
SIX_THOUSAND = "data.trusted_share=0.06"  # of validation
MOVIELENS = (
    f"{SIX_THOUSAND} data.missing=0.4 data.missing_by=age,occupation "
    'data.context=["age","occupation"]',
    f"{SIX_THOUSAND} {BY_AGE} data.missing_unlikely=true",
    f"{SIX_THOUSAND} data.missing=0.4 data.missing_by=age data.flipped=0.1 "
    'data.flipped_by=occupation data.context=["age","occupation"]',
    "data.trusted_share=0.003 data.missing=0.4 data.missing_by=occupation "
    'data.context=["occupation"]',
    f"{SIX_THOUSAND} {BY_AGE} data.trusted_of=user",
    f"{SIX_THOUSAND} {BY_AGE} data.trusted_of=positives",
)
BOTH = (
    'retrain method.pool=["missing_ce(rate=searched)","flipped_ce(rate=searched)","ce"] '
    "method.rates=model method.start=0.9"
)
OURS = (*yardsticks.ours("missing"), BOTH)
VARIANTS = {
    "movielens": {
        "name": "beyond_correction_movielens1m",
        "datasets": tuple(
            f"movielens1m:profiles data.train_share=0.25 method.every=3 method.epochs=6 {keys}"
            for keys in MOVIELENS
        ),
    },
    "quick": QUICK
    | {
        "datasets": (
            'quickstart:quick data.missing=0.4 data.missing_by=C9,C10 data.context=["C9","C10"]',
        ),
        "methods": ("ce", "corrected method.rates=model", yardsticks.CLEAN),
        "ours": ("corrected method.rates=model",),
        "oracles": (yardsticks.CLEAN,),
    },
}


def get_config(variant: str = "") -> Study:
    """Variants: movielens, quick."""
    return settings.variant(
        Study(
            name="beyond_correction",
            datasets=tuple(f"frappe:missing {keys}" for keys in SETTINGS),
            models=("deepfm",),
            methods=(
                *yardsticks.label_noise("missing"),
                *OURS,
                *yardsticks.oracles("missing"),
            ),
            ours=OURS,
            oracles=yardsticks.oracles("missing"),
            gap=yardsticks.GAP,
            train_on_trusted=True,
        ),
        variant,
        VARIANTS,
    )
