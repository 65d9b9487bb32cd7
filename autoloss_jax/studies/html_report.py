"""A study's results as files: CSV, Markdown, a picture, and one page that opens without a
network.
"""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from autoloss_jax.analysis import plots
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
    lines = [_line("th", head), *(_line("td", of_row) for of_row in cells)]
    figures = "\n".join(
        f'<h2>{html.escape(title)}</h2>\n<img alt="{html.escape(title)}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for title, png in pictures.items()
    )
    return PAGE.format(
        name=html.escape(name),
        command=html.escape(command),
        note=html.escape(NOTE),
        lines="\n".join(lines),
        figures=figures,
    )


def _line(tag: str, cells: Sequence[str]) -> str:
    shown = (re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(cell)) for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in shown)}</tr>"


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
td, th {{ border-bottom: 1px solid #ddd; padding: .25em .8em; text-align: left }}
img {{ max-width: 100% }}
code {{ background: #f4f4f4; padding: .2em .4em }}
</style>
<h1>{name}</h1>
<p><code>{command}</code></p>
<table>
{lines}
</table>
<p>{note}.</p>
{figures}
</html>
"""
