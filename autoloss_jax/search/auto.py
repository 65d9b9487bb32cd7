"""For whom any way of choosing a loss will do: within a budget, several are trained, and the
best is the run.

Cross-entropy comes first, as the config has it. A part of the budget tunes it (`tune`), and all
others are trained with the values that this finds. They are: four members where the config has
one recommender, the even mixture (`al1`), a controller searched and frozen (`retrain`), and a
tuned static mixture (`bohb`). With context fields, or a file of trusted rows, `corrected` and
`noise_layer` are among them, for missing and for flipped labels, and a search over both kinds
that begins at their rates. Each is a run of its own below `WORKDIR/search`; the recommender of
`retrain`'s search, `autoloss`, is there already, and one of them.

The figure of `train.monitor` on the early-stopping rows decides, test does not. What is better
than cross-entropy by no more than chance (`gain`) is not shipped. What a person would pick
instead, as LightGBM, is in the report, and is not shipped either.
"""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, documents, processes
from autoloss_jax.search import gain, trials, tune
from autoloss_jax.search.gain import Gain
from autoloss_jax.training import evaluator, frozen_controllers, report, workdirs

Train = Callable[[Config, Path, Callable[[str], None]], dict[str, Any]]
Say = Callable[[str], None]
TUNED = "tuned_ce"
LEAST_TRIALS = 4  # of tuning, the config as given among them


