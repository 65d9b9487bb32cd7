"""What a prepared dataset, or that of a run, holds: sizes, rates of labels, vocabularies,
commonest values.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.load import host
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.data.schema import Schema
from autoloss_jax.data.store import SPLITS, Store
from autoloss_jax.distributed import documents

BLOCK = 1 << 18  # rows in memory at a time
LONGEST = 24  # characters of a name as it is shown


@dataclasses.dataclass
class Totals:
    """Sums over the rows of train."""

    rows: (
        np.ndarray
    )  # int64[rows of the embedding table]: how often each id occurs, padding left out
    low: (
        np.ndarray
    )  # float64[F]: of numbers as they are fed, where a field is fed as values and not blank
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
    """The prepared dataset in a folder, or that of the run in it; UserError if it is neither, or
    the dataset is gone.
    """
    if not (folder / store.SCHEMA).is_file():
        raise UserError(
            f"{folder}: no prepared dataset and no run: there is no {store.SCHEMA} in it"
        )
    data = asked(folder)
    if data is None:
        return store.open_store(folder)
    schema = store.read_schema(folder)
    home = pipeline.store_folder(data, schema.fingerprint)
    if not home.is_dir():
        raise UserError(
            f"{folder}: its dataset is not in {home}; the command that trained it prepares it again"
        )
    return store.open_store(home)


def asked(folder: Path) -> config.Data | None:
    """What the config of the run in a folder says of its data; None without a run."""
    path = folder / "config.json"
    return documents.read_config(path).data if path.exists() else None


def label_rates(
    data: Store, asked: config.Data, labels: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Of each context field, how many labels are above 0, in train and among the trusted rows.

    The first thing to look at where labels may be wrong: values at which train and trusted rows
    differ. Values are in the order of their rows in train; those in neither are left out. `labels`
    of train, int[n], are those of a study that made noise in them.
    """
    train = data.split("train") | ({} if labels is None else {"y": labels})
    if asked.trusted:
        trusted = pipeline.trusted_rows(asked, data)
    else:
        trusted, _ = host.halve(data.split("val"), asked.trusted_share, asked.split_seed)
    found = []
    for name in asked.context:
        place = data.schema.place(name, "--config.data.context")
        words = ["(unknown)", *store.value_names(data.path, name, place[2])]
        counts = {}
        for which, rows in (("train", train), ("trusted", trusted)):
            values, positive = host.values(rows, [place])[:, 0], np.asarray(rows["y"]) > 0
            counts[which] = np.bincount(values, minlength=place[2])
            counts[f"{which}_positive"] = np.bincount(values[positive], minlength=place[2])
        order = np.argsort(-counts["train"], kind="stable")
        there = order[(counts["train"] + counts["trusted"])[order] > 0]
        values = [
            {"value": words[i]} | {name: int(count[i]) for name, count in counts.items()}
            for i in there.tolist()
        ]
        found.append({"name": name, "values": values})
    return found


def describe(data: Store, top: int = 3) -> dict[str, Any]:
    """What is there to know before training, as plain values: sizes, shares of labels, and per
    field its `top` values.
    """
    schema, vocabulary = store.load_vocabulary(data.path)
    words = {
        str(name): part["value"]
        for (name,), part in vocabulary.group_by("field", maintain_order=True)
    }
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
        "fields": [
            _field(schema, f, words.get(name), sums, top) for f, name in enumerate(schema.fields)
        ],
    }


def _field(
    schema: Schema, f: int, words: pl.Series | None, sums: Totals, top: int
) -> dict[str, Any]:
    """The same of one field; `words` are its values in the order of ids, which leave out the
    first; None: no one knows.
    """
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
            raise UserError(
                f"{data.path}: {split} holds labels outside 0..{classes - 1}; delete the folder"
            )
        counts += np.bincount(block, minlength=classes)
    return (counts / max(counts.sum(), 1)).tolist()


def printable(name: str) -> str:
    """A value or a field's name in one short word of printable characters."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text[: LONGEST - 1] + "…" if len(text) > LONGEST else text or "(blank)"
