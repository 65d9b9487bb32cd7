"""What each format of raw file is: how its lines are cut, what its columns mean, what makes a
row bad.
"""

import dataclasses
from collections.abc import Callable

import polars as pl

from autoloss_jax import config
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import text
from autoloss_jax.data.read.text import Layout

CRITEO_INTEGERS = tuple(f"I{i}" for i in range(1, 14))
CRITEO = CRITEO_INTEGERS + tuple(f"C{i}" for i in range(1, 27))
AVAZU = (
    "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category",
    "app_id", "app_domain", "app_category",
    "device_id", "device_ip", "device_model", "device_type", "device_conn_type",
    "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21",
)  # fmt: skip
TIME, WEIGHT = "data.time", "data.weight"  # what frames call what the config names so
LIBSVM = r"^(\d+):1(?:\.0*)?$"


@dataclasses.dataclass(frozen=True)
class Format:
    """How a format's lines are cut, and what is in their cells."""

    layout: Callable[
        [str, config.Data, bool], Layout
    ]  # by the first line of a file, labelled or not
    fields: Callable[[Layout, config.Data], tuple[str, ...]]
    label: str
    checks: Callable[[Layout, config.Data], dict[str, pl.Expr]] = (
        lambda layout, data: {}
    )  # what is true of a bad row
    columns: Callable[[config.Data], dict[str, pl.Expr]] = (
        lambda data: {}
    )  # cells that are no words
    meanings: Callable[[Layout], dict[str, pl.Expr]] = (
        lambda layout: {}
    )  # what a word of a field stands for


def extra(data: config.Data, names: tuple[str, ...]) -> dict[str, str]:
    """Columns that a row of the training's own files has beside its label and fields: TIME and
    WEIGHT, where they are wanted -> the name in the file. UserError where it has no such column.
    """
    wanted = {name: getattr(data, name.removeprefix("data.")) for name in (TIME, WEIGHT)}
    for name, column in wanted.items():
        if column and column not in names:
            raise UserError(
                f"--config.{name}={column!r}: not a column of the file, which has "
                f"{', '.join(names)}{settings.nearest(column, list(names))}"
            )
    return {name: column for name, column in wanted.items() if column}


def time(data: config.Data) -> pl.Expr:
    """When a row was, as a number; negative where that is not known."""
    return (
        pl.col(data.time)
        .str.strip_chars()
        .cast(pl.Float64, strict=False)
        .fill_nan(None)
        .fill_null(-1.0)
    )


def weight(data: config.Data) -> tuple[pl.Expr, pl.Expr]:
    """(How much a row counts, whether that is no finite number from 0 on)."""
    value = pl.col(data.weight).str.strip_chars().cast(pl.Float64, strict=False)
    return value, ~((value >= 0) & value.is_finite()).fill_null(False)


