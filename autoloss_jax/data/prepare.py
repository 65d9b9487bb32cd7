"""Raw files -> a store, once: count the values of train, then encode every row. Cached by content and settings."""

import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.data import sources, store
from autoloss_jax.data.encoder import NUMBER, Encoder
from autoloss_jax.data.scaling import Moments, warped
from autoloss_jax.data.schema import VERSION, Schema
from autoloss_jax.data.split import first_part, moments
from autoloss_jax.data.store import SPLITS, Store
from autoloss_jax.settings import UserError

SETTINGS = [
    "name",
    "format",
    "num_classes",
    "min_count",
    "split",
    "split_seed",
    "on_bad_row",
    "label",
    "categorical",
    "numeric",
    "num_buckets",
    "delimiter",
    "time",
]
SLOTTED = [
    "values",
    "scale",
    "bags",
    "bag_separator",
    "bag_size",
    "bag_pooling",
]  # where there are any of these
FOLDED = ["controller_share"]  # the store depends on it where values of val enter the vocabulary
Say = Callable[[str], None]


def prepare(data: config.Data, say: Say = print) -> Store:
    """The store of a dataset, made now or found in the cache; UserError for whatever is wrong with the source."""
    files = sources.find_splits(data)
    fingerprint = _fingerprint(data, files)
    target = store_folder(data, fingerprint)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f".{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be preparing the same
            if not target.exists():
                partial = target.with_name(f".{target.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                try:
                    _build(data, files, fingerprint, partial, say)
                    os.sync()
                    partial.rename(target)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}); free space, or set --config.data.cache"
        ) from error
    return store.open_store(target)


