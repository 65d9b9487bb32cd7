"""A search over trainings: Optuna's TPE proposes config keys, Hyperband gives up early, SQLite
remembers.

A trial is a run of its own in `workdir/trials/NNN`, judged by the logloss of the early-stopping
rows; test decides nothing. Proposals are a function of the seed and of the trials before, and a
trial that was killed goes on, so that a search that was killed ends where it would have ended.
"""

import contextlib
import json
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna

from autoloss_jax import config
from autoloss_jax.config import Config, settings
from autoloss_jax.distributed import atomic, processes
from autoloss_jax.distributed.bar import Bar
from autoloss_jax.training import evaluator, loop, workdirs

Suggest = Callable[[optuna.Trial], dict[str, Any]]  # config keys to try


def search(
    cfg: Config,
    workdir: Path,
    suggest: Suggest,
    say: Callable[[str], None],
    first: dict[str, Any] | None = None,
    least: int = 1,
    *,
    shown: bool = True,
) -> dict[str, Any]:
    """The best of `cfg.search.trials` proposals, as config keys; the budget of a training is
    `cfg.train.epochs`.

    `first` holds the parameters of the first trial, so that what is found is no worse; none is
    given up before `least` evaluations. The outcome is left in `workdir/best.json` and each
    trial in `workdir/trials.json`; where the former is there, nothing is run. UserError if the
    search that was begun in `workdir` is another.
    """
    processes.alone("a search over trainings (tune, bohb)")
    workdir.mkdir(parents=True, exist_ok=True)
    begun, chosen = workdir / "config.json", workdir / "best.json"
    if begun.exists():
        workdirs.refuse_other_config(cfg, config.from_dict(json.loads(begun.read_text())), workdir)
    atomic.write_json(begun, json.loads(settings.to_json(cfg)))
    if chosen.exists():
        return _tuples(json.loads(chosen.read_text())["keys"])
    study = _study(cfg, workdir, least)
    if first and not study.trials:
        study.enqueue_trial(first)
    title = f"{cfg.method.name} {cfg.model.label} {cfg.data.name}, trials"
    with Bar(title, cfg.search.trials, len(study.get_trials(states=DONE)), shown=shown) as bar:
        while (number := len(study.get_trials(states=DONE))) < cfg.search.trials:
            _run(study, _trial(study, cfg.run.seed, number), cfg, workdir, suggest, say)
            bar.step(number + 1)
    if not study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        raise evaluator.Diverged(
            f"{workdir}: every trial was given up; raise --config.search.trials"
        )
    best = study.best_trial
    atomic.write_json(workdir / "trials.json", [_record(t) for t in study.trials])
    atomic.write_json(
        chosen, {"trial": best.number, "logloss": best.value, "keys": best.user_attrs["keys"]}
    )
    return _tuples(best.user_attrs["keys"])


DONE = (
    optuna.trial.TrialState.COMPLETE,
    optuna.trial.TrialState.PRUNED,
    optuna.trial.TrialState.FAIL,
)


def _study(cfg: Config, workdir: Path, least: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    most = max(cfg.train.epochs, least)
    pruner = optuna.pruners.HyperbandPruner(
        min_resource=least, max_resource=most, reduction_factor=3
    )
    storage = f"sqlite:///{(workdir / 'trials.db').absolute()}"
    # Hyperband draws a trial's bracket from the study's name
    return optuna.create_study(
        storage=storage, study_name="trials", pruner=pruner, load_if_exists=True
    )


def _trial(study: optuna.Study, seed: int, number: int) -> optuna.Trial:
    """The trial that a kill left unfinished, or the next one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate
        study.sampler = optuna.samplers.TPESampler(
            multivariate=True, n_startup_trials=5, seed=seed * 100_003 + number
        )
    for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        return optuna.Trial(study, left._trial_id)
    return study.ask()


def _run(study, trial, cfg, workdir, suggest, say) -> None:
    keys = suggest(trial)
    trial.set_user_attr("keys", keys)
    here = workdir / "trials" / f"{trial.number:03d}"
    seen: dict[int, float] = {
        int(k): v for k, v in study.trials[trial.number].intermediate_values.items()
    }

    def watch(evaluations: int, val: dict[str, Any]) -> None:
        if evaluations not in seen:
            trial.report(val["logloss"], evaluations)
        seen[evaluations] = val["logloss"]
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        if seen and trial.should_prune():
            raise optuna.TrialPruned
        with _timed(trial):
            loop.train(settings.with_keys(cfg, keys), here, lambda _: None, watch, shown=False)
        study.tell(trial, min(seen.values()))
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except evaluator.Diverged:  # a bad proposal, not the end of the search
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    best = min(seen.values(), default=None)
    figure = "diverged" if best is None else f"logloss {best:.5f} after {len(seen)} evaluations"
    say(f"trial {trial.number}: {figure}: {shlex.join(settings.as_flags(keys))}")


@contextlib.contextmanager
def _timed(trial: optuna.Trial) -> Iterator[None]:
    """Adds to a trial's seconds, whatever ends it."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = trial.user_attrs.get("seconds", 0.0) + time.monotonic() - started
        trial.set_user_attr("seconds", seconds)


def _record(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "evaluations": len(trial.intermediate_values),
        "logloss": min(trial.intermediate_values.values(), default=None),
        "keys": trial.user_attrs.get("keys"),
        "seconds": trial.user_attrs.get("seconds", 0.0),
    }


def _tuples(keys: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()}
