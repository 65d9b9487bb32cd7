"""A study's results as files: CSV, Markdown, a picture, and one page that opens without a
network.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from autoloss_jax.analysis import page, plots
from autoloss_jax.analysis.page import Chart, Page, Section, Table, image
from autoloss_jax.distributed import atomic
from autoloss_jax.studies import chart, table
from autoloss_jax.studies.table import Row
from autoloss_jax.training import report


def write(folder: Path, name: str, rows: Sequence[Row], command: str) -> None:
    """`name`.csv and `name`.md: the table, the command that made it and the versions it ran
    with.
    """
    versions = ", ".join(f"{package} {version}" for package, version in report.versions().items())
    head = f"# {name}\n\n    {command}\n\n{versions}; seeds 0, 1, ... of each row; {NOTE}\n\n"
    atomic.write_text(folder / f"{name}.csv", table.to_csv(rows))
    atomic.write_text(folder / f"{name}.md", head + table.to_markdown(rows))


NOTE = (
    "mean ± standard deviation over seeds of test figures at the best validation step; best in "
    "bold; * where a tested method is above the best of the others in AUC at p < .05 in a paired "
    "t-test, ** where it is so after Holm's correction too; p of calibrated: the same against the "
    "best of the others in calibrated logloss; s: seconds of training up to the best step, and of "
    "the search before it; in italics: an oracle, which knows what nobody knows"
)


def write_pictures(
    folder: Path,
    name: str,
    rows: Sequence[Row],
    ours: Sequence[str],
    command: str,
    more: Mapping[str, Figure],
) -> None:
    """`name`.png, and report.html with the table, this picture, and more of them by title."""
    pictures = {
        title: plots.png(figure) for title, figure in {name: chart.draw(rows, ours), **more}.items()
    }
    atomic.write_bytes(folder / f"{name}.png", pictures[name])
    atomic.write_text(folder / "report.html", _page(name, rows, command, pictures))


def _page(name: str, rows: Sequence[Row], command: str, pictures: Mapping[str, bytes]) -> str:
    head, *cells = table.to_text(rows)
    caption = "Mean ± standard deviation over seeds, on test"
    shown = Table(caption, [*map(_bold, head)], [[*map(_bold, line)] for line in cells])
    drawn = [Chart(title, image(png, title)) for title, png in pictures.items()]
    sections = [
        Section("Results", tables=[shown], notes=[f"{NOTE}."], code=[("The command:", command)]),
        Section("Pictures", charts=drawn, wide=True),
    ]
    return page.render(Page(name, f"{len(rows)} rows of a study.", sections))


def _bold(cell: str) -> Markup:
    """A cell whose text between ** is bold, as Markdown has it."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", str(escape(cell))))
