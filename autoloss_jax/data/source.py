"""The raw data of a config: made up where it asks for that, and every column declared."""

from collections.abc import Callable
from pathlib import Path

from autoloss_jax.config import Config, settings
from autoloss_jax.data import synthetic
from autoloss_jax.data.read import columns


def resolved(cfg: Config, folder: Path, say: Callable[[str], None]) -> Config:
    """`cfg` with its data on disk, and with the columns of its table.

    Args:
        cfg: a config that a person wrote.
        folder: where data are made up.
        say: takes a line for people.
    """
    cfg = synthetic.generated(cfg, folder, say)
    declared = columns.declared(cfg.data, say)
    return settings.with_keys(cfg, {f"data.{kind}": names for kind, names in declared.items()})
