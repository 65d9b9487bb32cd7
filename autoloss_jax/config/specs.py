"""A name with parameters, as focal(gamma=1.0) or autoint(heads=2,layers=3): how a flag chooses a
loss or a model.
"""

import inspect
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from autoloss_jax.config import import_string
from autoloss_jax.config.errors import UserError, nearest

T = TypeVar("T")
Count = Annotated[int, 1]  # whole numbers, and the least that they may be
Order = Annotated[int, 2]
Index = Annotated[int, 0]
Choice = Annotated[int, -1]  # an index, or -1 for none


def parse(
    where: str,
    spec: str,
    known: Mapping[str, T],
    parameters: Callable[[T], Mapping[str, tuple[Any, Any]]],
) -> tuple[T, dict[str, Any]]:
    """What `spec` names, among the known or as package.module:name, and the values that it gives
    to some of its parameters.

    `parameters` tells a parameter's type and default by name; a type is one that `readable`
    knows. Anything else in a spec is a UserError that begins with `where` and lists what is
    known.
    """
    match = re.fullmatch(r"([\w.:]+)(?:\((.*)\))?", spec.strip())
    name, arguments = (match[1], match[2] or "") if match else (spec, "")
    if ":" in name:
        named: Any = import_string.load(where, name)
    elif name in known:
        named = known[name]
    else:
        raise UserError(f"{where}: not one of {', '.join(known)}{nearest(name, list(known))}")
    takes, values = parameters(named), {}
    for argument in arguments.split(",") if arguments.strip() else []:
        parameter, _, value = (part.strip() for part in argument.partition("="))
        if parameter not in takes:
            listed = f"takes {', '.join(takes)}" if takes else "takes no parameters"
            raise UserError(f"{where}: {name} {listed}{nearest(parameter, list(takes))}")
        if parameter in values:
            raise UserError(f"{where}: {parameter} is given twice")
        kind, default = takes[parameter]
        try:
            values[parameter] = _value(kind, value)
        except ValueError as error:
            example = f"{name}({parameter}={_written(default)})"
            raise UserError(f"{where}: {value!r} is not {error}, as in {example}") from None
    return named, values


def readable(kind: Any) -> bool:
    """Whether a value of this type can be written in a spec.

    It is float, bool, int, str, one of the whole numbers above, a tuple of widths (as 64x32), or
    a Literal of words; or a union of these.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return all(readable(one) for one in get_args(kind))
    if origin is Annotated:
        return get_args(kind)[0] is int and isinstance(get_args(kind)[1], int)
    if origin is tuple:
        return get_args(kind) == (int, ...)
    return kind in (float, bool, int, str) or (
        origin is Literal and all(isinstance(a, str) for a in get_args(kind))
    )


def _value(kind: Any, text: str) -> Any:
    """The value that `text` means; ValueError with the words for what it should have been."""
    if get_origin(kind) in (Union, types.UnionType):
        wanted = []
        for one in get_args(kind):
            try:
                return _value(one, text)
            except ValueError as error:
                wanted.append(str(error))
        raise ValueError(", or ".join(wanted))
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(
                f"one of {', '.join(get_args(kind))}{nearest(text, list(get_args(kind)))}"
            )
        return text
    if kind is str:
        return text
    if kind is int or get_origin(kind) is Annotated:
        _, least = get_args(kind) or (int, None)
        if not re.fullmatch(r"-?\d+", text) or (least is not None and int(text) < least):
            raise ValueError("a whole number" if least is None else f"a whole number from {least}")
        return int(text)
    if get_origin(kind) is tuple:
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
            raise ValueError("positive widths")
        return tuple(int(width) for width in text.split("x"))
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text == "true"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("a finite number")
    return value


def _written(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "..."
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "64x32"
    return str(value).lower() if isinstance(value, bool) else str(value)
