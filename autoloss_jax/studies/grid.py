"""A study is a grid of trainings, (dataset, model, method, seed), and a table of what they gave."""

import dataclasses
import itertools
import re
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from autoloss_jax import config, report, settings
from autoloss_jax.config import Config
from autoloss_jax.data import synthetic
from autoloss_jax.search import train
from autoloss_jax.settings import UserError, key


@dataclasses.dataclass
class Study:
    """What a file of configs/studies describes."""

    name: str = key("", "what its files are called")
    datasets: tuple[str, ...] = key(
        (), "files of configs/, with :variant; without, in the variant of the model's name if there is one"
    )
    models: tuple[str, ...] = key((), "recommenders")
    methods: tuple[str, ...] = key((), "ways of choosing a loss")
    ours: str = key("autoloss", "the method that is tested against the best of the others")
    seeds: int = key(10, "seeds 0, 1, ... of every row", low=1)
    fold_in_val: bool = key(False, "methods that do not search train on the controller's share of val too")
    raw: str = key("", "the folder of the raw data, a file or folder in it for each dataset")
    cache: str = key("", "folder of prepared datasets, as data.cache of a training")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a study."""

    dataset: str
    model: str
    method: str
    seed: int

    @property
    def folder(self) -> str:
        """Its name among the runs."""
        return re.sub(r"[^A-Za-z0-9_.=-]", "_", f"{self.dataset}-{self.model}-{self.method}-{self.seed}")


def cells(study: Study) -> Iterator[Cell]:
    """All of them, in the order of a table; seed by seed within, so that every row fills evenly."""
    for dataset, model in itertools.product(study.datasets, study.models):
        for seed, method in itertools.product(range(study.seeds), study.methods):
            yield Cell(dataset, model, method, seed)


def config_of(study: Study, cell: Cell, workdir: Path, say: Callable[[str], None]) -> Config:
    """The config that trains a cell."""
    name, _, variant = cell.dataset.partition(":")
    cfg = _load(name, variant, cell.model)
    chosen = {
        "data.cache": study.cache,
        "data.fold_in_val": study.fold_in_val,
        "model.name": cell.model,
        "method.name": cell.method,
        "run.seed": cell.seed,
        "run.compare": (),
    }
    if not cfg.data.generate:
        path = Path(study.raw) / RAW.get(name, name)
        if not study.raw or not path.exists():
            raise UserError(f"--config.raw={study.raw}: {path} is not there; name the folder that holds it")
        chosen["data.path"] = str(path)
    return config.check(synthetic.generated(settings.with_keys(cfg, chosen), workdir / name, say))


def _load(name: str, variant: str, model: str) -> Config:
    """The config of a file of configs/, without a variant in the model's if it has one; UserError for no such file."""
    path = CONFIGS / f"{name}.py"
    known = sorted(p.stem for p in CONFIGS.glob("*.py"))
    if name not in known:
        raise UserError(
            f"--config.datasets: {name!r} is not one of {', '.join(known)}{settings.nearest(name, known)}"
        )
    values = runpy.run_path(str(path))
    return values["get_config"](variant or (model if model in values["VARIANTS"] else ""))


CONFIGS = Path(__file__).parents[2] / "configs"
RAW = {
    "frappe": "frappe_x1",
    "movielens1m": "movielens1m/ratings.dat",
}  # where a dataset is in the raw folder


def run(study: Study, workdir: Path, say: Callable[[str], None]) -> list[tuple[Cell, dict[str, Any]]]:
    """The result of every cell. Finished ones are read, a killed one goes on where it was."""
    todo, results = list(cells(study)), []
    with report.Bar(f"{study.name}, trainings", len(todo), 0) as bar:
        for number, cell in enumerate(todo):
            bar.note(f"{cell.dataset} {cell.model} {cell.method} seed {cell.seed}")
            results.append((cell, _result(study, cell, workdir, say)))
            bar.step(number + 1)
    return results


def _result(study: Study, cell: Cell, workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    cfg = config_of(study, cell, workdir, say)
    if cell.method in train.SHARED:  # the search of the first seed serves all
        first = dataclasses.replace(cell, seed=0)
        given = train.found(config_of(study, first, workdir, say), workdir / "search" / first.folder, say)
        cfg = dataclasses.replace(cfg, method=given.method)
    return train.train(cfg, workdir / "runs" / cell.folder, lambda _: None, shown=False)


def by_row(
    results: Sequence[tuple[Cell, dict[str, Any]]],
) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """(dataset, model, method) -> results, seed by seed."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for cell, result in results:
        rows.setdefault((cell.dataset, cell.model, cell.method), []).append(result)
    return rows
