"""What there is to know about a finished run, or about one config from several seeds, as numbers:
`TrainedRun.explain()`. The page of a report is made of this and of nothing else.
"""

import dataclasses
import runpy
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.algorithm import methods
from autoloss_jax.analysis import (
    contexts,
    controllers,
    importance,
    reliability,
    significance,
)
from autoloss_jax.config import Config, library, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import inspection, store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.store import Store
from autoloss_jax.training import (
    baselines,
    checkpoint,
    frozen_controllers,
    metrics,
    prediction,
    report,
    splits,
    workdirs,
)
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.metrics import Calibration

MOST_ROWS = 200_000  # of test, for calibration curves and scores
OF_SEED = {"run.seed", "method.transfer_from", "method.static", "method.first_model"}
Say = Callable[[str], None]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The figures of a report. A part that could not be made is empty, and `missing` says why.

    Attributes:
        about: what the run is: "sentence", "dataset", "model", "method", "loss" (in words),
            "classes", "context", "trusted" and "folds" of the config, "weights_see" (whether the
            weights depend on the context), "runs" (folders), "seeds", "num_examples", "best_steps",
            "python" (code that trains it again), "judged_on" ("test", or "validation" where there
            are no test rows).
        outcome: "what" (each run, then the yardsticks), "auc", "logloss", "logloss_calibrated",
            on the rows that it is judged on; so is all that follows.
        auc_error: the standard error of the first run's AUC, from how many rows test has; None for
            several classes, or where test is gone.
        learning: "run", "step", "epoch", "loss", "auc", "logloss"; the last two are validation's,
            null where it was not evaluated.
        seconds: "run", "part", "seconds".
        settings: "key", "value", "default" of the config, "changed" where these differ.
        versions: package -> version.
        rates: field -> label rates by value, in train and among trusted rows (`contexts.rates`).
        beliefs: kind of label noise -> its rates that the run believes (`contexts.beliefs`).
        reliability: "before", "after" calibration -> a calibration curve (`reliability.curve`).
        scores: "label", "low", "high", "share" (`reliability.histogram`).
        importance: "field", "drop", "deviation", of AUC (`importance.by_field`).
        weights: of the candidates over predictions (`controllers.over_paths`).
        losses: learned, over the logit (`controllers.over_paths`).
        weights_by_value: field -> the same by its value (`controllers.by_value`).
        spread: of the mean weights over draws of the controller (`controllers.spread`).
        verdict: whether the learned loss differs from the mixture that it began with.
        rows: part -> how many rows it is about.
        missing: part -> why it is not here.

    Example: `autoloss_jax.load("runs/clicks").explain().importance`
    """

    about: Mapping[str, Any]
    outcome: pl.DataFrame
    learning: pl.DataFrame
    seconds: pl.DataFrame
    settings: pl.DataFrame
    versions: Mapping[str, str]
    auc_error: float | None = None
    beliefs: Mapping[str, pl.DataFrame] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, pl.DataFrame] = dataclasses.field(default_factory=dict)
    reliability: Mapping[str, pl.DataFrame] = dataclasses.field(default_factory=dict)
    scores: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)
    importance: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)
    weights: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)
    losses: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)
    weights_by_value: Mapping[str, pl.DataFrame] = dataclasses.field(default_factory=dict)
    spread: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)
    verdict: str = ""
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)


def of(folders: Sequence[Path], say: Say = lambda text: None) -> Explanation:
    """The explanation of a run, or of several of one config with other seeds.

    Label rates, calibration and importance are those of the first run. `say` takes a line where
    something takes long, or is left out.

    Raises:
        UserError: if a folder holds no finished run, or the configs differ in more than the seed.
    """
    runs = [_Run(folder, workdirs.read_result(folder)) for folder in folders]
    _refuse_others(runs)
    parts, found = _Parts(say), _of_files(runs)
    found["beliefs"] = parts("rates", lambda: contexts.beliefs(runs[0].workdir, runs[0].source), {})
    loaded = parts("model", lambda: [_load(run) for run in runs], [])
    if loaded:
        rows = parts("data", lambda: _Rows.open(runs[0], loaded[0], parts), None)
        found |= parts("model", lambda: _of_controllers(runs, loaded, rows), {})
        if rows:
            found |= _of_rows(runs[0], loaded[0], rows, parts)
            found["outcome"] = pl.concat([found["outcome"], found.pop("yardsticks")])
    return Explanation(**found, missing=parts.missing)


class _Run(NamedTuple):
    """What a run's folder tells without its checkpoint."""

    workdir: Path
    result: dict[str, Any]

    @property
    def cfg(self) -> Config:
        return config.from_dict(self.result["config"])

    @property
    def name(self) -> str:
        return f"seed {self.cfg.run.seed}"

    @property
    def judged_on(self) -> str:
        """The rows of its figures: test, or, where there are none, those that decided."""
        return "test" if self.result["num_examples"]["test"] else "val"

    @property
    def source(self) -> str:
        """The run whose controller it has, or nothing."""
        return self.cfg.method.transfer_from


