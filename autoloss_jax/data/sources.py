"""Raw files of each format as frames: a label in 0..C-1 and one column per field, whatever the layout was."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from autoloss_jax import config, settings
from autoloss_jax.data import text
from autoloss_jax.data.text import Layout, Problem
from autoloss_jax.settings import UserError

CRITEO_INTEGERS = tuple(f"I{i}" for i in range(1, 14))
CRITEO = CRITEO_INTEGERS + tuple(f"C{i}" for i in range(1, 27))
AVAZU = (
    "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category",
    "device_id", "device_ip", "device_model", "device_type", "device_conn_type",
    "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21",
)  # fmt: skip
PARQUET_ROWS = 1 << 18
TIME = "data.time"


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows of a file, in its order: `label` int32 (if labelled), fields as String ("" is a value: blank), or, in
    `tabular`, as Float64 with nulls for numbers and as List(String), never empty, for bags; `data.time` Float64, if
    asked for; and how many rows were left out.
    """

    frame: pl.DataFrame
    skipped: int


@dataclasses.dataclass(frozen=True)
class Format:
    """How a format's lines are cut, what its columns become, and what makes a row bad."""

    layout: Callable[[str, config.Data, bool], Layout]
    fields: Callable[[Layout, config.Data], tuple[str, ...]]
    decode: Callable[[config.Data, Layout], tuple[dict[str, pl.Expr], dict[str, pl.Expr]]]
    label: str


def read(
    path: Path,
    data: config.Data,
    *,
    labelled: bool = True,
    timed: bool = False,
    size: int = text.BLOCK_BYTES,
) -> Iterator[Block]:
    """Blocks of a file. A bad row is a UserError `file:line: what`, or is skipped and counted (data.on_bad_row)."""
    kind = FORMATS[data.format]
    if data.format == "tabular" and path.name.removesuffix(".gz").endswith((".parquet", ".pq")):
        pieces = _parquet(path, data, labelled, timed)
    else:
        pieces = _text(path, data, kind, labelled, size)
    for frame, layout, problems in pieces:
        columns, checks = kind.decode(data, layout)
        if labelled:
            name = data.label if data.format == "tabular" else kind.label
            columns["label"], checks[name] = _label(data, name)
        if timed:
            columns[TIME] = _time(data, layout)
        found = frame.select("line", problem=pl.coalesce(*_messages(checks))) if checks else None
        if found is not None:
            bad = found.filter(pl.col("problem").is_not_null())
            problems = sorted([*problems, *bad.iter_rows()])
            frame = frame.filter(found["problem"].is_null())
        if problems and data.on_bad_row == "error":
            number, what = problems[0]
            raise UserError(
                f"{path}:{number}: {what}; mend the row, or leave such rows out with --config.data.on_bad_row=skip"
            )
        names = (*(("label",) if labelled else ()), *((TIME,) if timed else ()), *kind.fields(layout, data))
        yield Block(frame.select(columns.get(n, pl.col(n)).alias(n) for n in names), len(problems))


def _time(data: config.Data, layout: Layout) -> pl.Expr:
    """When a row was, as a number; negative where that is not known."""
    if data.time not in layout.columns:
        known = list(layout.columns)
        raise UserError(
            f"--config.data.time={data.time!r}: not a column of the file, which has {', '.join(known)}{settings.nearest(data.time, known)}"
        )
    return pl.col(data.time).str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None).fill_null(-1.0)


def _messages(checks: dict[str, pl.Expr]) -> Iterator[pl.Expr]:
    """Per column, a message where the check (an expression that is true on bad rows) holds."""
    for name, bad in checks.items():
        yield pl.when(bad).then(
            pl.format(
                "column {}: {} is not what belongs there",
                pl.lit(name),
                pl.col(name).cast(pl.String).fill_null("blank"),
            )
        )


def fields(path: Path, data: config.Data, *, labelled: bool = True) -> tuple[str, ...]:
    """The names of a file's fields."""
    kind = FORMATS[data.format]
    if data.format == "tabular":
        return kind.fields(Layout((), ""), data)
    return kind.fields(kind.layout(text.first_line(path), data, labelled), data)


