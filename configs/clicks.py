"""A made-up click log: who bought, on which platform, site, ad and device, where and when.

    python -m autoloss_jax.main --config=configs/clicks.py --config.method.name=ce

Data: none needed; a CSV file is made up. `configs/studies/lost_conversions.py` loses some of its
conversions and gets them back.
"""

from autoloss_jax import config
from autoloss_jax.config import settings

VARIANTS: dict[str, dict] = {}


def get_config(variant: str = "") -> config.Config:
    """No variants."""
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
            train=config.Train(batch_size=500, epochs=8, patience=8, evaluate_every=100),
        ),
        variant,
        VARIANTS,
    )