@dataclasses.dataclass(frozen=True)
class _Parts:
    """Makes parts, and notes which cannot be made."""

    say: Say
    missing: dict[str, str] = dataclasses.field(default_factory=dict)

    def __call__(self, name: str, make: Callable[[], T], otherwise: T) -> T:
        """`make()`; `otherwise` where what it needs is gone or damaged."""
        try:
            return make()
        except UserError as error:
            self.missing[name] = str(error)
            self.say(f"left out: {name}: {error}")
            return otherwise


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows of a run."""

    data: Store
    labels: np.ndarray  # of train, as they were learned from
    trusted: host.Split | None  # None: their file is gone
    by_use: baselines.Rows

    @classmethod
    def open(cls, run: _Run, loaded: Loaded, parts: _Parts) -> "_Rows":
        """UserError where the dataset is gone."""
        data = _dataset(run, loaded, parts.say)
        train = splits.train_rows(loaded.run, data)
        trusted = parts("trusted rows", lambda: splits.trusted_rows(loaded.run, data), None)
        learned = (train,) if trusted is None else splits.teachers(loaded.run, train, trusted)[0]
        test = val = splits.val_rows(loaded.run, data)
        if run.judged_on == "test":
            test = loaded.run.with_context(data.schema, data.split("test"))
        by_use = baselines.Rows(learned, val, test)
        return cls(data, train["y"], trusted, by_use)

    def sample(self, size: int) -> host.Split:
        """At most `size` rows of test, the same each time."""
        rows = len(self.by_use.test["y"])
        chosen = np.random.default_rng(0).choice(rows, min(rows, size), replace=False)
        return host.gather((self.by_use.test,), np.sort(chosen))


def _refuse_others(runs: Sequence[_Run]) -> None:
    """UserError unless the runs differ in their seed alone."""
    first, known = runs[0], set()
    for run in runs:
        for (name, value, _), (_, wanted, _) in zip(
            settings.keys(run.cfg), settings.keys(first.cfg), strict=True
        ):
            if value != wanted and name not in {*OF_SEED, *workdirs.MOVABLE}:
                raise UserError(
                    f"{run.workdir}: {name}={value!r}, where {first.workdir} has {wanted!r}; name "
                    "runs of one config, which differ in run.seed alone"
                )
        if run.cfg.run.seed in known:
            raise UserError(
                f"{run.workdir}: another of these runs has run.seed={run.cfg.run.seed}, too; name "
                "runs with different seeds"
            )
        known.add(run.cfg.run.seed)


def _load(run: _Run) -> Loaded:
    return checkpoint.load(checkpoint.best(run.workdir))


def _dataset(run: _Run, loaded: Loaded, say: Say) -> Store:
    """The prepared dataset of a run, prepared again if it must be and can; else UserError."""
    try:
        return inspection.find(run.workdir)
    except UserError as error:
        gone = error
    try:
        same = pipeline.fingerprint(loaded.run.data) == loaded.schema.fingerprint
    except UserError as error:
        raise UserError(
            f"{run.workdir}: its prepared dataset is gone, and so are its raw data ({error})"
        ) from gone
    if not same:
        raise UserError(
            f"{run.workdir}: its prepared dataset is gone, and {loaded.cfg.data.path} has changed "
            "since"
        )
    return pipeline.prepare(loaded.run.data, say)


def _of_files(runs: Sequence[_Run]) -> dict[str, Any]:
    """What result.json and metrics.jsonl tell."""
    try:
        return {
            "about": _about(runs),
            "outcome": _outcome([(run.name, run.result[run.judged_on]) for run in runs]),
            "learning": pl.concat([_learning(run) for run in runs]),
            "seconds": pl.concat([_seconds(run) for run in runs]),
            "settings": _settings(runs[0].cfg),
            "versions": runs[0].result["versions"],
        }
    except KeyError as error:
        raise UserError(
            f"{runs[0].workdir}: result.json or metrics.jsonl lacks {error}; train the run again"
        ) from error


LABELS = {"ratings": "the rating", "tabular": "{}"}  # by the format of the data, else the click


def _about(runs: Sequence[_Run]) -> dict[str, Any]:
    result, cfg = runs[0].result, runs[0].cfg
    schema, rows = store.read_schema(runs[0].workdir), result["num_examples"]
    label = LABELS.get(cfg.data.format, "the click").format(cfg.data.label)
    loss, inputs = methods.description(cfg), schema.num_inputs
    seeds = [run.cfg.run.seed for run in runs]
    one = cfg.model.members == 1
    what = f"A {cfg.model.name} that predicts" if one else f"{cfg.model.label}, which predict"
    together = "" if one else " by the mean of their logits,"
    several = f" {len(runs)} runs, of seeds {', '.join(map(str, seeds))}." if len(runs) > 1 else ""
    return {
        "sentence": f"{what} {label} from {inputs} columns,{together} trained on "
        f"{rows['train']:,} rows and tested on {rows[runs[0].judged_on]:,}. Its loss: "
        f"{loss}.{several}",
        "judged_on": {"val": "validation"}.get(runs[0].judged_on, runs[0].judged_on),
        "dataset": result["dataset"],
        "model": cfg.model.label,
        "method": cfg.method.name,
        "loss": loss,
        "classes": schema.num_classes,
        "context": cfg.data.context,
        "trusted": cfg.data.trusted,
        "folds": cfg.method.folds,
        "weights_see": bool(cfg.data.context) and methods.row(cfg.method).sees_context,
        "runs": [str(run.workdir) for run in runs],
        "seeds": seeds,
        "num_examples": rows,
        "best_steps": {run.name: run.result["best_step"] for run in runs},
        "python": _python(runs[0]),
        "command": _command(runs[0]),
    }


def _python(run: _Run) -> str:
    """Code that trains the run again."""
    changed = _settings(run.cfg).filter("changed")
    keys = "".join(f"        {k!r}: {v},\n" for k, v in changed.select("key", "value").iter_rows())
    return (
        "import autoloss_jax\n\nautoloss_jax.train(\n    autoloss_jax.Config().replace({\n"
        f"{keys}    }}),\n    {str(run.workdir)!r},\n)"
    )


def _command(run: _Run) -> str:
    """What is typed to train the run again: the config of its data's name, if one comes with the
    package, and what the run has otherwise.
    """
    known = library.trainings()
    name = run.cfg.data.name if run.cfg.data.name in known else "tabular"
    base = runpy.run_path(str(known[name]))["get_config"]()
    pairs = zip(settings.keys(run.cfg), settings.keys(base), strict=True)
    other = {key: value for (key, value, _), (_, was, _) in pairs if value != was}
    words = [f"--config={name}", *settings.as_flags(other), f"--workdir={run.workdir}"]
    return shlex.join(["autoloss", "train", *words])


def _outcome(figures: Sequence[tuple[str, Mapping[str, Any]]]) -> pl.DataFrame:
    names = ("auc", "logloss", "logloss_calibrated")
    columns = {"what": pl.String} | dict.fromkeys(names, pl.Float64)
    lines = [(what, *(of.get(name) for name in names)) for what, of in figures]
    return pl.DataFrame(lines, schema=columns, orient="row")


def _learning(run: _Run) -> pl.DataFrame:
    lines = []
    for record in report.read_log(run.workdir / "metrics.jsonl"):
        val = record.get("val") or {}
        figures = (record.get("loss"), val.get("auc"), val.get("logloss"))
        lines.append((run.name, record["step"], record.get("epoch"), *figures))
    names = ("epoch", "loss", "auc", "logloss")
    columns = {"run": pl.String, "step": pl.Int64} | dict.fromkeys(names, pl.Float64)
    return pl.DataFrame(lines, schema=columns, orient="row")


def _seconds(run: _Run) -> pl.DataFrame:
    """What a run's seconds went to, as far as it knows; the rest is not told apart."""
    result = run.result
    compiling, wall = result["compile_seconds"], result["wall_seconds"]
    examples = result["steps"] * run.cfg.train.batch_size
    steps = min(examples / max(result["examples_per_second"], 1e-9), wall - compiling)
    before = frozen_controllers.trainings(run.workdir / "search")
    seconds = {
        "training steps": steps,
        "compiling the training step": compiling,
        "preparing or opening the data, evaluations, checkpoints": wall - compiling - steps,
        "searches before it": sum(workdirs.read_result(f)["wall_seconds"] for f in before),
    }
    known = [(run.name, part, float(spent)) for part, spent in seconds.items() if spent > 0]
    columns = {"run": pl.String, "part": pl.String, "seconds": pl.Float64}
    return pl.DataFrame(known, schema=columns, orient="row")