def find_splits(data: config.Data) -> dict[str, Path]:
    """{"all": file}, or {"train", "val", "test"} of a folder; UserError saying what is missing."""
    if not data.path:
        raise UserError(
            "--config.data.path: name the dataset's file, or the folder of its train.*, valid.* and test.*"
        )
    path = Path(data.path)
    if path.is_file():
        return {"all": path}
    if not path.is_dir():
        raise UserError(f"--config.data.path={data.path}: no such file or folder")
    found = {}
    for split, stems in {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}.items():
        files = sorted(p for p in path.iterdir() if p.is_file() and p.name.split(".")[0] in stems)
        if len(files) != 1:
            what = f"{len(files)} files" if files else "no file"
            raise UserError(
                f"--config.data.path={data.path}: {what} {stems[0]}.*; a folder holds one train.*, valid.* and test.* each"
            )
        found[split] = files[0]
    return found


def _text(
    path: Path, data: config.Data, kind: Format, labelled: bool, size: int
) -> Iterator[tuple[pl.DataFrame, Layout, list[Problem]]]:
    layout = kind.layout(text.first_line(path), data, labelled)
    for line, block, ended in text.blocks(path, size):
        if line == 1 and layout.header:
            _, _, block = block.partition(b"\n")
            line = 2
        if block:
            frame, problems = text.table(block, line, layout)
            yield frame, layout, [*problems, ended] if ended else problems
        elif ended:
            yield text.empty(layout), layout, [ended]


def _parquet(
    path: Path, data: config.Data, labelled: bool, timed: bool
) -> Iterator[tuple[pl.DataFrame, Layout, list[Problem]]]:
    try:
        scan = pl.scan_parquet(path)
        names = tuple(scan.collect_schema().names())
        wanted = _tabular_columns(names, data, labelled)
        wanted = tuple(dict.fromkeys((*wanted, *((data.time,) if timed else ()))))
        rows = scan.select(pl.len()).collect().item()
        for begin in range(0, rows, PARQUET_ROWS):
            frame = scan.select(wanted).slice(begin, PARQUET_ROWS).collect()
            lists = frame.select(pl.selectors.list()).columns
            cells = {
                c: pl.col(c).cast(pl.List(pl.String)).list.join(data.bag_separator)
                for c in lists
                if c in data.bags
            }
            frame = frame.select(cells.get(c, pl.col(c).cast(pl.String)).fill_null("") for c in wanted)
            yield (
                frame.with_columns(
                    line=pl.int_range(begin + 1, begin + 1 + frame.height, dtype=pl.Int64, eager=True)
                ),
                Layout(wanted, ""),
                [],
            )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error


def _label(data: config.Data, column: str) -> tuple[pl.Expr, pl.Expr]:
    """(Class in 0..C-1, whether there is none) of a label column."""
    value = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    if data.format == "ratings":
        top = 5 if data.num_classes == 2 else data.num_classes
        stars = value.ceil()
        label = (
            (value > 3).cast(pl.Int32) if data.num_classes == 2 else (stars - 1).cast(pl.Int32, strict=False)
        )
        return label, ~stars.is_between(1, top).fill_null(False)
    if data.num_classes == 2:
        words = pl.col(column).str.strip_chars().str.to_lowercase()
        value = pl.when(words == "true").then(1.0).when(words == "false").then(0.0).otherwise(value)
        if data.format == "libsvm":
            value = pl.when(value == -1).then(0.0).otherwise(value)
    allowed = value.is_in(list(map(float, range(data.num_classes))))
    return value.cast(pl.Int32, strict=False), ~allowed.fill_null(False)


def _criteo_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del first, data
    return Layout((("label",) if labelled else ()) + CRITEO, "\t")


def _criteo_decode(data: config.Data, layout: Layout) -> tuple[dict[str, pl.Expr], dict[str, pl.Expr]]:
    """V > 2 -> floor(ln(v)^2), with a prefix that keeps it apart from the values up to 2, which stay as they are."""
    columns, checks = {}, {}
    for name in CRITEO_INTEGERS:
        value = pl.col(name).cast(pl.Int64, strict=False)
        bucket = pl.format("log {}", (value.log() ** 2).floor().cast(pl.Int32, strict=False))
        columns[name] = pl.when(value > 2).then(bucket).otherwise(value.cast(pl.String)).fill_null("")
        checks[name] = value.is_null() & (pl.col(name) != "")
    return columns, checks


