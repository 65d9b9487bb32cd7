"""What each format of raw file is: what its columns mean, and what makes a row bad."""

import dataclasses
from collections.abc import Callable

import polars as pl

from autoloss_jax import config
from autoloss_jax.config import settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.read import layouts
from autoloss_jax.data.read.layouts import AVAZU, CRITEO, CRITEO_INTEGERS
from autoloss_jax.data.read.text import Layout

TIME, WEIGHT = "data.time", "data.weight"  # what frames call what the config names so
LIBSVM = r"^(\d+):1(?:\.0*)?$"
NO_NUMBER = ("", "nan", "na", "n/a", "null", "none", "\\n")  # in any case: a number that is missing
TRUTHS = ("True", "False", "TRUE", "FALSE")
TIMES = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d"
)  # fmt: skip


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
    columns: Callable[[pl.Schema, config.Data], dict[str, pl.Expr]] = (
        lambda schema, data: {}
    )  # cells that are no words
    meanings: Callable[[Layout, config.Data], dict[str, pl.Expr]] = (
        lambda layout, data: {}
    )  # what a word of a field stands for
    excused: Callable[[config.Data], dict[str, pl.Expr]] = (
        lambda data: {}
    )  # cells that are right although `checks` doubts them: asked of those alone
    wanted: str = ""  # what belongs in the cells that `checks` asks


def extra(data: config.Data, names: tuple[str, ...], own: bool) -> dict[str, str]:
    """Columns that a labelled row has beside its label and fields -> the name in the file: WEIGHT,
    and in the training's `own` files TIME. UserError where those have no such column; of other
    files a row counts once where there is none.
    """
    wanted = {TIME: data.time if own else "", WEIGHT: data.weight}
    for name, column in wanted.items():
        if own and column and column not in names:
            raise UserError(
                f"--config.{name}={column!r}: not a column of the file, which has "
                f"{', '.join(names)}{settings.nearest(column, list(names))}"
            )
    return {name: column for name, column in wanted.items() if column and column in names}


def time(data: config.Data) -> tuple[pl.Expr, pl.Expr]:
    """(When a row was, as a number, negative where that is not known; whether a cell is no time).

    A number is itself, but of milliseconds and microseconds since 1970 their seconds; a date, or
    a date and a time of day, is the seconds since 1970, of UTC where it names no zone.
    """
    cell = pl.col(data.time).str.strip_chars()
    number = cell.cast(pl.Float64, strict=False).fill_nan(None)
    for digits in (1e14, 1e11):
        number = pl.when(number >= digits).then(number / 1000).otherwise(number)
    word = cell.str.replace("T", " ", literal=True).str.replace(r"Z$", "+00:00")
    zoned = word.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="us", strict=False)
    plain = [word.str.to_datetime(of, time_unit="us", strict=False) for of in TIMES]
    seconds = [when.dt.epoch("us") / 1e6 for when in (zoned, *plain)]
    value = pl.coalesce(number, *seconds)
    missing = cell.str.to_lowercase().is_in(NO_NUMBER)
    return value.fill_null(-1.0), value.is_null() & ~missing


def weight(data: config.Data) -> tuple[pl.Expr, pl.Expr]:
    """(How much a row counts, whether that is no finite number from 0 on)."""
    value = pl.col(data.weight).str.strip_chars().cast(pl.Float64, strict=False)
    return value, ~((value >= 0) & value.is_finite()).fill_null(False)


def label(data: config.Data, column: str) -> tuple[pl.Expr, pl.Expr]:
    """(Class in 0..C-1, whether there is none) of a label column."""
    cell = pl.col(column).str.strip_chars()
    if data.classes:
        known = _canonical(pl.Series(data.classes)).to_list()
        place = canonical(cell).replace_strict(
            known, range(len(known)), default=None, return_dtype=pl.Int32
        )
        return place, place.is_null()
    value = cell.cast(pl.Float64, strict=False)
    if data.format == "ratings":
        top = 5 if data.num_classes == 2 else data.num_classes
        stars = value.ceil()
        label = (
            (value > 3).cast(pl.Int32)
            if data.num_classes == 2
            else (stars - 1).cast(pl.Int32, strict=False)
        )
        return label, ~stars.is_between(1, top).fill_null(False)
    if data.positive:
        return (canonical(cell) == data.positive.strip()).cast(pl.Int32), cell == ""
    if data.num_classes == 2:
        words = cell.str.to_lowercase()
        value = pl.when(words == "true").then(1.0).when(words == "false").then(0.0).otherwise(value)
        if data.format == "libsvm":
            value = pl.when(value == -1).then(0.0).otherwise(value)
    allowed = value.is_in(list(map(float, range(data.num_classes))))
    return value.cast(pl.Int32, strict=False), ~allowed.fill_null(False)


def levels(data: config.Data) -> tuple[float, ...]:
    """The numbers that the classes stand for, where they are ratings; of others none."""
    if data.num_classes == 2:
        return ()
    if data.format == "ratings" and not data.classes:
        return tuple(map(float, range(1, data.num_classes + 1)))
    try:
        return tuple(map(float, data.classes))
    except ValueError:
        return ()


def label_wanted(data: config.Data) -> str:
    """What belongs in a label column, for people."""
    if data.classes:
        return f"one of {', '.join(data.classes)}"
    if data.format == "ratings":
        return f"a rating above 0, up to {5 if data.num_classes == 2 else data.num_classes}"
    if data.positive:
        return f"{data.positive}, or a word for the other class"
    if data.num_classes == 2:
        return "0 or 1; where labels are other words, --config.data.positive=WORD names that of 1"
    return f"a class from 0 to {data.num_classes - 1}"


