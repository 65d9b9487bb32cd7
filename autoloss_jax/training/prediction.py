"""Using a trained run: its figures again, in a new process or on another file, and scores for
new rows.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.algorithm import autoloss
from autoloss_jax.algorithm.state import TrainState
from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import origin, store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.prepare.unfamiliar import Unfamiliar
from autoloss_jax.data.read import formats
from autoloss_jax.distributed import processes, sharding
from autoloss_jax.training import (
    checkpoint,
    evaluation,
    group_metrics,
    metrics,
    score_files,
    scored_rows,
    workdirs,
)
from autoloss_jax.training.checkpoint import Loaded
from autoloss_jax.training.metrics import Calibration
from autoloss_jax.training.scored_rows import Restored, ScoredRows

MAY_CHANGE = (
    "data.path",
    "data.query",
    "data.cache",
    "data.on_bad_row",
    "train.eval_batch_size",
    "mesh.data",
    "mesh.model",
)
GROUP = "group"  # of a part of rows: which group each is of
IGNORED = {*workdirs.MOVABLE, "run.compare"} - {*MAY_CHANGE}  # they say nothing of a score


def load(
    workdir: Path,
    path: Path | None,
    overrides: Mapping[str, Any],
    say: Callable[[str], None] = lambda text: None,
) -> Restored:
    """The checkpoint at `path`, or the best one of `workdir`, with the overrides that may change
    after training.

    Others may repeat what the run was trained with; UserError for one that differs.
    """
    step = checkpoint.newest(path) if path else checkpoint.best(workdir)
    meta = checkpoint.read_meta(step)
    trained = config.from_dict(meta.get("config", {}))
    asked = _asked_of_auto(workdir) or trained
    for name, was in _differing(overrides, trained, asked):
        raise UserError(
            f"--config.{name}={overrides[name]!r}: {workdir} was trained with {was!r}; leave the "
            "flag out, or name as --workdir a run that was trained so (only "
            f"{', '.join(MAY_CHANGE)} may change after training)"
        )
    may = {n: v for n, v in overrides.items() if n in MAY_CHANGE}
    if not {"data.path", "data.query"}.isdisjoint(may):
        asked_of = settings.with_keys(trained, {"data.query": "", **may}).data
        may["data.path"] = origin.here(asked_of, say).path
    if "data.cache" not in may and not _prepared(trained, meta):
        may["data.cache"] = ""  # a run does not say where others write
    loaded = checkpoint.load(step, may)
    fields = {field.name: getattr(loaded, field.name) for field in dataclasses.fields(loaded)}
    return Restored(**fields, trained=trained, asked=asked)


def _prepared(trained: Config, meta: Mapping[str, Any]) -> bool:
    """Whether the dataset of a run lies where it was prepared."""
    known = meta.get("schema", {}).get("fingerprint", "")
    return pipeline.store_folder(trained.data, known).is_dir()


def differing(loaded: Restored, cfg: Config) -> list[str]:
    """The keys in which `cfg` is not what the run was trained with; those that may change, those
    that its method found for itself, and those that it leaves to a rule are none.
    """
    found, left = ("method.static", "method.transfer_from"), settings.left_to_rule(cfg)
    given = {
        name: value
        for name, value, _ in settings.keys(cfg)
        if (value or name not in found) and name not in left
    }
    return [name for name, _ in _differing(given, loaded.trained, loaded.asked)]


def _differing(
    values: Mapping[str, Any], trained: Config, asked: Config
) -> Iterator[tuple[str, Any]]:
    """(Key, what the run has) of the values that neither config has."""
    for (name, was, _), (_, wanted, _) in zip(
        settings.keys(trained), settings.keys(asked), strict=True
    ):
        fixed = name not in MAY_CHANGE and name not in IGNORED
        if fixed and values.get(name, was) not in (was, wanted):
            yield name, wanted


def _asked_of_auto(workdir: Path) -> Config | None:
    """What the command line asked of a run of `auto`, whose own config is that of the method it
    chose; None for any other run.
    """
    begun = workdir / "search" / "config.json"
    if not (workdir / "auto.md").exists() or not begun.exists():
        return None
    return workdirs.read_config(begun.parent)


def calibration(workdir: Path) -> Calibration:
    """What a finished run's early-stopping rows say of its best logits (Platt; a temperature for
    several classes).
    """
    known = workdirs.read_result(workdir).get("calibration")
    if not known:
        raise UserError(
            f"--calibrated: {workdir / 'result.json'} holds no calibration; train the run again, "
            "with this version"
        )
    shift = known["shift"]
    return Calibration(known["scale"], tuple(shift) if isinstance(shift, list) else shift)


def evaluate_run(
    loaded: Restored,
    workdir: Path,
    split: str,
    say: Callable[[str], None],
    calibration: Calibration = metrics.IDENTITY,
    group: str = "",
) -> dict[str, Any]:
    """{"data", "split", "num_examples", "trained_on", "auc", "logloss"} of labelled rows, and,
    within the values of a column `group`, what `group_metrics.figures` gives.

    `split` is train, val, test or all; "" is test for the run's own dataset, and all for other
    files. `say` is told if the run has learned from these rows ("trained_on"), or stopped by
    them. In the run's own dataset, `group` is one of its fields.
    """
    if group and loaded.schema.num_classes > 2:
        raise UserError(f"--group={group}: rankings are for two classes")
    rows = scored_rows.of_evaluation(loaded, split)
    if rows.note:
        say(rows.note)
    logits, groups = [], []
    counted: dict[str, list[np.ndarray]] = {"y": [], "weight": []}
    forward = functools.partial(evaluation.predictions, *_forward(loaded))
    for part in _labelled(loaded, workdir, rows, say, group):
        groups.append(part.pop(GROUP, ()))
        logits.append(forward(part, loaded.cfg.train.eval_batch_size)[0])
        for name, parts in counted.items():
            parts.extend([np.asarray(part[name])] if name in part else [])
    found = {name: np.concatenate(parts) for name, parts in counted.items() if parts}
    if not len(found.get("y", ())):
        raise UserError(
            f"--config.data.path={rows.data.path}: no rows to evaluate on; name another file"
        )
    z = metrics.apply(calibration, np.concatenate(logits))
    what = {
        "data": rows.data.path,
        "split": rows.name,
        "num_examples": len(z),
        "trained_on": rows.trained_on,
    }
    figures = evaluation.figures(found, z)
    figures |= evaluation.of_levels(found, z, formats.levels(rows.data))
    if group:
        figures |= group_metrics.figures(found["y"], z[:, 0], np.concatenate(groups))
    return what | figures


def _labelled(
    loaded: Restored,
    workdir: Path,
    rows: ScoredRows,
    say: Callable[[str], None],
    group: str,
) -> Iterator[dict[str, Any]]:
    """The rows in parts: each split of the run's own dataset, or all of the other files; with the
    column `group` as GROUP, if one is asked for.
    """
    if not rows.splits:
        keep = (group,) if group else ()
        blocks = list(_encode(loaded, workdir, rows, say, labelled=True, keep=keep))
        if left_out := sum(len(block.gaps) for block in blocks):
            say(f"{left_out:,} malformed rows are left out")
        if any(block.num_rows for block in blocks):
            groups = [block.kept[group].to_numpy() for block in blocks if group]
            of_row = {GROUP: np.concatenate(groups)} if group else {}
            yield {**loaded.run.with_context(loaded.schema, pipeline.joined(blocks)), **of_row}
        return
    prepared = processes.chief_first(lambda: pipeline.prepare(rows.data, say))
    place = [loaded.schema.place(group, "--group")] if group else []
    for name in rows.splits:
        split = prepared.split(name)
        found = {GROUP: _known(host.values(split, place)[:, 0])} if group else {}
        yield {**loaded.run.with_context(loaded.schema, split), **found}


def _known(values: np.ndarray) -> np.ndarray:
    """Values of a field, None where one is not of its vocabulary."""
    found = values.astype(object)
    found[values == 0] = None
    return found


def predict(
    loaded: Restored,
    workdir: Path,
    output: Path,
    calibration: Calibration = metrics.IDENTITY,
    say: Callable[[str], None] = lambda text: None,
    keep: tuple[str, ...] = (),
) -> int:
    """Write scores of all rows of the files at data.path, streaming and in their order, to a file
    of the kind that its name says. The files are those without labels, or the training's own.

    One column `score` (the probability of label 1) for a binary task, `score_0` .. `score_{C-1}`
    for C classes, and the `mean` where these are numbers, after the columns of the rows that
    `keep` names. Returns the number of rows. The file appears whole or not at all. UserError for a
    row that is malformed or whose score is not finite; with `data.on_bad_row=skip` its score is
    null, and `say` is told.
    """
    num_classes, levels = loaded.schema.num_classes, formats.levels(loaded.cfg.data)
    names = ["score"] if num_classes == 2 else [f"score_{c}" for c in range(num_classes)]
    of_level = [pl.col(n) * level for n, level in zip(names, levels, strict=False)]
    means = [pl.sum_horizontal(of_level).cast(pl.Float32).alias("mean")] if levels else []
    if taken := sorted({*keep} & {*names, "mean"}):
        raise UserError(f"--keep={taken[0]}: what the scores are called; rename the column")
    asked, rows, without = scored_rows.of_prediction(loaded), 0, []
    score_files.check(output, asked.files)
    if asked.note:
        say(asked.note)
    of_scores = dict.fromkeys(names, pl.Float32)

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal rows
        score = _scorer(loaded, calibration)
        for block in _encode(loaded, workdir, asked, say, labelled=asked.labelled, keep=keep):
            scores = pl.DataFrame(score(block.rows), schema=of_scores)
            found = pl.concat([block.kept, scores], how="horizontal") if keep else scores
            found = _with_gaps(found, block.gaps)
            finite = pl.all_horizontal(pl.col(names).is_finite()).fill_null(False)
            places = rows + found.select(~finite).to_series().arg_true().to_numpy()
            if len(places) and asked.data.on_bad_row == "error":
                raise UserError(
                    f"row {places[0] + 1:,} of the rows to score: its score is not finite; the "
                    "model's weights, or this row's numbers, are out of range; or leave such rows "
                    "without a score with --config.data.on_bad_row=skip"
                )
            rows += found.height
            without.extend(places)
            found = found.with_columns(pl.when(finite).then(pl.col(names)))
            yield found.with_columns(pl.when(finite).then(mean).alias("mean") for mean in means)

    of_mean = {"mean": pl.Float32} if levels else {}
    columns = pl.Schema({**dict.fromkeys(keep, pl.String), **of_scores, **of_mean})
    score_files.write(frames(), columns, output)
    if without:
        say(f"{len(without):,} rows are without a score; the first is row {without[0] + 1:,}")
    return rows


def _scorer(
    loaded: Restored, calibration: Calibration
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Rows -> float32[n, 1], the probability of label 1, or float32[n, C]."""
    forward = functools.partial(evaluation.predictions, *_forward(loaded))
    num_outputs = 1 if loaded.schema.num_classes == 2 else loaded.schema.num_classes

    def score(rows: dict[str, np.ndarray]) -> np.ndarray:
        if not len(rows["x"]):
            return np.zeros((0, num_outputs), np.float32)
        inputs = loaded.run.with_context(
            loaded.schema, {**rows, "y": np.zeros(len(rows["x"]), np.int32)}
        )
        logits, _losses = forward(inputs, loaded.cfg.train.eval_batch_size)
        logits = jnp.asarray(metrics.apply(calibration, logits), jnp.float32)
        return np.asarray(autoloss.probabilities(logits))

    return score


