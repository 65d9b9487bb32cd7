"""For whom any way of choosing a loss will do: within a budget, several are trained, and the
best is the run.

The contenders are cross-entropy, the even mixture (`al1`), a controller searched and frozen
(`retrain`), and a tuned static mixture (`bohb`). With context fields, or a file of trusted rows,
`corrected` and `noise_layer` are among them, for missing and for flipped labels, and a search over
both kinds that begins at their rates. Each is a run of its own in
`WORKDIR/search/NAME`; the recommender of `retrain`'s search, `autoloss`, is there already, and
one of them. The figure of `train.monitor` on the early-stopping rows decides, test does not, and
a tie is the former's. Cross-entropy comes first, so that what is shipped is never worse than it
on the rows that decide.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoloss_jax import config
from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, processes
from autoloss_jax.training import evaluator, frozen_controllers, report, workdirs

Train = Callable[[Config, Path, Callable[[str], None]], dict[str, Any]]


def train(train: Train, cfg: Config, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The result.json of the best contender, each trained by `train`; `workdir` becomes its run,
    and says why in auto.md.
    """
    processes.alone(f"--config.method.name={cfg.method.name}")
    with workdirs.locked(workdir):
        _claim(cfg, workdir)
        search, results = workdir / "search", {}
        for name, keys in contenders(cfg).items():
            say(f"auto: {name}")
            try:
                results[name] = train(settings.with_keys(cfg, keys), search / name, say)
            except evaluator.Diverged as error:  # it loses
                say(f"auto: {name}: {error}")
        folders = _folders(cfg, search)
        for name in folders.keys() - results.keys():  # the recommender of a contender's search
            if (ended := folders[name] / "result.json").exists():
                results[name] = json.loads(ended.read_text())
        if not results:
            raise UserError(
                f"{workdir}: every contender diverged; lower --config.optimizer.learning_rate"
            )
        chosen = winner(cfg, {name: result["val"] for name, result in results.items()})
        _ship(folders[chosen], workdir, page(cfg, folders, results, chosen))
        say(f"auto: {chosen} is the best on validation; why: {workdir / 'auto.md'}")
        return results[chosen]


def _folders(cfg: Config, search: Path) -> dict[str, Path]:
    """Name -> folder of each contender; the one training of a contender's search is a contender."""
    folders = {name: search / name for name in contenders(cfg)}
    for name, keys in contenders(cfg).items():
        here = folders[name] / "search"
        if (here / "result.json").exists():
            searched_as = methods.row(settings.with_keys(cfg, keys).method).searched_as
            folders[name.replace(keys["method.name"], searched_as)] = here
    return folders


def contenders(cfg: Config) -> dict[str, dict[str, Any]]:
    """Name -> config keys, in the order of training: as many as `cfg.search.trials` trainings in
    all allow.

    What the others leave is for the search that can use more trials (bohb's). One training is
    its last, under the weights that its search found.
    """
    left, found = cfg.search.trials, {}
    for name, keys in methods.contenders(cfg).items():
        cost = methods.trainings(settings.with_keys(cfg, keys).method)
        if cost <= left:
            found[name] = keys
            left -= cost
    for keys in found.values():
        method = settings.with_keys(cfg, keys).method
        if methods.row(method).more_trials:
            keys["search.trials"] = methods.trainings(method) - 1 + left
    return found


def winner(cfg: Config, vals: Mapping[str, Mapping[str, Any]]) -> str:
    """The name with the best validation figures; the first of equals."""
    return max(vals, key=lambda name: evaluator.monitored(cfg, vals[name]))


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
        workdirs.refuse_other_config(cfg, config.from_dict(json.loads(begun.read_text())), workdir)
    else:
        workdirs.finished_result(cfg, workdir)  # a run that auto did not ship
        begun.parent.mkdir(exist_ok=True)
        atomic.write_json(begun, json.loads(settings.to_json(cfg)))


def _ship(run: Path, workdir: Path, text: str) -> None:
    """A copy of a finished run, and why it is this one; result.json comes last."""
    atomic.write_text(workdir / "auto.md", text)
    if not (workdir / "result.json").exists():
        left_out = shutil.ignore_patterns("search", "result.json", ".*")
        shutil.copytree(run, workdir, ignore=left_out, dirs_exist_ok=True)
        atomic.write_json(workdir / "result.json", json.loads((run / "result.json").read_text()))


