"""Labels of train worse than those of validation: positives that have not arrived yet, or labels
that are wrong.

    autoloss study --config=noisy_labels \\
        --config.raw=DIR --workdir=runs/noisy_labels

Positives of train are missing at 20 to 60 %, or with `:flipped` its labels flipped at 20 and 40 %,
everywhere as many; a tenth of validation has true labels. All methods that do not search learn
from these rows too, but for `data.trusted_repeats=0`. Yardsticks and oracles are those of
`context.py`, without a context. Data: a folder with frappe_x1/. Result: WORKDIR/noisy_labels.md
(or flipped_labels.md), .csv, .png, report.html. `:quick` is a grid of minutes on made-up data.
"""

from autoloss_jax.config import settings
from autoloss_jax.studies import yardsticks
from autoloss_jax.studies.study import QUICK, Study


def _rows(kind: str, *searched: str) -> dict:
    ours = (*searched, *yardsticks.ours(kind))
    oracles = yardsticks.oracles(kind)
    return {
        "methods": (*yardsticks.one_rate(kind), *ours, *oracles),
        "ours": ours,
        "oracles": oracles,
    }


VARIANTS = {
    "quick": QUICK
    | {
        "datasets": ("quickstart:quick data.missing=0.4",),
        "methods": ("ce", "autoloss"),
        "ours": ("autoloss",),
        "oracles": (),
        "gap": (),
    },
    "flipped": {
        "name": "flipped_labels",
        "datasets": tuple(f"frappe:flipped data.flipped={rate}" for rate in (0.2, 0.4)),
    }
    | _rows("flipped", "autoloss", "retrain"),
}


def get_config(variant: str = "") -> Study:
    """Variants: flipped, quick."""
    return settings.variant(
        Study(
            name="noisy_labels",
            datasets=tuple(f"frappe:missing data.missing={rate}" for rate in (0.2, 0.4, 0.6)),
            models=("deepfm",),
            gap=yardsticks.GAP,
            train_on_trusted=True,
            **_rows("missing", "autoloss", "retrain method.epochs=0", "retrain"),
        ),
        variant,
        VARIANTS,
    )
