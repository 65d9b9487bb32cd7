"""A made-up click log: who bought, on which platform, site, ad and device, where and when.

    autoloss train --config=clicks --config.method.name=ce

Data: none needed; a CSV file is made up. In `:wrong` two things go wrong with train's labels.
Conversions are lost: 40 % of them, from none on one platform to 80 % on another. Labels are flipped
by accident: 15 % of them, from none on one device to 30 % on another. 1,600 rows of validation are
trusted. `configs/studies/lost_conversions.py` compares what can be done.

Result: test AUC about .76 with right labels, .60 with `:wrong` ones. `:quick` is smaller, in
seconds.
"""

from autoloss_jax import config
from autoloss_jax.config import settings

VARIANTS = {
    "wrong": {
        "data.missing": 0.4,
        "data.missing_by": "platform",
        "data.flipped": 0.15,
        "data.flipped_by": "device",
        "data.context": ("platform", "device"),
    },
    "quick": {"data.generate": 6000, "train.epochs": 2, "train.batch_size": 200},
}


def get_config(variant: str = "") -> config.Config:
    """Variants: wrong, quick."""
    return settings.variant(
        config.Config(
            data=config.Data(
                name="clicks",
                generate=40_000,
                label="bought",
                categorical=("platform", "site", "ad", "device", "country", "hour"),
                split=(0.6, 0.2, 0.2),
                trusted_share=0.2,
            ),
            model=config.Model(embed_dim=4, hidden=(32,), dropout=0.0),
            method=config.Method(every=4, hidden=(32, 32)),
            optimizer=config.Optimizer(learning_rate=5e-3, l2=0.05),
            temperature=config.Temperature(horizon=0),
            train=config.Train(batch_size=500, epochs=8, patience=8, evaluate_every=136),
        ),
        variant,
        VARIANTS,
    )