def label(data: config.Data, column: str) -> tuple[pl.Expr, pl.Expr]:
    """(Class in 0..C-1, whether there is none) of a label column."""
    value = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    if data.format == "ratings":
        top = 5 if data.num_classes == 2 else data.num_classes
        stars = value.ceil()
        label = (
            (value > 3).cast(pl.Int32)
            if data.num_classes == 2
            else (stars - 1).cast(pl.Int32, strict=False)
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


def _criteo_meanings(layout: Layout) -> dict[str, pl.Expr]:
    """V > 2 -> floor(ln(v)^2), with a prefix that keeps it apart from the values up to 2, which
    stay as they are.
    """
    del layout
    columns = {}
    for name in CRITEO_INTEGERS:
        value = pl.col(name).cast(pl.Int64, strict=False)
        bucket = pl.format("log {}", (value.log() ** 2).floor().cast(pl.Int32, strict=False))
        columns[name] = (
            pl.when(value > 2).then(bucket).otherwise(value.cast(pl.String)).fill_null("")
        )
    return columns


def _criteo_checks(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    del layout, data
    cells = {name: pl.col(name) for name in CRITEO_INTEGERS}
    return {n: c.cast(pl.Int64, strict=False).is_null() & (c != "") for n, c in cells.items()}


def _avazu_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del data
    return Layout(
        ("id", *(("click",) if labelled else ()), *AVAZU), ",", header=first.startswith("id,")
    )


def _ratings_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del data
    separator = "::" if "::" in first else ","
    width = len(first.split(separator))
    names = ("user", "movie", "rating", "timestamp")[:width]
    if not (3 if labelled else 2) <= width <= 4:
        raise UserError(
            f"ratings: a line has {width} columns; wants user::movie::rating::timestamp, or "
            "userId,movieId,rating,timestamp"
        )
    return Layout(names, separator, header=not first[:1].isdigit())


def _libsvm_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    del data
    features = sum(":" in cell for cell in first.split())
    if not features:
        raise UserError("libsvm: the first line has no index:value pair, as in `1 12:1 305:1`")
    return Layout(
        (("label",) if labelled else ()) + tuple(f"field_{i}" for i in range(features)), " "
    )


def _libsvm_meanings(layout: Layout) -> dict[str, pl.Expr]:
    """A field's value is the index of its feature, whose own value is 1."""
    return {c: pl.col(c).str.extract(LIBSVM) for c in layout.columns if c != "label"}


def _libsvm_checks(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    del data
    return {c: ~pl.col(c).str.contains(LIBSVM) for c in layout.columns if c != "label"}


def header(first: str, data: config.Data) -> tuple[tuple[str, ...], str]:
    """(The columns, what parts them) of a table by the first line of its file."""
    separator = data.delimiter.replace("\\t", "\t") or (
        "\t" if "\t" in first and "," not in first else ","
    )
    try:
        names = tuple(text.cells(first.encode(), Layout((), separator, quoted=True)))
    except ValueError as error:
        raise UserError(f"the header: {error}") from error
    return names, separator


def _tabular_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    names, separator = header(first, data)
    tabular_columns(names, data, labelled)
    return Layout(names, separator, header=True, quoted=True)


def tabular_columns(names: tuple[str, ...], data: config.Data, labelled: bool) -> tuple[str, ...]:
    """The declared columns; UserError if one is missing."""
    if not tabular_inputs(data):
        raise UserError(
            "--config.data.categorical, numeric, values, bags: name the columns to learn from; "
            f"the file has {', '.join(names)}"
        )
    there = tuple(name for name in context_only(data) if name in names)  # rows to score lack it
    wanted = (*((data.label,) if labelled else ()), *tabular_inputs(data), *there)
    for name in (*wanted, *((data.time,) if data.time and labelled else ())):
        if name not in names:
            raise UserError(
                f"column {name!r} is not in the file, which has "
                f"{', '.join(names)}{settings.nearest(name, list(names))}"
            )
    if len(set(wanted)) < len(wanted) or {"line", "problem"} & set(wanted):
        raise UserError(
            f"columns {', '.join(wanted)}: one is declared twice, or is called `line` or `problem`"
        )
    return wanted


def _tabular_numbers(data: config.Data) -> dict[str, pl.Expr]:
    return {
        c: pl.col(c).str.strip_chars().cast(pl.Float64, strict=False)
        for c in data.numeric + data.values
    }


def _tabular_checks(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    del layout
    numbers = _tabular_numbers(data)
    return {
        c: ~v.is_finite().fill_null(pl.col(c).str.strip_chars() == "") for c, v in numbers.items()
    }


def _tabular_cells(data: config.Data) -> dict[str, pl.Expr]:
    return _tabular_numbers(data) | {c: _bag(pl.col(c), data.bag_separator) for c in data.bags}


def _bag(cell: pl.Expr, separator: str) -> pl.Expr:
    """The values of a cell, without the blank ones; of a cell without values, one blank."""
    values = cell.str.split(separator).list.filter(pl.element() != "")
    return pl.when(values.list.len() == 0).then(pl.lit([""])).otherwise(values)


def tabular_inputs(data: config.Data) -> tuple[str, ...]:
    """The declared columns that are inputs of the recommender."""
    return data.categorical + data.numeric + data.values + data.bags


def context_only(data: config.Data) -> tuple[str, ...]:
    """The context fields of a table that are no inputs of the recommender."""
    if data.format != "tabular":
        return ()
    return tuple(name for name in data.context if name not in tabular_inputs(data))


def encoded(name: str) -> tuple[str, str]:
    """The fields that the target encoding of a field has."""
    return f"{name} rate", f"{name} count"


def with_made(fields: tuple[str, ...], data: config.Data) -> tuple[str, ...]:
    """The fields of a format and those that are made of them, before what is context alone: pairs
    (`data.crosses`), and the numbers of `data.target_encoding`.
    """
    inputs = len(fields) - len({*fields} & {*context_only(data)})
    numbers = [field for name in data.target_encoding for field in encoded(name)]
    return (*fields[:inputs], *data.crosses, *numbers, *fields[inputs:])


def groups(data: config.Data) -> tuple[str, ...]:
    """The groups of fields that are read: pairs that are fields too, and those of which
    `data.target_encoding` alone has numbers.
    """
    return tuple(dict.fromkeys((*data.crosses, *(n for n in data.target_encoding if "*" in n))))


def crosses(
    fields: tuple[str, ...], data: config.Data, meanings: dict[str, pl.Expr]
) -> dict[str, pl.Expr]:
    """Name -> the values of a group of fields, as one word; UserError for a group of others."""
    words = [name for name in fields if name not in (*data.numeric, *data.values, *data.bags)]
    found = {}
    for name in data.target_encoding:
        if "*" not in name and name not in words:
            raise UserError(
                f"--config.data.target_encoding: {name!r} is not a categorical field: "
                f"{', '.join(words)}{settings.nearest(name, words)}"
            )
    for name in groups(data):
        key = "crosses" if name in data.crosses else "target_encoding"
        group = name.split("*")
        for field in group:
            if field not in words:
                raise UserError(
                    f"--config.data.{key}: {name!r}: {field!r} is not a categorical field: "
                    f"{', '.join(words)}{settings.nearest(field, words)}"
                )
        if len(set(group)) < len(group) or (key == "crosses" and len(group) != 2):
            wanted = "two fields" if key == "crosses" else "each field once"
            raise UserError(
                f"--config.data.{key}: {name!r}: wants {wanted}, as {words[0]}*{words[-1]}"
            )
        values = [meanings.get(field, pl.col(field)) for field in group]
        found[name] = pl.concat_str(values, separator=" * ")
    return found


def tabular_fields(data: config.Data) -> tuple[str, ...]:
    """The declared columns that are fields: the inputs, then the context that is nothing else."""
    return tabular_inputs(data) + context_only(data)


FORMATS = {
    "criteo": Format(
        _criteo_layout,
        lambda layout, data: CRITEO,
        "label",
        checks=_criteo_checks,
        meanings=_criteo_meanings,
    ),
    "avazu": Format(_avazu_layout, lambda layout, data: AVAZU, "click"),
    "ratings": Format(_ratings_layout, lambda layout, data: ("user", "movie"), "rating"),
    "libsvm": Format(
        _libsvm_layout,
        lambda layout, data: tuple(c for c in layout.columns if c != "label"),
        "label",
        checks=_libsvm_checks,
        meanings=_libsvm_meanings,
    ),
    "tabular": Format(
        _tabular_layout,
        lambda layout, data: tuple(
            c for c in tabular_fields(data) if c in layout.columns or c in tabular_inputs(data)
        ),
        "",  # data.label
        checks=_tabular_checks,
        columns=_tabular_cells,
    ),
}
