"""The raw data of a config: made up or fetched where it asks for that, every column declared."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from autoloss_jax.config import Config, settings
from autoloss_jax.data import origin, synthetic
from autoloss_jax.data.read import columns


def resolved(cfg: Config, folder: Path, say: Callable[[str], None]) -> Config:
    """`cfg` with its data on disk, and with the columns of its table.

    Args:
        cfg: a config that a person wrote.
        folder: where data are made up.
        say: takes a line for people.
    """
    cfg = synthetic.generated(cfg, folder, say)
    cfg = dataclasses.replace(cfg, data=origin.here(cfg.data, say))
    if cfg.data.classes:
        cfg = settings.with_keys(cfg, {"data.num_classes": len(cfg.data.classes)})
    declared = columns.declared(cfg.data, say)
    return settings.with_keys(cfg, {f"data.{kind}": names for kind, names in declared.items()})
