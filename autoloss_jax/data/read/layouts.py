"""How the lines of each format are cut: what parts their cells, and what its columns are called.

Whether the first line is a header is decided by what it holds, or by `data.header`; a header's
columns are known by their names, in any order.
"""

import re
from collections.abc import Collection

from autoloss_jax import config
from autoloss_jax.config.errors import UserError, nearest
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
RATINGS = ("user", "movie", "rating", "timestamp")
OTHER_NAMES = {
    "userid": "user", "uid": "user", "movieid": "movie", "item": "movie", "itemid": "movie",
    "iid": "movie", "score": "rating", "stars": "rating", "time": "timestamp", "date": "timestamp",
}  # fmt: skip
SEPARATORS = (",", "\t", ";", "|")
WORDS = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


def criteo(first: str, data: config.Data, labelled: bool) -> Layout:
    """Tabs; as Criteo publishes them without a header."""
    return _known(first, "\t", ("label", *CRITEO), {"label"}, data, labelled)


def avazu(first: str, data: config.Data, labelled: bool) -> Layout:
    """Commas, and a header, in any order, or none."""
    return _known(first, ",", ("id", "click", *AVAZU), {"click"}, data, labelled)


def ratings(first: str, data: config.Data, labelled: bool) -> Layout:
    """A user, a movie, and, of rows to score not always, a rating; what comes fourth is a time."""
    separator = next((s for s in ("::", "\t") if s in first), ",")
    width, known = len(_cells(first, separator)), sum(map(bool, _names(first, separator, RATINGS)))
    if not (3 if labelled else 2) <= width <= 4 and (known < 2 or data.header == "false"):
        raise UserError(
            f"ratings: a line has {width} columns; wants user::movie::rating::timestamp, or "
            "userId,movieId,rating,timestamp"
        )
    return _known(first, separator, RATINGS[:width], set(RATINGS[2:]), data, labelled)


def libsvm(first: str, data: config.Data, labelled: bool) -> Layout:
    """Pairs of an index and a value, one a field, after a label, which rows to score may lack."""
    del data
    cells = text.words(first)
    features = sum(":" in cell for cell in cells)
    if not features:
        raise UserError("libsvm: the first line has no index:value pair, as in `1 12:1 305:1`")
    has_label = labelled or ":" not in cells[0]
    return Layout(
        (("label",) if has_label else ()) + tuple(f"field_{i}" for i in range(features)), " "
    )


def table(first: str, data: config.Data) -> Layout:
    """A table by the header of its file. Columns that share a name, or have none, are told apart
    by their places.
    """
    if data.header == "false":
        raise UserError(
            "--config.data.header=false: a table's columns are known by its header; write one"
        )
    separator = _separator(data.delimiter) if data.delimiter else _likely(first, data)
    try:
        names = text.cells(first.encode(), Layout((), separator, quoted=True))
    except ValueError as error:
        raise UserError(f"the header: {error}") from error
    for name in declared(data):
        if names.count(name) > 1:
            raise UserError(f"the header has the column {name!r} {names.count(name)} times")
    places = enumerate(names, 1)
    told_apart = tuple(
        name if name and names.count(name) == 1 else f"{name} (column {place})".strip()
        for place, name in places
    )
    return Layout(told_apart, separator, header=True, quoted=True)


def declared(data: config.Data) -> tuple[str, ...]:
    """The columns of a table that the config names."""
    fields = data.categorical + data.numeric + data.values + data.bags + data.context
    others = (data.label, data.time, data.weight)
    return tuple(dict.fromkeys((*fields, *(name for name in others if name))))


def _separator(asked: str) -> str:
    """What `data.delimiter` means: itself, a word for it, or an escape, as \\t or \\x01."""
    found = WORDS.get(asked, asked.replace("\\t", "\t"))
    found = re.sub(r"\\x([0-9a-fA-F]{2})", lambda code: chr(int(code[1], 16)), found)
    if '"' in found or "\n" in found or "\r" in found or "\0" in found:
        raise UserError(
            f"--config.data.delimiter={asked!r}: a quote, a line end or a NUL byte cannot part "
            "columns"
        )
    return found


def _likely(first: str, data: config.Data) -> str:
    """What parts the columns of a header: that by which most of the declared columns are there,
    and most columns; of those that are level the first.
    """

    def found(separator: str) -> tuple[int, int]:
        try:
            names = text.cells(first.encode(), Layout((), separator, quoted=True))
        except ValueError:
            names = []
        return len({*names} & {*declared(data)}), len(names)

    return max(SEPARATORS, key=found)


def _known(
    first: str,
    separator: str,
    columns: tuple[str, ...],
    optional: Collection[str],
    data: config.Data,
    labelled: bool,
) -> Layout:
    """Of a format that has its columns by heart: by the names of a header, or by their places.

    Rows to score may have the optional columns.
    """
    quoted = separator == ","
    header = _is_header(first, separator, columns, data)
    cells = _cells(first, separator)
    if header:
        names = _names(first, separator, columns)
        if any(names):
            unread = {"id", "timestamp", *(() if labelled else optional)}
            wanted = [column for column in columns if column not in unread]
            missing = [c for c in wanted if c not in names]
            if missing or max(names.count(c) for c in wanted) > 1:
                raise UserError(
                    f"the header: no column {missing[0]!r}"
                    if missing
                    else f"the header: {', '.join(cells)}: a column is there twice"
                )
            named = (name or f"column {place}" for place, name in enumerate(names, 1))
            return Layout(tuple(named), separator, header=True, quoted=quoted)
    if not labelled and len(cells) != len(columns):
        columns = tuple(c for c in columns if c not in optional)
    return Layout(columns, separator, header=header, quoted=quoted)


def _is_header(first: str, separator: str, columns: tuple[str, ...], data: config.Data) -> bool:
    """Whether a line is one: in `auto` if it has two names of columns, and half of them."""
    if data.header != "auto":
        return data.header == "true"
    names = _names(first, separator, columns)
    known = sum(map(bool, names))
    return known >= 2 and 2 * known >= min(len(columns), len(names))


def _cells(line: str, separator: str) -> list[str]:
    """Those of a line; none of one that is malformed, which is found as such among the rows."""
    try:
        return text.cells(line.encode(), Layout((), separator, quoted=separator == ","))
    except ValueError:
        return []


def _names(line: str, separator: str, columns: tuple[str, ...]) -> list[str]:
    """Of each cell the column that it names, or nothing."""
    others = {name: of for name, of in OTHER_NAMES.items() if of in columns}
    known = {_fold(name): name for name in columns} | others
    return [known.get(_fold(cell), "") for cell in _cells(line, separator)]


def _fold(name: str) -> str:
    return re.sub(r"[\s_\-\"']", "", name).lower()


def lacking(name: str, names: Collection[str]) -> UserError:
    """What is said where a declared column is not in a file."""
    return UserError(
        f"column {name!r} is not in the file, which has "
        f"{', '.join(names)}{nearest(name, list(names))}"
    )
