"""Training by any method: where a method wraps other trainings, those come first."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.config import Config, settings
from autoloss_jax.search import auto, bohb, melu, retrain
from autoloss_jax.training import loop


def train(
    cfg: Config, workdir: Path, say: Callable[[str], None] = print, *, shown: bool = True
) -> dict[str, Any]:
    """The result.json of `cfg`; what its method must find first, and is not given, is searched
    in `workdir/search`.
    """
    if cfg.method.name == "auto":
        return auto.train(functools.partial(train, shown=shown), cfg, workdir, say)
    return loop.train(found(cfg, workdir / "search", say, shown=shown), workdir, say, shown=shown)


def found(cfg: Config, workdir: Path, say: Callable[[str], None], *, shown: bool = True) -> Config:
    """`cfg` with what its method's search finds in `workdir`; as it is, if there is nothing to
    be found.
    """
    if cfg.method.name not in SEARCHES or cfg.method.static or cfg.method.transfer_from:
        return cfg
    return settings.with_keys(cfg, SEARCHES[cfg.method.name](cfg, workdir, say, shown))


SEARCHES = {"bohb": bohb.weights, "melu": melu.weights, "retrain": retrain.controller}
SHARED = ("bohb",)  # what is found does not belong to a seed