def _avazu_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del data
    return Layout(("id", *(("click",) if labelled else ()), *AVAZU), ",", header=first.startswith("id,"))


def _ratings_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del data
    separator = "::" if "::" in first else ","
    width = len(first.split(separator))
    names = ("user", "movie", "rating", "timestamp")[:width]
    if not (3 if labelled else 2) <= width <= 4:
        raise UserError(
            f"ratings: a line has {width} columns; wants user::movie::rating::timestamp, or userId,movieId,rating,timestamp"
        )
    return Layout(names, separator, header=not first[:1].isdigit())


def _libsvm_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del data
    features = sum(":" in cell for cell in first.split())
    if not features:
        raise UserError("libsvm: the first line has no index:value pair, as in `1 12:1 305:1`")
    return Layout((("label",) if labelled else ()) + tuple(f"field_{i}" for i in range(features)), " ")


def _libsvm_decode(data: config.Data, layout: Layout) -> tuple[dict[str, pl.Expr], dict[str, pl.Expr]]:
    """A field's value is the index of its feature, whose own value is 1."""
    names = [c for c in layout.columns if c != "label"]
    columns = {c: pl.col(c).str.extract(r"^(\d+):1(?:\.0*)?$") for c in names}
    return columns, {c: columns[c].is_null() for c in names}


def _tabular_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    separator = data.delimiter.replace("\\t", "\t") or ("\t" if "\t" in first and "," not in first else ",")
    try:
        names = tuple(text.cells(first.encode(), Layout((), separator, quoted=True)))
    except ValueError as error:
        raise UserError(f"the header: {error}") from error
    _tabular_columns(names, data, labelled)
    return Layout(names, separator, header=True, quoted=True)


def _tabular_columns(names: tuple[str, ...], data: config.Data, labelled: bool) -> tuple[str, ...]:
    """The declared columns; UserError if one is missing."""
    if not _tabular_fields(data):
        raise UserError(
            f"--config.data.categorical, numeric, values, bags: name the columns to learn from; the file has {', '.join(names)}"
        )
    wanted = (*((data.label,) if labelled else ()), *_tabular_fields(data))
    for name in (*wanted, *((data.time,) if data.time and labelled else ())):
        if name not in names:
            raise UserError(
                f"column {name!r} is not in the file, which has {', '.join(names)}{settings.nearest(name, list(names))}"
            )
    if len(set(wanted)) < len(wanted) or {"line", "problem"} & set(wanted):
        raise UserError(
            f"columns {', '.join(wanted)}: one is declared twice, or is called `line` or `problem`"
        )
    return wanted


def _tabular_decode(data: config.Data, layout: Layout) -> tuple[dict[str, pl.Expr], dict[str, pl.Expr]]:
    numbers = {
        c: pl.col(c).str.strip_chars().cast(pl.Float64, strict=False) for c in data.numeric + data.values
    }
    checks = {c: ~v.is_finite().fill_null(pl.col(c).str.strip_chars() == "") for c, v in numbers.items()}
    return numbers | {c: _bag(pl.col(c), data.bag_separator) for c in data.bags}, checks


def _bag(cell: pl.Expr, separator: str) -> pl.Expr:
    """The values of a cell, without the blank ones; of a cell without values, one blank."""
    values = cell.str.split(separator).list.filter(pl.element() != "")
    return pl.when(values.list.len() == 0).then(pl.lit([""])).otherwise(values)


def _tabular_fields(data: config.Data) -> tuple[str, ...]:
    return data.categorical + data.numeric + data.values + data.bags


FORMATS = {
    "criteo": Format(_criteo_layout, lambda layout, data: CRITEO, _criteo_decode, "label"),
    "avazu": Format(_avazu_layout, lambda layout, data: AVAZU, lambda data, layout: ({}, {}), "click"),
    "ratings": Format(
        _ratings_layout, lambda layout, data: ("user", "movie"), lambda data, layout: ({}, {}), "rating"
    ),
    "libsvm": Format(
        _libsvm_layout,
        lambda layout, data: tuple(c for c in layout.columns if c != "label"),
        _libsvm_decode,
        "label",
    ),
    "tabular": Format(_tabular_layout, lambda layout, data: _tabular_fields(data), _tabular_decode, "label"),
}