def page(
    cfg: Config, folders: Mapping[str, Path], results: Mapping[str, dict[str, Any]], chosen: str
) -> str:
    """The report, Markdown: what each contender reached on validation, its weights and cost, and
    what to do next.
    """
    figure = evaluator.MONITORED[cfg.train.monitor]
    alphas = {name: _alpha(folders[name], result["best_step"]) for name, result in results.items()}
    pool = list(dict.fromkeys(loss for alpha in reversed(alphas.values()) for loss in alpha))
    heads = [
        "method",
        "val AUC",
        "val logloss",
        "best epoch",
        "seconds",
        *(f"weight of {p}" for p in pool),
    ]
    rows = [heads, ["---"] * len(heads)]
    for name, result in results.items():
        auc, per_epoch = result["val"]["auc"], result["steps"] / result["epochs"]
        cells = [
            f"**{name}**" if name == chosen else name,
            "-" if auc is None else f"{auc:.5f}",
            f"{result['val']['logloss']:.5f}",
            f"{result['best_step'] / per_epoch:.4g}",
            f"{_seconds(folders[name]):.0f}",
        ]
        rows.append(
            [*cells, *(f"{alphas[name][p]:.3f}" if p in alphas[name] else "" for p in pool)]
        )
    lines = [
        f"# auto: {results[chosen]['dataset']}, {results[chosen]['model']}",
        f"**{chosen}** was chosen: its {figure} on validation is the best of {len(results)}. Test "
        "decided nothing.",
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
        "Figures are those of each method's best evaluation, on the rows that decide early "
        "stopping; weights are means over training examples at that moment. Seconds are of all "
        "trainings of a method, searches among them; `autoloss` is retrain's search.",
        "\n".join(f"- {line}" for line in _advice(cfg, results, chosen)),
    ]
    return "\n\n".join(lines) + "\n"


def _advice(cfg: Config, results: Mapping[str, dict[str, Any]], chosen: str) -> list[str]:
    best, lines, trained = results[chosen], [], list(methods.contenders(cfg))
    first = trained[0]
    if chosen == first:
        lines.append("Nothing was better than cross-entropy here: keep it.")
    elif first in results:
        gain = evaluator.monitored(cfg, best["val"]) - evaluator.monitored(
            cfg, results[first]["val"]
        )
        lines.append(
            f"It is better than cross-entropy by {gain:.5f}. The best of several looks better on "
            "the rows that chose it than elsewhere: train it and `ce` with other seeds "
            "(`--config.run.seed`) before relying on it."
        )
    if chosen not in trained and cfg.data.train_on_trusted:
        lines.append(
            "It learned from fewer rows than `retrain`, those that taught its controller being "
            "none of them."
        )
    lines.append(
        "L2 often moves figures more than the loss does: `--mode=tune --config.method.name=ce`."
    )
    if best["best_step"] == best["steps"]:
        lines.append("It was still improving at its last step: raise `--config.train.epochs`.")
    if not cfg.data.train_on_trusted:
        lines.append(
            "The controller's share of validation taught no recommender: "
            "`--config.data.train_on_trusted=true` gives it to all."
        )
    for name in trained:
        if name not in results:
            fits = name in contenders(cfg)
            lines.append(
                f"`{name}` {'diverged' if fits else 'is not here: raise `--config.search.trials`'}."
            )
    return lines


def _alpha(run: Path, step: int) -> dict[str, float]:
    """The mean weight of each loss, as logged at a step."""
    return next(r["alpha"] for r in report.read_log(run / "metrics.jsonl") if r["step"] == step)


def _seconds(run: Path) -> float:
    """What a contender's trainings took, those of its search among them."""
    trials = run / "search" / "trials.json"
    ended = [run, *frozen_controllers.trainings(run / "search")]
    tried = json.loads(trials.read_text()) if trials.exists() else []
    return sum(json.loads((r / "result.json").read_text())["wall_seconds"] for r in ended) + sum(
        t["seconds"] for t in tried
    )