@dataclasses.dataclass(frozen=True)
class Plan:
    """How `cfg.search.trials` trainings are spent."""

    tuning: int  # trials of tuning cross-entropy, the first being the config as given; or 1
    others: dict[str, dict[str, Any]]  # name -> config keys, in the order of training


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished contender."""

    folder: Path
    result: dict[str, Any]
    seconds: float  # of all its trainings, those of its search among them


def train(train: Train, cfg: Config, workdir: Path, say: Say) -> dict[str, Any]:
    """The result.json of the best contender, each trained by `train`; `workdir` becomes its run,
    and says why in auto.md.
    """
    processes.alone(f"--config.method.name={cfg.method.name}")
    with workdirs.locked(workdir):
        _claim(cfg, workdir)
        search, planned = workdir / "search", plan(cfg)
        runs, keys = _cross_entropy(train, cfg, planned.tuning, search, say)
        for name, own in planned.others.items():
            say(f"auto: {name}")
            try:
                train(settings.with_keys(cfg, keys | own), search / name, say)
            except evaluator.Diverged as error:  # it loses
                say(f"auto: {name}: {error}")
        for name, folder in _folders(cfg, planned, search).items():
            if (folder / "result.json").exists():
                runs[name] = _run(folder)
        if not runs:
            raise UserError(
                f"{workdir}: every contender diverged; lower --config.optimizer.learning_rate"
            )
        gains = _gains(cfg, runs, say)
        chosen = winner(cfg, runs, gains)
        instead = _yardsticks(train, cfg, search, say)
        _ship(runs[chosen].folder, workdir, page(cfg, runs, gains, instead, chosen))
        say(f"auto: {chosen} is the best on validation; why: {workdir / 'auto.md'}")
        return runs[chosen].result


def plan(cfg: Config) -> Plan:
    """As many contenders as the budget allows, cross-entropy first; what they leave is for its
    tuning and for the search that can use more trials (bohb's), half each.
    """
    left, others = cfg.search.trials - 1, {}
    _, *named = methods.contenders(cfg).items()
    for name, keys in named:
        found = settings.with_keys(cfg, keys)
        cost = methods.trainings(found.method) * (found.model.members // cfg.model.members)
        if cost <= left:
            others[name] = keys
            left -= cost
    searches = [
        keys
        for keys in others.values()
        if methods.row(settings.with_keys(cfg, keys).method).more_trials
    ]
    tuning = 1 + left - (left // 2 if searches else 0)
    tuning = tuning if tuning >= LEAST_TRIALS else 1
    for keys in searches:  # one training is its last, under the weights that its search found
        fewest = methods.trainings(settings.with_keys(cfg, keys).method) - 1
        keys["search.trials"] = fewest + left - (tuning - 1)
    return Plan(tuning, others)


def _cross_entropy(
    train: Train, cfg: Config, tuning: int, search: Path, say: Say
) -> tuple[dict[str, Run], dict[str, Any]]:
    """Cross-entropy as the config has it, and tuned where that is better by more than chance;
    and the config keys of the latter.
    """
    first, keys = next(iter(methods.contenders(cfg).items()))
    plain = settings.with_keys(cfg, keys)
    say(f"auto: {first}")
    try:
        if tuning == 1:
            train(plain, search / first, say)
            return {first: _run(search / first)}, {}
        here = search / "tune"
        found = tune.tune(settings.with_keys(plain, {"search.trials": tuning}), here, say)
    except evaluator.Diverged as error:
        say(f"auto: {first}: {error}")
        return {}, {}
    best, runs = trials.best(here), {}
    if (trials.folder(here, 0) / "result.json").exists():
        runs[first] = _run(trials.folder(here, 0))
    if best:
        tuned = _run(trials.folder(here, best))
        runs[TUNED] = dataclasses.replace(tuned, seconds=trials.seconds(here))
    return runs, found


def _folders(cfg: Config, planned: Plan, search: Path) -> dict[str, Path]:
    """Name -> folder of each; the one training of a contender's search is a contender."""
    folders = {name: search / name for name in planned.others}
    for name, keys in planned.others.items():
        here = folders[name] / "search"
        if (here / "result.json").exists():
            searched_as = methods.row(settings.with_keys(cfg, keys).method).searched_as
            folders[name.replace(keys["method.name"], searched_as)] = here
    return folders


def _run(folder: Path) -> Run:
    return Run(folder, workdirs.read_result(folder), _seconds(folder))


def _gains(cfg: Config, runs: Mapping[str, Run], say: Say) -> dict[str, Gain]:
    """Over cross-entropy, tuned if that is there, of each contender that is not."""
    first = next(iter(methods.contenders(cfg)))
    against = TUNED if TUNED in runs else first
    if against not in runs:
        return {}
    others = [name for name in runs if name not in (first, TUNED)]
    scores = {name: gain.scores(runs[name].folder, say) for name in (against, *others)}
    theirs = scores.pop(against)
    return {n: gain.between(cfg, ours, theirs, tried=len(others)) for n, ours in scores.items()}


def winner(cfg: Config, runs: Mapping[str, Run], gains: Mapping[str, Gain]) -> str:
    """The best by validation of cross-entropy and of what is better than it by more than chance;
    the first of equals.
    """
    standing = [name for name in runs if name not in gains or gains[name].certain]
    return max(standing, key=lambda name: evaluator.monitored(cfg, runs[name].result["val"]))


def _yardsticks(train: Train, cfg: Config, search: Path, say: Say) -> dict[str, dict[str, Any]]:
    """What a person would pick instead: the figures of those whose libraries are there."""
    found = {}
    for name in methods.row(cfg.method).yardsticks:
        try:
            found[name] = train(settings.with_keys(cfg, {"method.name": name}), search / name, say)
        except UserError as error:
            say(f"auto: {error}")
    return found


def _claim(cfg: Config, workdir: Path) -> None:
    """UserError before anything is trained if the folder holds another run."""
    if cfg.method.static or cfg.method.transfer_from:
        raise UserError(
            f"--config.method.name={cfg.method.name} finds its weights: leave method.static and "
            "transfer_from out"
        )
    methods.check(cfg.method)
    begun = workdir / "search" / "config.json"
    if begun.exists():
        workdirs.refuse_other_config(cfg, workdirs.read_config(begun.parent), workdir)
    else:
        workdirs.finished_result(cfg, workdir)  # a run that auto did not ship
        begun.parent.mkdir(exist_ok=True)
        workdirs.write_config(cfg, begun.parent)


def _ship(run: Path, workdir: Path, text: str) -> None:
    """A copy of a finished run, and why it is this one; result.json comes last."""
    atomic.write_text(workdir / "auto.md", text)
    if not (workdir / "result.json").exists():
        left_out = shutil.ignore_patterns("search", "result.json", ".*")
        shutil.copytree(run, workdir, ignore=left_out, dirs_exist_ok=True)
        documents.write(workdir / "result.json", workdirs.read_result(run))


def page(
    cfg: Config,
    runs: Mapping[str, Run],
    gains: Mapping[str, Gain],
    instead: Mapping[str, dict[str, Any]],
    chosen: str,
) -> str:
    """The report, Markdown: what each contender reached on validation, its weights and cost, and
    what to do next.
    """
    figure = evaluator.MONITORED[cfg.train.monitor]
    alphas = {name: _alpha(run.folder, run.result["best_step"]) for name, run in runs.items()}
    pool = list(dict.fromkeys(loss for alpha in reversed(alphas.values()) for loss in alpha))
    heads = ["method", "val AUC", "val logloss", "calibrated", f"gain in {figure}", "best epoch"]
    rows = [[*heads, "seconds", *(f"weight of {p}" for p in pool)]]
    rows.append(["---"] * len(rows[0]))
    for name, run in runs.items():
        per_epoch = run.result["steps"] / run.result["epochs"]
        rows.append(
            [
                f"**{name}**" if name == chosen else name,
                *_cells(run.result["val"]),
                str(gains[name]) if name in gains else "",
                f"{run.result['best_step'] / per_epoch:.4g}",
                f"{run.seconds:.0f}",
                *(f"{alphas[name][p]:.3f}" if p in alphas[name] else "" for p in pool),
            ]
        )
    for name, result in instead.items():
        cells = [f"({name})", *_cells(result["val"]), "", "", f"{result['wall_seconds']:.0f}"]
        rows.append([*cells, *("" for _ in pool)])
    shipped = runs[chosen].result
    lines = [
        f"# auto: {shipped['dataset']}, {shipped['model']}",
        f"**{chosen}** was chosen by its {figure} on validation. Test decided nothing.",
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
        "Figures are those of each method's best evaluation, on the rows that decide early "
        "stopping. The gain is over cross-entropy, with an interval of 95 % for all methods "
        "together (bootstrap over these rows): what may be chance is not shipped. Weights are "
        "means over training examples. Seconds are of all trainings of a method, searches among "
        "them; `autoloss` is retrain's search. Methods in brackets are no recommenders; they are "
        "here to compare.",
        "\n".join(f"- {line}" for line in _advice(cfg, runs, gains, instead, chosen)),
    ]
    return "\n\n".join(lines) + "\n"


def _cells(val: Mapping[str, Any]) -> list[str]:
    return [
        "-" if val.get(name) is None else f"{val[name]:.5f}"
        for name in ("auc", "logloss", "logloss_calibrated")
    ]


def _advice(
    cfg: Config,
    runs: Mapping[str, Run],
    gains: Mapping[str, Gain],
    instead: Mapping[str, dict[str, Any]],
    chosen: str,
) -> list[str]:
    planned, best, lines = plan(cfg), runs[chosen].result, []
    figure = evaluator.MONITORED[cfg.train.monitor]
    if chosen in gains:
        lines.append(f"Its {figure} is better than that of cross-entropy: {gains[chosen]}.")
    else:
        lines.append("Nothing is better than cross-entropy here by more than chance: keep it.")
    if planned.tuning > 1:
        lines.append(
            f"Cross-entropy was tuned in {planned.tuning} trials, and all methods have what was "
            "found."
            if TUNED in runs
            else f"{planned.tuning} trials of tuning found nothing better by more than chance."
        )
    else:
        lines.append("Nothing was tuned: raise `--config.search.trials`, or run `autoloss tune`.")
    ours = evaluator.monitored(cfg, best["val"])
    lines += [
        f"`{name}` has a better {figure} on validation than what is shipped."
        for name, result in instead.items()
        if evaluator.monitored(cfg, result["val"]) > ours
    ]
    if chosen in gains and chosen not in planned.others and cfg.data.train_on_trusted:
        lines.append(
            "It learned from fewer rows than `retrain`, those that taught its controller being "
            "none of them."
        )
    if best["best_step"] == best["steps"]:
        lines.append("It was still improving at its last step: raise `--config.train.epochs`.")
    if not cfg.data.train_on_trusted:
        lines.append(
            "The controller's share of validation taught no recommender: "
            "`--config.data.train_on_trusted=true` gives it to all."
        )
    first, *others = methods.contenders(cfg)
    for name in (first, *others):
        if name not in runs:
            trained = name in planned.others or name == first
            why = "diverged" if trained else "is not here: raise `--config.search.trials`"
            lines.append(f"`{name}` {why}.")
    return lines


def _alpha(run: Path, step: int) -> dict[str, float]:
    """The mean weight of each loss, as logged at a step."""
    return next(r["alpha"] for r in report.read_log(run / "metrics.jsonl") if r["step"] == step)


def _seconds(run: Path) -> float:
    """What a contender's trainings took, those of its search among them."""
    ended = [run, *frozen_controllers.trainings(run / "search")]
    trained = sum(workdirs.read_result(r)["wall_seconds"] for r in ended)
    return trained + trials.seconds(run / "search")
