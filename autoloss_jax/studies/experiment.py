"""A study from its grid to its files: trainings, tables, pictures and a page."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from autoloss_jax.algorithm import methods
from autoloss_jax.analysis import pictures
from autoloss_jax.distributed import atomic
from autoloss_jax.studies import grid, html_report, record, table
from autoloss_jax.studies.study import Study
from autoloss_jax.training import frozen_controllers


def run(study: Study, workdir: Path, command: str, say: Callable[[str], None]) -> None:
    """Train what is not trained yet, and write the table after each training; pictures and the
    page, which names the `command`, at the end.
    """

    def write(results: grid.Results) -> None:
        runs = record.to_csv((dataclasses.astuple(cell), result) for cell, result in results)
        atomic.write_text(workdir / f"{study.name}-runs.csv", runs)
        rows = table.of_study(grid.by_row(results), study)
        html_report.write(workdir, study.name, rows, command)

    workdir.mkdir(parents=True, exist_ok=True)
    results = grid.run(study, workdir, say, write)
    rows = table.of_study(grid.by_row(results), study)
    write(results)
    html_report.write_pictures(
        workdir, study.name, rows, study.ours, command, _learned(study, workdir)
    )
    print(table.to_markdown(rows) if not study.titles else _for_people(rows))
    say(f"{workdir / study.name}.csv, -runs.csv, .md and .png; {workdir / 'report.html'}")


def _for_people(rows: Sequence[table.Row]) -> str:
    """A table of what a newcomer asks first, and what came out in words."""
    heads = ("", "test AUC", "calibrated logloss", "recovered")
    cells = [
        (
            table.called(row),
            f"{row.auc_mean:.4f}",
            f"{row.logloss_calibrated_mean:.4f}",
            "" if row.gap_auc is None else f"{round(100 * row.gap_auc)} %",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in (heads, *cells)
    ]
    return "\n".join([*lines, "", table.outcome(rows)])


def _learned(study: Study, workdir: Path) -> dict[str, Figure]:
    """Of each dataset's first run of the study's own method, what its controller learned."""
    found = {}
    for cell in grid.cells(study):
        if (cell.model, cell.method, cell.seed) != (study.models[0], study.ours[-1], 0):
            continue
        run = workdir / "runs" / cell.folder
        if not run.exists():  # the training was known from an earlier study
            continue
        if methods.row(grid.described(study, cell).method).has_controller:
            searches = frozen_controllers.finished(run / "search")
            for name, figure in pictures.of(searches[0] if searches else run).items():
                found[f"{table.short(cell.dataset)}: {name}"] = figure
    return found
