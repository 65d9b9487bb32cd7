"""JSON files of ours: written whole, with their sum after them; read against a shape."""

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any, NoReturn

from autoloss_jax import config
from autoloss_jax.config import Config
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import sums


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number of a range."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        kinds = int if self.whole else int | float
        right = isinstance(value, kinds) and not isinstance(value, bool)
        return right and abs(value) <= sys.float_info.max and self.low <= value <= self.high


COUNT = Number(0, whole=True)


def read(path: Path, shape: Any = dict) -> Any:
    """What is in a JSON file of ours.

    Args:
        path: the file; it is as it was written, if its folder has the sum of it.
        shape: what it must be. A type; a `Number`; None; several of these in a tuple, of which
            one must hold; a list of one, which all elements are; or a dict of those that its keys
            must have, and may have where the key ends in ?, with other keys beside them.

    Raises:
        UserError: if it is none, or is not what was written.
    """
    sums.check(path.parent, path.name)
    try:
        value = json.loads(path.read_text(), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read as JSON ({what})") from error
    if wrong := _misfit(value, shape, ""):
        raise UserError(f"{path}: {wrong}; it was written by something else, or changed since")
    return value


write = sums.write_json


def read_config(path: Path) -> Config:
    """The config in a file."""
    return as_config(read(path), path)


def as_config(value: dict[str, Any], path: Path) -> Config:
    """The config in a part of a file; what is wrong with it is said with the file's name."""
    try:
        return config.from_dict(value)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _misfit(value: Any, shape: Any, where: str) -> str:
    """What is not as it must be, or nothing."""
    name = where or "the document"
    if isinstance(shape, tuple):
        if all(_misfit(value, one, where) for one in shape):
            return f"{name} is {_short(value)}"
        return ""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{name} is {_short(value)}, not an object"
        for key, of in shape.items():
            key, optional = key.removesuffix("?"), key.endswith("?")
            if key not in value and not optional:
                return f"{name} lacks {key!r}"
            if key in value and (wrong := _misfit(value[key], of, f"{where}.{key}".lstrip("."))):
                return wrong
        return ""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is {_short(value)}, not a list"
        wrongs = (_misfit(one, shape[0], f"{where}[{n}]") for n, one in enumerate(value))
        return next(filter(None, wrongs), "")
    if shape is None or isinstance(shape, Number):
        right = value is None if shape is None else value in shape
    else:
        right = isinstance(value, shape) and (shape is not int or not isinstance(value, bool))
    return "" if right else f"{name} is {_short(value)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
