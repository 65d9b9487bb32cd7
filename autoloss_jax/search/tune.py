"""Tuning a config's own keys: the same small search for every method, so that no table compares
unequal effort.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError, nearest
from autoloss_jax.search import trials

SPACES: dict[str, tuple[float, float, bool]] = {  # key -> least, greatest, on a logarithmic scale
    "optimizer.l2": (1e-7, 1.0, True),
    "optimizer.weight_decay": (1e-5, 10.0, True),
    "optimizer.learning_rate": (1e-4, 1e-2, True),
    "optimizer.controller_learning_rate": (1e-5, 1e-2, True),
    "model.dropout": (0.0, 0.6, False),
    "method.xi": (1e-5, 1e-1, True),
}

LEAST = 5  # evaluations of a trial: what learns slowly, at a low rate or a high L2, may end best


def own_training(cfg: Config) -> Config:
    """The config whose training is tuned for `cfg`: a part of it, if its method searches first."""
    name = methods.row(cfg.method).tuned_as
    if not name:
        return cfg
    folds = cfg.method.folds
    keys = {"method.name": name, "method.folds": 1}
    return settings.with_keys(cfg, keys | ({"data.trusted_fold": (0, folds)} if folds > 1 else {}))


def tune(cfg: Config, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The best values of `cfg.search.over`, as config keys, in three digits, as they are typed.
    The first trial is the config as it is given.
    """
    if methods.row(cfg.method).trains:
        raise UserError(
            f"--config.method.name={cfg.method.name}: tune one method, as ce, and give "
            f"{cfg.method.name} the flags that are found"
        )
    for name in cfg.search.over:
        if name not in SPACES:
            known = list(SPACES)
            raise UserError(
                f"--config.search.over: {name!r} is not one of "
                f"{', '.join(known)}{nearest(name, known)}"
            )
    given = {name: value for name, value, _ in settings.keys(cfg)}
    first = {k: min(max(given[k], SPACES[k][0]), SPACES[k][1]) for k in cfg.search.over}

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        spaces = {name: SPACES[name] for name in cfg.search.over}
        drawn = {
            k: trial.suggest_float(k, low, high, log=log) for k, (low, high, log) in spaces.items()
        }
        return {k: v if v == first[k] else float(f"{v:.3g}") for k, v in drawn.items()}

    return trials.search(cfg, workdir, suggest, say, first, least=LEAST)