def encode(
    path: Path, data: config.Data, schema: Schema, vocabulary: pl.DataFrame, *, labelled: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks, as `Encoder.encode` gives, of another file of the same format, in its order, in a known vocabulary."""
    if not path.is_file():
        raise UserError(f"--config.data.path={path}: no such file")
    names = sources.fields(path, data, labelled=labelled)
    if names != schema.fields:
        raise UserError(
            f"{path}: its fields are {', '.join(names)}; the model was trained on {', '.join(schema.fields)}"
        )
    encoder = Encoder.of(data, schema, vocabulary)
    for block in sources.read(path, data, labelled=labelled):
        if block.frame.height:
            yield encoder.encode(block.frame)


def _build(data: config.Data, files: dict[str, Path], fingerprint: str, folder: Path, say: Say) -> None:
    """Both passes, into a folder that is not yet the store."""
    started = time.monotonic()
    say(f"preparing {data.name or data.path}: counting values")
    edges = _edges(data, files)
    schema, vocabulary = _count(data, files, edges, fingerprint)
    _refuse_unusable(data, schema.num_examples)
    say(f"preparing {schema.name}: encoding {sum(schema.num_examples.values()):,} rows")
    if schema.num_rows >= 2**31:
        raise UserError(f"{schema.num_rows:,} values do not fit int32 ids; raise --config.data.min_count")
    encoder = Encoder.of(data, schema, vocabulary)
    unknown = {name: np.zeros(schema.num_fields) for name in SPLITS}
    cut = dict.fromkeys(data.bags, 0)
    classes: set[int] = set()
    with store.writer(folder, schema) as append:
        for split, frame, _ in _split_rows(data, files, edges):
            block = encoder.encode(frame)
            append(split, block)
            fields = np.split(block["x"] == schema.bounds[0], np.cumsum(schema.slots)[:-1], axis=1)
            unknown[split] += [field.any(axis=1).sum() for field in fields]
            for name in cut:
                cut[name] += int((frame[name].list.len() > data.bag_size).sum())
            if split == "train":
                classes.update(np.unique(block["y"]).tolist())
    if len(classes) < 2:
        raise UserError(
            f"{files.get('train', data.path)}: every training label is the same; nothing can be learnt"
        )
    rates = {name: (unknown[name] / rows).tolist() for name, rows in schema.num_examples.items()}
    vocabulary.write_parquet(folder / store.VOCABULARY)
    (folder / store.SCHEMA).write_text(dataclasses.replace(schema, oov_rate=rates).to_json())
    for name in filter(cut.get, cut):
        say(
            f"{cut[name]:,} cells of {name} hold more than {data.bag_size} values, of which the first are kept; "
            "--config.data.bag_size says how many"
        )
    say(
        f"prepared {schema.name}: "
        + ", ".join(f"{rows:,} {name}" for name, rows in schema.num_examples.items())
        + f" rows, {schema.num_fields} fields, {schema.num_rows:,} values"
        + (f", {schema.num_skipped:,} rows left out" if schema.num_skipped else "")
        + f", {time.monotonic() - started:.1f} s"
    )


def _count(
    data: config.Data, files: dict[str, Path], edges: np.ndarray, fingerprint: str
) -> tuple[Schema, pl.DataFrame]:
    """(Schema without rates, vocabulary): what is learnt about values is learnt on the rows that teach W."""
    counts: dict[str, list[pl.DataFrame]] = {}
    tabular = data.format == "tabular"
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in data.numeric} if tabular else {}
    scaled = {name: Moments() for name in data.values}
    rows, skipped, names = dict.fromkeys(SPLITS, 0), 0, ()
    folded = _folded_in(data, files, edges) if data.fold_in_val else None
    for split, frame, left_out in _split_rows(data, files, edges):
        first = rows[split]
        rows[split] += frame.height
        skipped += left_out
        names = tuple(c for c in frame.columns if c != "label")
        if split == "val" and folded is not None:
            frame = frame.filter(pl.Series(folded[first : rows[split]]))
        elif split != "train":
            continue
        for name in names:
            if name in numbers:
                numbers[name].append(frame[name].drop_nulls().to_numpy())
            elif name in scaled:
                scaled[name].add(warped(frame[name].drop_nulls().to_numpy(), data.scale))
            else:
                words = frame[name]
                if name in data.bags:
                    words = words.list.head(data.bag_size).explode()
                pieces = counts.setdefault(name, [])
                pieces.append(words.value_counts(name="count").rename({name: "value"}))
                if len(pieces) > 16:
                    counts[name] = [_merge(pieces)]
    buckets = {
        name: _cut_points(np.concatenate(parts or [np.zeros(0)]), data.num_buckets)
        for name, parts in numbers.items()
    }
    known = {name: ["", *map(str, range(len(cuts) + 1))] for name, cuts in buckets.items()}
    known |= {name: [NUMBER] for name in scaled}
    words = [
        pl.DataFrame({"value": known[name]})
        if name in known
        else _merge(counts.get(name, [])).filter(pl.col("count") >= data.min_count).select("value")
        for name in names
    ]
    vocabulary = (
        pl.concat([w.select(pl.lit(n).alias("field"), "value") for n, w in zip(names, words, strict=True)])
        if names
        else pl.DataFrame()
    )
    return Schema(
        name=data.name or Path(data.path).stem,
        format=data.format,
        fields=names,
        vocab_sizes=tuple(w.height + 1 for w in words),
        num_classes=data.num_classes,
        num_examples=rows,
        num_skipped=skipped,
        oov_rate={},
        buckets=buckets,
        fingerprint=fingerprint,
        slots=tuple(data.bag_size if name in data.bags else 1 for name in names),
        scales={name: _standard(name, m) for name, m in scaled.items()},
    ), vocabulary


def _standard(name: str, numbers: Moments) -> list[float]:
    mean, deviation = numbers.standard()
    if not np.isfinite([mean, deviation]).all():
        raise UserError(
            f"column {name}: its numbers are too large to be standardised; set --config.data.scale=log"
        )
    return [mean, deviation]


def _merge(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    """Counts of all pieces, most frequent first, ties by value: the order never depends on threads."""
    whole = pl.concat(
        pieces or [pl.DataFrame(schema={"value": pl.String, "count": pl.UInt32})], how="vertical_relaxed"
    )
    return (
        whole.group_by("value")
        .agg(pl.col("count").cast(pl.Int64).sum())
        .sort(["count", "value"], descending=[True, False])
    )


def _cut_points(values: np.ndarray, buckets: int) -> list[float]:
    """Inner quantiles, each once."""
    if not len(values):
        return []
    return np.unique(np.quantile(values, np.linspace(0, 1, buckets + 1)[1:-1])).tolist()


def _folded_in(data: config.Data, files: dict[str, Path], edges: np.ndarray) -> np.ndarray:
    """bool[rows of val]: those that teach W too."""
    with_val = {split: path for split, path in files.items() if split in ("all", "val")}
    num_rows = sum(frame.height for split, frame, _ in _split_rows(data, with_val, edges) if split == "val")
    return first_part(num_rows, data.controller_share, data.split_seed)


def _edges(data: config.Data, files: dict[str, Path]) -> np.ndarray:
    """Where one file's val and test begin: on a uniform draw per row, or, with data.time, on its time."""
    if not data.time:
        return np.cumsum(data.split)[:2]
    if "all" not in files:
        raise UserError(
            f"--config.data.time={data.time}: splits one file by time; {data.path} is a folder with its own splits"
        )
    blocks = sources.read(files["all"], data, timed=True)
    times = np.concatenate([block.frame[sources.TIME].to_numpy() for block in blocks])
    if not (times >= 0).any():
        raise UserError(f"--config.data.time={data.time}: no row of {data.path} has a time")
    return moments(times[times >= 0], data.split)


def _split_rows(
    data: config.Data, files: dict[str, Path], edges: np.ndarray
) -> Iterator[tuple[str, pl.DataFrame, int]]:
    """(Split, its rows, rows skipped) block by block, in the order of the files."""
    first: tuple[str, ...] | None = None
    for split, path in files.items():
        random = np.random.Generator(np.random.Philox(data.split_seed))
        for block in sources.read(path, data, timed=bool(data.time)):
            names = tuple(block.frame.columns)
            if first not in (None, names):
                raise UserError(
                    f"{path}: {len(names) - 1} fields, where the other files have {len(first or ()) - 1}"
                )
            first = names
            if split != "all":
                yield split, block.frame, block.skipped
                continue
            frame, skipped, place = block.frame, block.skipped, random.random(block.frame.height)
            if data.time:
                place = frame[sources.TIME].to_numpy()
                frame, skipped = frame.drop(sources.TIME), skipped + int((place < 0).sum())
            drawn = np.where(place < 0, -1, np.searchsorted(edges, place, side="right"))
            for i, name in enumerate(SPLITS):
                yield name, frame.filter(pl.Series(drawn == i)), skipped if i == 0 else 0


def _refuse_unusable(data: config.Data, rows: dict[str, int]) -> None:
    for name in SPLITS:
        if not rows[name]:
            raise UserError(
                f"--config.data.path={data.path}: no rows for {name}; give more rows, or another --config.data.split"
            )


def _fingerprint(data: config.Data, files: dict[str, Path]) -> str:
    """Of the content of the files and of every setting that the store depends on."""
    contents = {}
    for split, path in files.items():
        try:
            with path.open("rb") as file:
                contents[split] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    names = SETTINGS + (SLOTTED if data.values or data.bags else []) + (FOLDED if data.fold_in_val else [])
    settings = {name: getattr(data, name) for name in names} | {"parquet": files[next(iter(files))].suffix}
    return hashlib.sha256(json.dumps([VERSION, settings, contents], sort_keys=True).encode()).hexdigest()


def store_folder(data: config.Data, fingerprint: str) -> Path:
    """Where the store of a dataset is, once it is prepared."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", data.name) or "data"
    return cache_folder(data) / f"{name}-{fingerprint[:16]}"


def cache_folder(data: config.Data) -> Path:
    """Where prepared datasets are kept."""
    if data.cache:
        return Path(data.cache)
    root = os.environ.get("XDG_CACHE_HOME") or (
        Path(os.environ["HOME"]) / ".cache" if os.environ.get("HOME") else tempfile.gettempdir()
    )
    return Path(root) / "autoloss_jax"
