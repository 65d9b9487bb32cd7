"""python -m autoloss_jax.data.inspect DIR [--top=3] [--json] [--verify]: what a prepared dataset, or that of a run, holds."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import rich.console
import rich.table
from rich.text import Text

from autoloss_jax import config, door, report
from autoloss_jax.data import host, preparation, store
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.store import SPLITS, Store
from autoloss_jax.settings import UserError

BLOCK = 1 << 18  # rows in memory at a time
LONGEST = 24  # characters of a value in the table


@dataclasses.dataclass
class Totals:
    """Sums over the rows of train."""

    rows: np.ndarray  # int64[rows of the embedding table]: how often each id occurs, padding left out
    low: np.ndarray  # float64[F]: of numbers as they are fed, where a field is fed as values and not blank
    high: np.ndarray

    @classmethod
    def of(cls, data: Store) -> "Totals":
        """In one pass, block by block; UserError for an id outside its field."""
        schema = data.schema
        sums = cls(
            np.zeros(schema.num_rows, np.int64),
            np.full(schema.num_fields, np.inf),
            np.full(schema.num_fields, -np.inf),
        )
        train = data.split("train")
        for begin in range(0, len(train["y"]), BLOCK):
            block = {name: np.asarray(a[begin : begin + BLOCK]) for name, a in train.items()}
            host.check(block, schema.bounds)
            sums._add(block, schema)
        return sums

    def _add(self, block: dict[str, np.ndarray], schema: Schema) -> None:
        ends = np.cumsum(schema.slots)
        for f, (name, end, width) in enumerate(zip(schema.fields, ends, schema.slots, strict=True)):
            ids = block["x"][:, end - width : end] - schema.offsets[f]
            if width > 1:
                ids = ids[block["v"][:, end - width : end] != 0]
            if name in schema.scales:
                fed = block["v"][:, end - 1][ids[:, 0] == 1]
                self.low[f] = min(self.low[f], fed.min(initial=np.inf))
                self.high[f] = max(self.high[f], fed.max(initial=-np.inf))
            mine = slice(schema.offsets[f], schema.offsets[f] + schema.vocab_sizes[f])
            self.rows[mine] += np.bincount(ids.ravel(), minlength=schema.vocab_sizes[f])


def find(folder: Path) -> Store:
    """The prepared dataset in a folder, or that of the run in it; UserError if it is neither, or the dataset is gone."""
    if not (folder / store.SCHEMA).is_file():
        raise UserError(f"{folder}: no prepared dataset and no run: there is no {store.SCHEMA} in it")
    path = folder / "config.json"
    if not path.exists():
        return store.open_store(folder)
    schema = store.read_schema(folder)
    try:
        data = config.from_dict(json.loads(path.read_text())).data
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    home = preparation.store_folder(data, schema.fingerprint)
    if not home.is_dir():
        raise UserError(
            f"{folder}: its dataset is not in {home}; the command that trained it prepares it again"
        )
    return store.open_store(home)


def describe(data: Store, top: int = 3) -> dict[str, Any]:
    """What is there to know before training, as plain values: sizes, shares of labels, and per field its `top` values."""
    schema, vocabulary = store.load_vocabulary(data.path)
    words = {str(name): part["value"] for (name,), part in vocabulary.group_by("field", maintain_order=True)}
    sums = Totals.of(data)
    return {
        "path": str(data.path),
        "name": schema.name,
        "format": schema.format,
        "classes": schema.num_classes,
        "rows": dict(schema.num_examples),
        "skipped": schema.num_skipped,
        "values": schema.num_rows,
        "labels": {split: _labels(data, split) for split in SPLITS},
        "fields": [_field(schema, f, words.get(name), sums, top) for f, name in enumerate(schema.fields)],
    }


def _field(schema: Schema, f: int, words: pl.Series | None, sums: Totals, top: int) -> dict[str, Any]:
    """The same of one field; `words` are its values in the order of ids, which leave out the first; None: no one knows."""
    name, begin = schema.fields[f], int(schema.offsets[f])
    counts = sums.rows[begin : begin + schema.vocab_sizes[f]]
    seen = max(int(counts.sum()), 1)
    field = {
        "name": name,
        "kind": _kind(schema, f),
        "vocabulary": schema.vocab_sizes[f],  # with the out-of-vocabulary row
        "slots": schema.slots[f],
        "values_per_row": seen / schema.num_examples["train"],
        "oov": {split: schema.oov_rate[split][f] for split in SPLITS},
        "top": [
            {
                "value": f"row {1 + i}" if words is None else _word(schema, name, words[i]),
                "count": n,
                "share": n / seen,
            }
            for i in np.argsort(-counts[1:], kind="stable")[:top].tolist()
            for n in (int(counts[1 + i]),)
        ],
    }
    if name in schema.scales:
        scale = (*schema.scales[name], float(sums.low[f]), float(sums.high[f]))
        field["scale"] = dict(zip(("mean", "deviation", "fed_from", "fed_to"), scale, strict=True))
    return field


def _kind(schema: Schema, f: int) -> str:
    name = schema.fields[f]
    kinds = {
        "hash": name in schema.hashed,
        "value": name in schema.scales,
        "bucket": name in schema.buckets,
        "bag": schema.slots[f] > 1,
    }
    return next((kind for kind, holds in kinds.items() if holds), "category")


def _word(schema: Schema, name: str, word: str) -> str:
    """A value as its source has it; a bucket as the interval that it is."""
    if name not in schema.buckets or not word:
        return word
    edges = ["-inf", *(f"{cut:g}" for cut in schema.buckets[name]), "inf"]
    return f"[{edges[int(word)]}, {edges[int(word) + 1]})"


def _labels(data: Store, split: str) -> list[float]:
    """The share of each class among a split's rows."""
    classes, labels = data.schema.num_classes, data.split(split)["y"]
    counts = np.zeros(classes, np.int64)
    for begin in range(0, len(labels), BLOCK):
        block = labels[begin : begin + BLOCK]
        if block.min() < 0 or block.max() >= classes:
            raise UserError(f"{data.path}: {split} holds labels outside 0..{classes - 1}; delete the folder")
        counts += np.bincount(block, minlength=classes)
    return (counts / max(counts.sum(), 1)).tolist()