def _with_gaps(rows: pl.DataFrame, gaps: np.ndarray) -> pl.DataFrame:
    """The rows, with a row of nulls for each gap: behind so many of them."""
    if not len(gaps):
        return rows
    places = np.insert(np.arange(rows.height), gaps, rows.height)
    none = rows.clear(1)
    return pl.concat([rows, none])[places]


def logits_of(loaded: Loaded) -> Callable[[host.Split], np.ndarray]:
    """Rows -> logits float64[n, 1] or [n, C] of a checkpoint."""
    forward = functools.partial(evaluation.predictions, *_forward(loaded))
    return lambda rows: forward(rows, loaded.cfg.train.eval_batch_size)[0]


def _forward(
    loaded: Loaded,
) -> tuple[evaluation.Evaluate, jax.sharding.Mesh, TrainState]:
    sharding.check_batch_size(
        loaded.mesh, loaded.cfg.train.eval_batch_size, "train.eval_batch_size"
    )
    return evaluation.program(loaded.al, loaded.mesh), loaded.mesh, loaded.state


def _encode(
    loaded: Restored,
    workdir: Path,
    rows: ScoredRows,
    say: Callable[[str], None],
    *,
    labelled: bool,
    keep: tuple[str, ...] = (),
) -> Iterator[pipeline.Encoded]:
    """Blocks of raw files in the vocabulary of the run; `say` is told in the end what train had
    not.
    """
    (schema, vocabulary), targets = store.load_vocabulary(workdir), store.targets(workdir)
    if schema.fingerprint != loaded.schema.fingerprint:
        raise UserError(f"{workdir}: its vocabulary is not the one of the checkpoint")
    unfamiliar = Unfamiliar(schema)
    for path in rows.files:
        yield from pipeline.encode(
            path,
            rows.data,
            schema,
            vocabulary,
            targets,
            labelled=labelled,
            unfamiliar=unfamiliar,
            keep=keep,
        )
    for line in unfamiliar.lines():
        say(line)
