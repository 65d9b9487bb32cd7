"""A tree of settings: typed keys with help and range, from a file, flags or JSON; and what a
user can mend.
"""

import dataclasses
import json
import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from autoloss_jax.config.errors import UserError, nearest
from autoloss_jax.config.renamed import RENAMED

T = TypeVar("T")


# of a key that has no range of its own: what arrays hold
MOST: dict[Any, float] = {int: 2**31 - 1, float: 1e30}


def field(
    default: T,
    help: str,
    *,
    choices: tuple = (),
    low: float | None = None,
    high: float | None = None,
    by_rule: tuple = (),
) -> T:
    """A config key: its default, one line of help, and the values it may take.

    `by_rule` holds the value that leaves it to the data, if one does (`training/defaults.py`).
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "by_rule": by_rule}
    return dataclasses.field(default=default, metadata=metadata)


def with_keys(config: T, values: Mapping[str, Any]) -> T:
    """A copy of `config` with dotted keys replaced, as {"model.name": "ipnn"}."""
    for name, value in values.items():
        section, _, rest = name.partition(".")
        new = with_keys(getattr(config, section), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{section: new})  # type: ignore[type-var]
    return config


def parsed(config: Any, values: Mapping[str, str]) -> dict[str, Any]:
    """Dotted keys with values as text, which is JSON or a plain word: 0.4, ["ce","focal"], adam;
    UserError for no such key.
    """
    known = [name for name, _, _ in keys(config)]
    found: dict[str, Any] = {}
    for name, text in values.items():
        if name in RENAMED:
            raise UserError(f"{name}={text}: now called {RENAMED[name]}={text}")
        if name not in known:
            raise UserError(f"{name}={text}: no such config key{nearest(name, known)}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


def variant(config: T, name: str, variants: Mapping[str, Mapping[str, Any]]) -> T:
    """`config` in the variant that follows the colon in --config=FILE:name; UserError for an
    unknown one.
    """
    if name and name not in variants:
        raise UserError(
            f"--config: no variant {name!r} here; it has "
            f"{', '.join(variants)}{nearest(name, list(variants))}"
        )
    return with_keys(config, variants.get(name, {}))


def keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """Every leaf of `config` as (dotted key, value, field)."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value, field


def left_to_rule(config: Any) -> list[str]:
    """The keys that a config leaves to the data (`training/defaults.py`)."""
    return [name for name, value, field in keys(config) if value in field.metadata["by_rule"]]


def plain(config: Any) -> dict[str, bool | int | float | str]:
    """Every leaf of `config` by its dotted key, tuples as text, for programs that compare runs."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value, _ in keys(config)
    }


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Config keys as words of a command line."""
    return [f"--config.{name}={value}" for name, value in values.items()]


def describe(config: Any) -> str:
    """The keys of a config with their values and meaning, one a line, for --help."""
    lines = []
    for name, value, field in keys(config):
        choices = field.metadata["choices"]
        lines.append(
            f"  --config.{name}={value!r}\n      {field.metadata['help']}"
            + (f" ({' | '.join(choices)})" if choices else "")
        )
    return "\n".join(lines)


def check(config: T) -> T:
    """Return `config` if every value has its declared type and range; UserError names the key
    otherwise.
    """
    for name, value, field in keys(config):
        where = f"--config.{name}={value!r}"
        choices, low, high = (field.metadata[k] for k in ("choices", "low", "high"))
        most = MOST.get(field.type) if high is None else high
        if not _fits(value, field.type):
            raise UserError(f"{where}: wants {_type_name(field.type)}")
        if choices and value not in choices:
            raise UserError(
                f"{where}: not one of {', '.join(choices)}{nearest(value, list(choices))}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: wants a finite number")
        if low is not None and value < low and value not in field.metadata["by_rule"]:
            raise UserError(f"{where}: must be at least {low}")
        if most is not None and value > most:
            raise UserError(f"{where}: must be at most {most:,}")
    return config


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(kind)[0]) for v in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def _type_name(kind: Any) -> str:
    named = isinstance(kind, type) and not isinstance(kind, types.GenericAlias)
    return kind.__name__ if named else str(kind)


def to_json(config: Any) -> str:
    """The resolved config as JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, allow_nan=False)


def from_dict(data: Mapping[str, Any], kind: type[T], prefix: str = "") -> T:
    """A config from parsed JSON. A missing key keeps its default; an unknown one is a UserError."""
    hints = get_type_hints(kind)
    for name in data:
        if name not in hints:
            raise UserError(f"unknown config key '{prefix}{name}'{nearest(name, list(hints))}")
    values = {}
    for name, value in data.items():
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise UserError(f"config key '{prefix}{name}' is a section, not {value!r}")
            value = from_dict(value, hints[name], f"{prefix}{name}.")
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