def tables(found: dict[str, Any]) -> list[rich.table.Table]:
    """What `describe` found, as a table of splits and one of fields."""
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
    return [splits, fields]


def _table(first: str, *others: str) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _notes(field: dict[str, Any]) -> str:
    """The last cell of a field: its commonest values, or, where it is fed as a number, on what scale."""
    if "scale" in field:
        scale = field["scale"]
        if scale["fed_from"] > scale["fed_to"]:
            return "blank in all of train"
        return "mean {mean:.4g}, deviation {deviation:.4g}; fed as {fed_from:.3g} .. {fed_to:.3g}".format(
            **scale
        )
    values = ", ".join(f"{_shown(v['value'])} {_percent(v['share'])}" for v in field["top"])
    return values + (f"; {field['values_per_row']:.2f} values a row" if field["slots"] > 1 else "")


def _shown(value: str) -> Text:
    """A value in one short word of printable characters."""
    text = value if value.isprintable() else ascii(value)[1:-1]
    return Text(text[: LONGEST - 1] + "…" if len(text) > LONGEST else text or "(blank)")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def main() -> None:
    """Print what the folder on the command line holds."""
    parser = door.Parser("autoloss_jax.data.inspect", __doc__)
    parser.add_argument("folder", type=Path, help="a prepared dataset, or the workdir of a run")
    parser.add_argument("--top", type=int, default=3, help="values of each field to show (3)")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_argument("--verify", action="store_true", help="first compare every file with its checksum")
    asked = parser.parse_args()
    if asked.top < 0:
        raise UserError(f"--top={asked.top}: must be at least 0")
    data = find(asked.folder)
    if asked.verify and (damaged := data.damaged()):
        raise UserError(f"{data.path}: damaged: {', '.join(damaged)}; delete the folder and prepare it again")
    found = describe(data, asked.top)
    if asked.json:
        print(json.dumps(report.finite(found), allow_nan=False))
        return
    console = rich.console.Console(highlight=False)
    console.width = console.width if console.is_terminal else 1000
    console.print(
        Text(
            f"{found['name']} ({found['format']}): {sum(found['rows'].values()):,} rows, {len(found['fields'])} fields, "
            f"{found['values']:,} values, {found['classes']} classes, {found['skipped']:,} rows left out\n{found['path']}"
        )
    )
    for table in tables(found):
        console.print()
        console.print(table)


if __name__ == "__main__":
    door.run(main)
