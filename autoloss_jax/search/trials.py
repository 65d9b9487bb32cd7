"""A search over trainings: Optuna's TPE proposes config keys, Hyperband gives up early, SQLite
remembers.

A trial is a run of its own in `workdir/trials/NNN`, judged by the logloss of the early-stopping
rows, calibrated where `train.monitor` is; test decides nothing. Proposals are a function of the
seed and of the trials before, and a trial that was killed goes on, so that a search that was killed
ends where it would have ended.
"""

import contextlib
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from autoloss_jax.config import Config, settings
from autoloss_jax.distributed import documents, processes
from autoloss_jax.distributed.bar import Bar
from autoloss_jax.distributed.documents import COUNT, Number
from autoloss_jax.training import evaluator, loop, workdirs

Suggest = Callable[[optuna.Trial], dict[str, Any]]  # config keys to try
Best = Callable[[Sequence[optuna.trial.FrozenTrial]], optuna.trial.FrozenTrial]

BEST = {"trial": COUNT, "logloss": Number(0), "keys": dict}  # best.json
TRIALS = [{"trial": COUNT, "evaluations": COUNT, "seconds": Number(0)}]  # trials.json


def lowest(done: Sequence[optuna.trial.FrozenTrial]) -> optuna.trial.FrozenTrial:
    """The trial with the lowest logloss, the first of equals."""
    return done[int(np.argmin(np.array([trial.value for trial in done], np.float64)))]


def search(
    cfg: Config,
    workdir: Path,
    suggest: Suggest,
    say: Callable[[str], None],
    first: dict[str, Any] | None = None,
    least: int = 1,
    choose: Best = lowest,
    *,
    shown: bool = True,
) -> dict[str, Any]:
    """The best of `cfg.search.trials` proposals, as config keys; the budget of a training is
    `cfg.train.epochs`.

    `first` holds the parameters of the first trial, which is not given up, and no other before
    `least` evaluations; `choose` takes one among those that were not. After `cfg.search.minutes`
    none begins. The outcome is left in `workdir/best.json` and each trial in
    `workdir/trials.json`; where the former is there, nothing is run. UserError if the
    search that was begun in `workdir` is another.
    """
    processes.alone("a search over trainings (tune, bohb)")
    chosen = workdir / "best.json"
    with workdirs.locked(workdir):
        if (workdir / "config.json").exists():
            workdirs.refuse_other_config(cfg, workdirs.read_config(workdir), workdir)
        workdirs.write_config(cfg, workdir)
        if not chosen.exists():
            study = _study(cfg, workdir, least)
            if first and not study.trials:
                study.enqueue_trial(first)
            _try(study, cfg, workdir, suggest, say, shown)
            whole = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
            if not whole:
                raise evaluator.Diverged(
                    f"{workdir}: every trial was given up; raise --config.search.trials"
                )
            found = choose(whole)
            documents.write(workdir / "trials.json", [_record(t) for t in study.trials])
            keys = found.user_attrs["keys"]
            documents.write(chosen, {"trial": found.number, "logloss": found.value, "keys": keys})
        return _tuples(documents.read(chosen, BEST)["keys"])


def _try(
    study: optuna.Study,
    cfg: Config,
    workdir: Path,
    suggest: Suggest,
    say: Callable[[str], None],
    shown: bool,
) -> None:
    """The trials that are not done, as many as there may be."""
    title = f"{cfg.method.name} {cfg.model.label} {cfg.data.name}, trials"
    with Bar(title, cfg.search.trials, len(study.get_trials(states=DONE)), shown=shown) as bar:
        while (number := len(study.get_trials(states=DONE))) < cfg.search.trials:
            if number and _spent(study) > 60 * (cfg.search.minutes or float("inf")):
                say(f"{number} trials in {_spent(study) / 60:.1f} minutes: none more begins")
                break
            _run(study, _trial(study, cfg.run.seed, number), cfg, workdir, suggest, say)
            bar.step(number + 1)


def folder(workdir: Path, number: int) -> Path:
    """Where a trial's run is."""
    return workdir / "trials" / f"{number:03d}"


def best(workdir: Path) -> int:
    """The number of the trial that a finished search chose."""
    return documents.read(workdir / "best.json", BEST)["trial"]


def seconds(workdir: Path) -> float:
    """What all trials of a finished search took; 0 where there was none."""
    tried = workdir / "trials.json"
    return sum(t["seconds"] for t in documents.read(tried, TRIALS)) if tried.exists() else 0.0


def _spent(study: optuna.Study) -> float:
    """Seconds of all trials that have ended."""
    return sum(t.user_attrs.get("seconds", 0.0) for t in study.get_trials(states=DONE))


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
    here = folder(workdir, trial.number)
    seen: dict[int, float] = {
        int(k): v for k, v in study.trials[trial.number].intermediate_values.items()
    }

    figure = "logloss_calibrated" if cfg.train.monitor == "calibrated" else "logloss"

    def watch(evaluations: int, val: dict[str, Any]) -> None:
        if evaluations not in seen:
            trial.report(val[figure], evaluations)
        seen[evaluations] = val[figure]
        if trial.number and trial.should_prune():
            raise optuna.TrialPruned

    try:
        if trial.number and seen and trial.should_prune():
            raise optuna.TrialPruned
        with _timed(trial):
            loop.train(settings.with_keys(cfg, keys), here, lambda _: None, watch, shown=False)
        study.tell(trial, min(seen.values()))
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except evaluator.Diverged:  # a bad proposal, not the end of the search
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    best = min(seen.values(), default=None)
    said = "diverged" if best is None else f"logloss {best:.5f} after {len(seen)} evaluations"
    say(f"trial {trial.number}: {said}: {shlex.join(settings.as_flags(keys))}")


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
