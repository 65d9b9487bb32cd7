"""BOHB (Falkner et al., ICML 2018) over static weights of the pool, as the paper's baseline of
that name.

The original models densities of good and bad configurations with kernels and gives budgets by
Hyperband; here both come from Optuna: multivariate TPE, and Hyperband's brackets as a rule for
giving up. Budget: epochs; objective: validation logloss.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from autoloss_jax.algorithm import candidates, methods
from autoloss_jax.config import Config, settings
from autoloss_jax.search import trials


def weights(
    cfg: Config, workdir: Path, say: Callable[[str], None], shown: bool = True
) -> dict[str, Any]:
    """Weights of `cfg.method.pool` that sum to one, as a config key; the first trial's are
    equal.
    """
    pool = candidates.parse_pool(cfg.method.pool)
    names = [f"u{i}" for i in range(len(pool))]

    def suggest(trial: optuna.Trial) -> dict[str, tuple[float, ...]]:
        """Uniform over the simplex for uniform u."""
        shares = [-math.log(trial.suggest_float(name, 1e-4, 1 - 1e-4)) for name in names]
        return {"method.static": tuple(s / sum(shares) for s in shares)}

    searched_as = methods.row(cfg.method).searched_as
    plain = settings.with_keys(cfg, {"method.name": searched_as})
    return trials.search(plain, workdir, suggest, say, dict.fromkeys(names, 0.5), shown=shown)
