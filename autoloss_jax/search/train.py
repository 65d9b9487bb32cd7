"""Training by any method: where a method needs other trainings, those come first."""

import functools
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.search import first_model
from autoloss_jax.training import loop
from autoloss_jax.training.callbacks import Callback, Callbacks


def train(
    cfg: Config,
    workdir: Path,
    say: Callable[[str], None] = print,
    *,
    shown: bool = True,
    callbacks: Iterable[Callback] = (),
) -> dict[str, Any]:
    """The result.json of `cfg`, of whose training `callbacks` hear.

    What its method must find first, and is not given, is searched in `workdir/search`.
    """
    method = methods.row(cfg.method)
    if method.trains:
        instead = pkgutil.resolve_name(method.trains)
        told = Callbacks(() if (workdir / "result.json").exists() else callbacks)
        told.on_train_begin(cfg)
        result = instead(functools.partial(train, shown=shown), cfg, workdir, say)
        told.on_train_end(result)
        return result
    cfg = found(cfg, workdir / "search", say, shown=shown)
    return loop.train(cfg, workdir, say, shown=shown, callbacks=callbacks)


def found(cfg: Config, workdir: Path, say: Callable[[str], None], *, shown: bool = True) -> Config:
    """`cfg` with what its method's search finds in `workdir`, if anything must be found."""
    if methods.must_search(cfg.method):
        search = pkgutil.resolve_name(methods.row(cfg.method).search)
        cfg = settings.with_keys(cfg, search(cfg, workdir, say, shown))
    return first_model.given(cfg, workdir, say, shown)
