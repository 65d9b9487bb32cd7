"""Tuning a config's own keys: the same small search for every method, so that no table compares
unequal effort.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError, nearest
from autoloss_jax.search import gain, trials

BATCH = "train.batch_size"


Trials = Sequence[optuna.trial.FrozenTrial]


class Space(NamedTuple):
    """The values of a key that are tried."""

    low: float
    high: float
    log: bool = True  # evenly on a logarithmic scale
    whole: bool = False  # whole numbers

    def suggest(self, trial: optuna.Trial, name: str) -> float:
        """A value of two digits, as a person would type it."""
        if self.whole:
            drawn = trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
            return int(float(f"{drawn:.2g}"))
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.2g}")

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        low, high, here = (np.log(v) if self.log else v for v in (self.low, self.high, value))
        return float((here - low) / max(high - low, 1e-12))


SPACES = {
    "optimizer.l2": Space(1e-7, 1.0),
    "optimizer.weight_decay": Space(1e-5, 10.0),
    "optimizer.learning_rate": Space(1e-4, 1e-2),
    "optimizer.controller_learning_rate": Space(1e-5, 1e-2),
    "optimizer.decay": Space(0.05, 1.0, log=False),
    "model.dropout": Space(0.0, 0.6, log=False),
    "model.embed_dim": Space(2, 64, whole=True),
    "model.embed_init_std": Space(1e-3, 0.5),
    "model.members": Space(1, 16, whole=True),
    BATCH: Space(32, 8192, whole=True),
    "method.xi": Space(1e-5, 1e-1),
}

LEAST = 5  # evaluations of a trial: what learns slowly, at a low rate or a high L2, may end best
MODELLED = 8  # trials, of which a surface is drawn


def own_training(cfg: Config) -> Config:
    """The config whose training is tuned for `cfg`: a part of it, if its method searches first."""
    name = methods.row(cfg.method).tuned_as
    if not name:
        return cfg
    folds = cfg.method.folds
    keys = {"method.name": name, "method.folds": 1}
    return settings.with_keys(cfg, keys | ({"data.trusted_fold": (0, folds)} if folds > 1 else {}))


def tune(cfg: Config, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The best values of `cfg.search.over`, as config keys, in two digits, as they are typed.

    The first trial is the config as it is given. The best is the one whose neighbours are good
    too (`plateau`), if it is better than the first by more than chance. UserError for a key
    without a space, and for a method of several trainings.
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
    spaces = {name: _space(name, given[name]) for name in cfg.search.over}
    first = {name: min(max(given[name], s.low), s.high) for name, s in spaces.items()}

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        drawn = {name: space.suggest(trial, name) for name, space in spaces.items()}
        return first if trial.number == 0 else drawn

    def best(done: Trials) -> optuna.trial.FrozenTrial:
        found = plateau(done, spaces)
        return found if _better(cfg, workdir, found, done, say) else done[0]

    return trials.search(cfg, workdir, suggest, say, first, least=LEAST, choose=best)


def _space(name: str, given: float) -> Space:
    """A batch is at most four times what is given, of which the rules make a hundred an epoch."""
    space = SPACES[name]
    if name == BATCH:
        return space._replace(low=min(space.low, given), high=min(space.high, 4 * given))
    return space


def _better(
    cfg: Config,
    workdir: Path,
    found: optuna.trial.FrozenTrial,
    done: Trials,
    say: Callable[[str], None],
) -> bool:
    """Whether a trial is better by more than chance than the first, the config as it is given."""
    if found.number == 0 or done[0].number:  # it is the first, or the first diverged
        return True
    ours, theirs = (
        gain.scores(trials.folder(workdir, trial.number), say) for trial in (found, done[0])
    )
    better = gain.between(cfg, ours, theirs, tried=len(done))
    outcome = "taken" if better.certain else "this may be chance, and the values given stay"
    say(f"gain of trial {found.number} in validation {better.figure}: {better}: {outcome}")
    return better.certain


def plateau(done: Trials, spaces: Mapping[str, Space]) -> optuna.trial.FrozenTrial:
    """The trial with the lowest mean of a Gaussian process through all of them, not the one that
    was luckiest.

    The process has a length for each key and noise of its own, both as the trials make them most
    likely. Trials far above the median count as bad, not as how bad. Of fewer than MODELLED the
    lowest is the best.
    """
    if len(done) < MODELLED:
        return trials.lowest(done)
    from sklearn.exceptions import ConvergenceWarning  # a second, for whoever tunes
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    figures = np.array([trial.value for trial in done], np.float64)
    places = np.array(
        [[space.place(trial.params[name]) for name, space in spaces.items()] for trial in done]
    )
    kept = np.minimum(figures, 2 * np.median(figures) - figures.min())
    kernel = Matern(np.ones(len(spaces)), (0.2, 10.0), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound
        process = GaussianProcessRegressor(kernel, normalize_y=True).fit(places, kept)
    return done[int(np.argmin(process.predict(places)))]
