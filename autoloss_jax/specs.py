"""A name with parameters, as focal(gamma=1.0) or autoint(heads=2,layers=3): how a flag chooses a loss or a model."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from autoloss_jax.settings import UserError, nearest

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
    """What `spec` names among the known, and the values that it gives to some of its parameters.

    `parameters` tells a parameter's type and default by name. A type is float, bool, one of the whole numbers
    above, tuple (of widths, as 64x32) or Literal. Anything else in a spec is a UserError that begins with `where`
    and lists what is known.
    """
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", spec.strip())
    name, arguments = (match[1], match[2] or "") if match else (spec, "")
    if name not in known:
        raise UserError(f"{where}: not one of {', '.join(known)}{nearest(name, list(known))}")
    takes, values = parameters(known[name]), {}
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
    return known[name], values


def _value(kind: Any, text: str) -> Any:
    """The value that `text` means; ValueError with the words for what it should have been."""
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(f"one of {', '.join(get_args(kind))}{nearest(text, list(get_args(kind)))}")
        return text
    if get_origin(kind) is Annotated:
        least = kind.__metadata__[0]
        if not re.fullmatch(r"-?\d+", text) or int(text) < least:
            raise ValueError(f"a whole number from {least}")
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
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "64x32"
    return str(value).lower() if isinstance(value, bool) else str(value)
