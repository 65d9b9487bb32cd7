"""python -m autoloss_jax.studies.run --config=configs/studies/table2.py[:quick] --config.raw=DIR
[--workdir=DIR]

Begun several times with the same --workdir, the processes share the trainings.
"""

import contextlib
import dataclasses
import re
import shlex
import sys
from pathlib import Path

from matplotlib.figure import Figure

from autoloss_jax.analysis import pictures
from autoloss_jax.cli import app
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, processes
from autoloss_jax.studies import grid, page, record, table
from autoloss_jax.training import frozen_controllers


def main() -> None:
    """Train what is not trained yet, and write the table after each training; pictures and the
    page at the end.
    """
    processes.alone("a study")
    workdir, study = app.folder(), app.CONFIG.value
    if not isinstance(study, grid.Study):
        raise UserError("--config: not a study; name a file of configs/studies")
    settings.check(study)

    def write(results: grid.Results) -> None:
        runs = record.to_csv((dataclasses.astuple(cell), result) for cell, result in results)
        atomic.write_text(workdir / f"{study.name}-runs.csv", runs)
        page.write(workdir, study.name, table.rows(grid.by_row(results), study.ours), command())

    workdir.mkdir(parents=True, exist_ok=True)
    results = grid.run(study, workdir, app.say, write)
    rows = table.rows(grid.by_row(results), study.ours)
    write(results)
    page.write_pictures(workdir, study.name, rows, study.ours, command(), _learned(study, workdir))
    print(table.to_markdown(rows))
    app.say(f"{workdir / study.name}.csv, -runs.csv, .md and .png; {workdir / 'report.html'}")


def _learned(study: grid.Study, workdir: Path) -> dict[str, Figure]:
    """Of each dataset's first run of the study's own method, what its controller learned."""
    found = {}
    for cell in grid.cells(study):
        run = workdir / "runs" / cell.folder
        run = next(
            iter(frozen_controllers.finished(run / "search")), run
        )  # where the controller learned
        if (cell.model, cell.method, cell.seed) == (study.models[0], study.ours[-1], 0):
            with contextlib.suppress(UserError):  # a method without a controller
                for name, figure in pictures.of(run).items():
                    found[f"{table.short(cell.dataset)}: {name}"] = figure
    return found


def command() -> str:
    """The command line as another would give it."""
    flags = [
        re.sub(r"^(--(?:config\.raw|config\.cache|workdir))=.*", r"\1=DIR", flag)
        for flag in sys.argv[1:]
    ]
    return shlex.join(["python", "-m", "autoloss_jax.studies.run", *flags])


if __name__ == "__main__":
    app.enter(main, __name__)
