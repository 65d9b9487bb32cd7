"""autoloss inspect DIR [--top=3] [--json] [--verify]: what a prepared dataset,
or that of a run, holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoloss_jax.cli import app
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic

if TYPE_CHECKING:  # Rich and Polars are imported where they are used, after the flags
    from rich.table import Table
    from rich.text import Text


def tables(found: dict[str, Any]) -> list[Table]:
    """What `describe` found, as a table of splits and one of fields."""
    from rich.text import Text

    from autoloss_jax.data.store import SPLITS

    binary = found["classes"] == 2
    splits = _table(
        "split", "rows", *(["positive"] if binary else [f"y={c}" for c in range(found["classes"])])
    )
    for split in SPLITS:
        shares = found["labels"][split][1:] if binary else found["labels"][split]
        splits.add_row(split, f"{found['rows'][split]:,}", *map(_percent, shares))
    fields = _table("field", "vocabulary", "slots", *(f"oov {s}" for s in SPLITS))
    fields.add_column("kind", no_wrap=True)
    fields.add_column("most frequent in train", no_wrap=True)
    for field in found["fields"]:
        rates = map(_percent, field["oov"].values())
        sizes = (f"{field['vocabulary']:,}", str(field["slots"]))
        fields.add_row(_shown(field["name"]), *sizes, *rates, field["kind"], Text(_notes(field)))
    return [splits, fields, *map(_context, found.get("context", ()))]


MOST_VALUES = 20  # of a context field in the table; JSON has all


def _context(field: dict[str, Any]) -> Table:
    """The label rates of train and of trusted rows, by value of a context field."""
    table = _table(
        _shown(field["name"]), "rows", "positive", "trusted rows", "positive of them", "ratio"
    )
    for value in field["values"][:MOST_VALUES]:
        rates = [value[f"{w}_positive"] / max(value[w], 1) for w in ("train", "trusted")]
        ratio = f"{rates[0] / rates[1]:.2f}" if rates[1] and value["train"] else "-"
        cells = [
            cell
            for which, rate in zip(("train", "trusted"), rates, strict=True)
            for cell in (f"{value[which]:,}", _percent(rate) if value[which] else "-")
        ]
        table.add_row(_shown(value["value"]), *cells, ratio)
    if (more := len(field["values"]) - MOST_VALUES) > 0:
        table.add_row(f"... {more:,} more values, in --json")
    return table


def _table(first: str | Text, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _notes(field: dict[str, Any]) -> str:
    """The last cell of a field: its commonest values, or, where it is fed as a number, on what
    scale.
    """
    if "scale" in field:
        scale = field["scale"]
        if scale["fed_from"] > scale["fed_to"]:
            return "blank in all of train"
        return "mean {mean:.4g}, deviation {deviation:.4g}; fed as {fed_from:.3g} .. {fed_to:.3g}".format(  # noqa: E501
            **scale
        )
    values = ", ".join(f"{_shown(v['value'])} {_percent(v['share'])}" for v in field["top"])
    return values + (f"; {field['values_per_row']:.2f} values a row" if field["slots"] > 1 else "")


def _shown(value: str) -> Text:
    from rich.text import Text

    from autoloss_jax.data import inspection

    return Text(inspection.printable(value))


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def main() -> None:
    """Print what the folder on the command line holds."""
    parser = app.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="a prepared dataset, or the workdir of a run")
    parser.add_argument("--top", type=int, default=3, help="values of each field to show (3)")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_argument(
        "--verify", action="store_true", help="first compare every file with its checksum"
    )
    asked = parser.parse_args()
    if asked.top < 0:
        raise UserError(f"--top={asked.top}: must be at least 0")
    from autoloss_jax.data import inspection

    data = inspection.find(asked.folder)
    if asked.verify:
        data.verify()
    found = inspection.describe(data, asked.top)
    if of_run := inspection.asked(asked.folder):
        found["context"] = inspection.label_rates(data, of_run)
    if asked.json:
        print(json.dumps(atomic.finite(found), allow_nan=False))
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.width = console.width if console.is_terminal else 1000
    console.print(
        Text(
            f"{found['name']} ({found['format']}): {sum(found['rows'].values()):,} rows, "
            f"{len(found['fields'])} fields, "
            f"{found['values']:,} values, {found['classes']} classes, {found['skipped']:,} rows "
            f"left out\n{found['path']}"
        )
    )
    for table in tables(found):
        console.print()
        console.print(table)


if __name__ == "__main__":
    app.run(main)