def _settings(cfg: Config) -> pl.DataFrame:
    lines = [
        (name, repr(value), repr(default), value != default)
        for (name, value, _), (_, default, _) in zip(
            settings.keys(cfg), settings.keys(Config()), strict=True
        )
    ]
    return pl.DataFrame(lines, schema=["key", "value", "default", "changed"], orient="row")


def _of_rows(run: _Run, loaded: Loaded, rows: _Rows, parts: _Parts) -> dict[str, Any]:
    """What the rows tell: yardsticks, label rates, calibration, importance."""
    asked, classes = loaded.cfg.data, loaded.schema.num_classes
    found: dict[str, Any] = {"rows": {}}
    parts.say("yardsticks: a logistic regression")
    by_use = rows.by_use
    constant = baselines.constant(by_use, rows.data)
    yardsticks = [("one probability for all", baselines.figures(by_use, constant))]
    regression = parts("logistic regression", lambda: baselines.logistic(by_use, rows.data), None)
    if regression:
        yardsticks.append(("logistic regression", baselines.figures(by_use, regression)))
        found["rows"]["logistic regression"] = regression.rows
    found["yardsticks"] = _outcome(yardsticks)
    found["auc_error"] = _auc_error(run, rows, classes)
    if rows.trusted is not None and (asked.trusted or asked.context):
        labels = (rows.labels, rows.trusted["y"])
        found["rates"] = parts("rates", lambda: contexts.rates(rows.data, asked, *labels), {})
    forward = prediction.logits_of(loaded)
    parts.say("calibration")
    known = parts("calibration", lambda: prediction.calibration(run.workdir), None)
    if known:
        sample = rows.sample(MOST_ROWS)
        found["rows"]["calibration"] = len(sample["y"])
        found |= _calibration(known, forward, sample)
    parts.say(f"importance of {loaded.schema.num_inputs} columns")
    sample = rows.sample(importance.sample_size(loaded.schema.num_inputs))
    found["importance"] = parts(
        "importance", lambda: importance.by_field(forward, sample, loaded.schema), pl.DataFrame()
    )
    found["rows"]["importance"] = len(sample["y"])
    return found