def canonical(word: pl.Expr) -> pl.Expr:
    """The one text of a value, whatever wrote it: without blanks around it; a whole number
    without .0; true and false in small letters.
    """
    return word.map_batches(_canonical, return_dtype=pl.String)


def _canonical(words: pl.Series) -> pl.Series:
    words = words.str.strip_chars()
    number = words.str.contains(".0", literal=True) | words.str.ends_with(".")
    if number.any():
        words = words.str.replace(r"^([-+]?\d+)\.0*$", "$1")
    truth = words.is_in(TRUTHS)
    return words.zip_with(~truth, words.str.to_lowercase()) if truth.any() else words


def _criteo_meanings(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    """V > 2 -> floor(ln(v)^2), with a prefix that keeps it apart from the values up to 2, which
    stay as they are.
    """
    del layout, data
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


def _libsvm_meanings(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    """A field's value is the index of its feature, whose own value is 1."""
    del data
    return {c: pl.col(c).str.extract(LIBSVM) for c in layout.columns if c != "label"}


def _libsvm_checks(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    del data
    return {c: ~pl.col(c).str.contains(LIBSVM) for c in layout.columns if c != "label"}


def _tabular_layout(first: str, data: config.Data, labelled: bool) -> Layout:
    layout = layouts.table(first, data)
    tabular_columns(layout.columns, data, labelled)
    return layout


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
            raise layouts.lacking(name, names)
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise UserError(
                f"column {name!r}: a name that is a pattern cannot be told from one; rename it"
            )
    if len(set(wanted)) < len(wanted):
        raise UserError(f"columns {', '.join(wanted)}: one is declared twice")
    if "label" in wanted and data.label != "label":
        raise UserError(
            f"column 'label': called so, it would be taken for the label, which is {data.label!r}; "
            "rename it"
        )
    return wanted


def _tabular_checks(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    del layout
    return {n: ~v.is_finite().fill_null(False) for n, v in _tabular_numbers(data).items()}


def _tabular_numbers(data: config.Data) -> dict[str, pl.Expr]:
    return {n: cell.cast(pl.Float64, strict=False) for n, cell in _number_cells(data).items()}


def _number_cells(data: config.Data) -> dict[str, pl.Expr]:
    return {name: pl.col(name).str.strip_chars() for name in data.numeric + data.values}


def _missing(data: config.Data) -> dict[str, pl.Expr]:
    cells = _number_cells(data)
    return {name: cell.str.to_lowercase().is_in(NO_NUMBER) for name, cell in cells.items()}


def _tabular_cells(schema: pl.Schema, data: config.Data) -> dict[str, pl.Expr]:
    numbers = {name: value.fill_nan(None) for name, value in _tabular_numbers(data).items()}
    return numbers | {c: _bag(pl.col(c), schema[c], data.bag_separator) for c in data.bags}


def _bag(cell: pl.Expr, kind: pl.DataType, separator: str) -> pl.Expr:
    """The values of a cell, or of a list, without the blank ones; where there are none, one
    blank.
    """
    listed = cell if isinstance(kind, pl.List) else cell.str.split(separator)
    values = listed.list.filter(pl.element().is_not_null() & (pl.element() != ""))
    return pl.when(values.list.len() > 0).then(values).otherwise(pl.lit([""]))


def _tabular_meanings(layout: Layout, data: config.Data) -> dict[str, pl.Expr]:
    known = [name for name in words(data) if name in layout.columns]
    return {name: _without_na(canonical(pl.col(name)), data) for name in known}


def _without_na(word: pl.Expr, data: config.Data) -> pl.Expr:
    """A word, or a blank for one that stands for a missing value."""
    if not data.na_values:
        return word
    blank = dict.fromkeys(_canonical(pl.Series(data.na_values)), "")
    return word.replace(blank)


def words(data: config.Data) -> tuple[str, ...]:
    """The fields of a table whose values are words, read as `canonical` has them; a cross's are
    made of these, and no field of another format is read so.
    """
    if data.format != "tabular":
        return ()
    return tuple(name for name in tabular_fields(data) if name not in data.numeric + data.values)


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
        layouts.criteo,
        lambda layout, data: CRITEO,
        "label",
        checks=_criteo_checks,
        meanings=_criteo_meanings,
        wanted="a whole number, or a blank",
    ),
    "avazu": Format(layouts.avazu, lambda layout, data: AVAZU, "click"),
    "ratings": Format(layouts.ratings, lambda layout, data: ("user", "movie"), "rating"),
    "libsvm": Format(
        layouts.libsvm,
        lambda layout, data: tuple(c for c in layout.columns if c != "label"),
        "label",
        checks=_libsvm_checks,
        meanings=_libsvm_meanings,
        wanted="index:1 (numbers as values are for --config.data.format=tabular)",
    ),
    "tabular": Format(
        _tabular_layout,
        lambda layout, data: tuple(
            c for c in tabular_fields(data) if c in layout.columns or c in tabular_inputs(data)
        ),
        "",  # data.label
        checks=_tabular_checks,
        columns=_tabular_cells,
        meanings=_tabular_meanings,
        excused=_missing,
        wanted="a finite number, or a blank, NaN, NA, NULL",
    ),
}
