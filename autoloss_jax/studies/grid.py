"""A study is a grid of trainings, (dataset, model, method, seed), and a table of what they gave.

A dataset is a file of configs/ with :variant, a method a name; either may be followed by config
keys, as "frappe:paper data.missing=0.4" or "autoloss method.every=3". Several processes may work
on one study at the same time.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import re
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoloss_jax import config
from autoloss_jax.algorithm import methods
from autoloss_jax.config import Config, library, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import documents
from autoloss_jax.distributed.bar import Bar
from autoloss_jax.search import train, trials, tune
from autoloss_jax.studies import raw, record
from autoloss_jax.studies.study import Study
from autoloss_jax.training import defaults, frozen_controllers, workdirs


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a study."""

    dataset: str
    model: str
    method: str
    seed: int

    @property
    def row(self) -> tuple[str, str, str]:
        """Its row in the table, whose seeds share their programs."""
        return self.dataset, self.model, self.method

    @property
    def folder(self) -> str:
        """Its name among the runs; of a long one the beginning, and a sum of all of it."""
        name = f"{self.dataset}-{self.model}-{self.method}-{self.seed}"
        plain = re.sub(r"[^A-Za-z0-9_.=-]+", "_", name)
        if len(plain) <= LONGEST:
            return plain
        return f"{plain[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


LONGEST = 200  # characters of a folder's name; file systems allow 255, with what is added to it
Results = list[tuple[Cell, dict[str, Any]]]
Say = Callable[[str], None]


def cells(study: Study) -> Iterator[Cell]:
    """All of them, seed by seed, so that every row of the table fills evenly."""
    for seed, dataset, model, method in itertools.product(
        range(study.seeds), study.datasets, study.models, study.methods
    ):
        yield Cell(dataset, model, method, seed)


