"""The config file of evaluation and prediction, which take theirs from the checkpoint: every key
at its default.
"""

from autoloss_jax.config import Config


def get_config(variant: str = "") -> Config:
    """All defaults."""
    del variant
    return Config()