def _auc_error(run: _Run, rows: _Rows, classes: int) -> float | None:
    positives, auc = int(np.sum(rows.by_use.test["y"])), run.result[run.judged_on]["auc"]
    if classes > 2 or auc is None:
        return None
    return significance.auc_error(auc, positives, len(rows.by_use.test["y"]) - positives)


def _calibration(
    known: Calibration, forward: importance.Forward, rows: host.Split
) -> dict[str, Any]:
    labels, logits = rows["y"], forward(rows)
    before, after = (reliability.probabilities(z) for z in (logits, metrics.apply(known, logits)))
    made = {"before": reliability.curve(labels, before), "after": reliability.curve(labels, after)}
    return {"reliability": made, "scores": reliability.histogram(labels, before)}


def _of_controllers(
    runs: Sequence[_Run], loaded: Sequence[Loaded], rows: _Rows | None
) -> dict[str, Any]:
    """What the controllers say; nothing of runs without one."""
    first = loaded[0]
    if not first.run.method.has_controller:
        return {}
    pool, classes, al = first.pool, first.schema.num_classes, controllers.alone(first.al)
    drawn = [controllers.draws(one, run.name) for run, one in zip(runs, loaded, strict=True)]
    every = [draw for of_run in drawn for draw in of_run]
    words = {
        name: ["(unknown)", *store.value_names(runs[0].workdir, name, size)]
        for name, size in zip(first.run.sees, al.controller.context, strict=False)
    }
    weights, losses = controllers.over_paths(al, every, pool, classes)
    by_value = controllers.by_value(al, every, pool, classes, words)
    found = {"weights": weights, "losses": losses, "weights_by_value": by_value}
    if rows is None or len(pool) < 2:
        return found
    sample, start = rows.sample(importance.MOST), first.cfg.method.start
    means = pl.concat(
        controllers.means(al, of_run, pool, prediction.logits_of(one)(sample), sample)
        for of_run, one in zip(drawn, loaded, strict=True)
    )
    spread = controllers.spread(means, start)
    verdict = controllers.verdict(spread, len(every), even=not start)
    return found | {"spread": spread, "verdict": verdict}