def run(
    study: Study, workdir: Path, say: Say, watch: Callable[[Results], None] = lambda results: None
) -> Results:
    """The result of every cell. Finished ones are read, a killed one goes on where it was.

    One that another process is training is left to it, and waited for at the end. `watch` sees
    the results so far after each training.
    """
    order = list(cells(study))
    known = {
        Cell(*key): result
        for path in study.known
        for key, result in record.read(Path(path)).items()
    }
    found = {cell: known[cell] for cell in order if cell in known}
    for cell in order[: len(order) // study.seeds]:
        described(study, cell)  # a slip in the last row is said before the first is trained
    with Bar(f"{study.name}, trainings", len(order), len(found)) as bar:
        while left := [cell for cell in order if cell not in found]:
            if (trained := _first_free(study, left, workdir, say, bar)) is None:
                bar.note("waiting for what other processes train")
                time.sleep(1)
                continue
            cell, found[cell] = trained
            bar.step(len(found))
            watch([(c, found[c]) for c in order if c in found])
    return [(cell, found[cell]) for cell in order]


def _first_free(
    study: Study, order: list[Cell], workdir: Path, say: Say, bar: Bar
) -> tuple[Cell, dict[str, Any]] | None:
    """The first of these cells that no other process is training, with its result; None: all are
    in other hands.

    A row of which another process trains some seed comes last: it may be compiling for all seeds.
    """
    taken: set[tuple[str, str, str]] = set()
    for rows_taken_too in (False, True):
        for cell in order:
            if cell.row in taken and not rows_taken_too:
                continue
            bar.note(f"{cell.dataset} {cell.model} {cell.method} seed {cell.seed}")
            with contextlib.suppress(workdirs.Busy):
                return cell, _result(study, cell, workdir, say)
            taken.add(cell.row)
    return None


def _result(study: Study, cell: Cell, workdir: Path, say: Say) -> dict[str, Any]:
    """Of one cell, and before it whatever belongs to all seeds, or to another cell that it
    builds upon.
    """
    cfg, first = config_of(study, cell, workdir, say), dataclasses.replace(cell, seed=0)
    if study.over:
        cfg = settings.with_keys(cfg, _tuned(study, cell, workdir, say))
    if cfg.method.transfer_from:
        source = _source(study, cell, cfg.method.transfer_from)
        _result(study, source, workdir, say)
        cfg = settings.with_keys(
            cfg, {"method.transfer_from": str(workdir / "runs" / source.folder)}
        )
    folder = workdir / "runs" / cell.folder
    searched = folder / "search"
    if not methods.row(cfg.method).per_seed:  # the search of the first seed serves all
        searched = workdir / "search" / first.folder
        given = train.found(settings.with_keys(cfg, {"run.seed": 0}), searched, say, shown=False)
        cfg = dataclasses.replace(cfg, method=given.method)
    result = train.train(cfg, folder, lambda _: None, shown=False)
    return result | {
        "seconds": _seconds(result, result["best_step"]) + _search_seconds(result, searched)
    }


def _seconds(result: dict[str, Any], steps: int) -> float:
    """Of that many training steps of a run."""
    return steps * result["config"]["train"]["batch_size"] / result["examples_per_second"]


def _search_seconds(result: dict[str, Any], folder: Path) -> float:
    """Of the trainings, or of the epochs of all trials, that came before; 0 without a search."""
    if ended := frozen_controllers.trainings(folder):
        searches = [workdirs.read_result(run) for run in ended]
        return sum(_seconds(searched, searched["steps"]) for searched in searches)
    if (folder / "trials.json").exists():
        evaluations = sum(
            t["evaluations"] for t in documents.read(folder / "trials.json", trials.TRIALS)
        )
        return evaluations * _seconds(result, result["steps"]) / result["epochs"]
    return 0.0


def _tuned(study: Study, cell: Cell, workdir: Path, say: Say) -> dict[str, Any]:
    """The best of `study.over`, for the method's training itself where it wraps one: its static
    or searched loss.
    """
    first = dataclasses.replace(cell, seed=0)
    cfg = config_of(study, first, workdir, say)
    cfg = tune.own_training(cfg)
    keys = {"search.over": study.over, "search.trials": study.trials, "run.seed": 0}
    here = workdir / "tune" / first.folder
    return tune.tune(settings.with_keys(cfg, keys), here, say)


def _source(study: Study, cell: Cell, method: str) -> Cell:
    """The cell whose controller, or whose loss, a cell takes."""
    if not study.searched_on:
        return dataclasses.replace(cell, method=method)
    dataset, _, model = study.searched_on.rpartition(" ")
    return Cell(dataset, model, method, cell.seed)


def config_of(study: Study, cell: Cell, workdir: Path, say: Say) -> Config:
    """The config that trains a cell; its data are where they are said to be, or made."""
    cfg, name = described(study, cell), cell.dataset.partition(" ")[0]
    if not cfg.data.generate:
        cfg = settings.with_keys(cfg, {"data.path": str(raw.path(study.raw, name, workdir, say))})
    return config.check(defaults.resolved(cfg, workdir / name.partition(":")[0], say))


def described(study: Study, cell: Cell) -> Config:
    """The same but for the data; UserError for a config, a key, a method or a loss that is not
    there.
    """
    dataset, data_keys = _spec(cell.dataset)
    method, method_keys = _spec(cell.method)
    name, _, variant = dataset.partition(":")
    chosen = {
        "data.cache": study.cache,
        "data.train_on_trusted": study.train_on_trusted,
        "model.name": cell.model,
        "method.name": method,
        "run.seed": cell.seed,
        "run.compare": (),
    }
    cfg = settings.with_keys(_load(name, variant, cell.model), chosen)
    cfg = settings.with_keys(cfg, settings.parsed(cfg, data_keys | method_keys))
    methods.check(cfg.method)
    return cfg


def _spec(text: str) -> tuple[str, dict[str, str]]:
    """A name and the config keys after it."""
    name, *keys = text.split()
    return name, {k: value for k, _, value in (key.partition("=") for key in keys)}


def _load(name: str, variant: str, model: str) -> Config:
    """The config of a file of configs/, without a variant in the model's if it has one;
    UserError for no such file.
    """
    known = library.trainings()
    if name not in known:
        raise UserError(
            f"--config.datasets: {name!r} is not one of "
            f"{', '.join(known)}{settings.nearest(name, known)}"
        )
    values = runpy.run_path(str(known[name]))
    return values["get_config"](variant or (model if model in values["VARIANTS"] else ""))


def by_row(results: Results) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """(dataset, model, method) -> results, seed by seed, in the order of a table."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for cell, result in results:
        rows.setdefault(cell.row, []).append(result)
    return rows
