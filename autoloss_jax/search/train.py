"""Training by any method: where a method needs other trainings, those come first."""

import functools
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.search import first_model
from autoloss_jax.training import loop


def train(
    cfg: Config, workdir: Path, say: Callable[[str], None] = print, *, shown: bool = True
) -> dict[str, Any]:
    """The result.json of `cfg`.

    What its method must find first, and is not given, is searched in `workdir/search`.
    """
    method = methods.row(cfg.method)
    if method.trains:
        instead = pkgutil.resolve_name(method.trains)
        return instead(functools.partial(train, shown=shown), cfg, workdir, say)
    return loop.train(found(cfg, workdir / "search", say, shown=shown), workdir, say, shown=shown)


def found(cfg: Config, workdir: Path, say: Callable[[str], None], *, shown: bool = True) -> Config:
    """`cfg` with what its method's search finds in `workdir`, if anything must be found."""
    if methods.must_search(cfg.method):
        search = pkgutil.resolve_name(methods.row(cfg.method).search)
        cfg = settings.with_keys(cfg, search(cfg, workdir, say, shown))
    return first_model.given(cfg, workdir, say, shown)
