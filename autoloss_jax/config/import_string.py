"""An object of the user's own, named as package.module:name, and what goes wrong in their code,
in one line.
"""

import contextlib
import contextvars
import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoloss_jax.config.errors import UserError, nearest

_named: set[str] = set()
_asks: contextvars.ContextVar[str] = contextvars.ContextVar("_asks", default="")


def load(where: str, reference: str) -> Any:
    """What `reference`, package.module:name, names; found as `import` finds it, and in the
    current folder last.

    UserError, beginning with `where`, if there is no such module or name, or if the module
    itself fails; and where a file asks for it (`asked_by`) and nobody else has named the module.
    """
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", reference):
        raise UserError(f"{where}: {reference!r} is not package.module:Name")
    module, _, name = reference.partition(":")
    if (file := _asks.get()) and module not in _named:
        raise UserError(
            f"{file}: runs the code of {reference!r}, which is not part of it ({where}); where you "
            f"trust both, add --allow-imports={module}, in Python allow_imports=[{module!r}]"
        )
    allow(module)
    here = os.getcwd()
    if (
        here not in sys.path
    ):  # launch/run.sh leaves it out, and first it could hide an installed package
        sys.path.append(here)
    try:
        found = vars(importlib.import_module(module))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise UserError(
                f"{where}: no module {error.name!r} in the current folder ({here}) or on "
                "PYTHONPATH; go to the folder that holds it, or set PYTHONPATH"
            ) from None
        raise UserError(f"{where}: importing {module} failed: {_told(error)}") from error
    if name not in found:
        raise UserError(f"{where}: {module} has no {name!r}{nearest(name, list(found))}")
    return found[name]


def allow(*modules: str) -> None:
    """Modules that a person has named, in a config of theirs or by a flag."""
    _named.update(modules)


@contextlib.contextmanager
def asked_by(file: Path) -> Iterator[None]:
    """What is loaded in here is what a file of somebody's says: nothing but modules that were
    named before, in this process, is imported.
    """
    token = _asks.set(str(file))
    try:
        yield
    finally:
        _asks.reset(token)


@contextlib.contextmanager
def blamed(where: str) -> Iterator[None]:
    """Whatever the user's own code raises is a UserError of one line, which begins with `where`
    and tells the place.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {_told(error)}") from error


def floats(where: str, value: Any, shape: tuple[int, ...], wanted: str) -> Any:
    """`value`, which the user's own code returned, if it is an array of this shape whose type is
    float32, bfloat16 or another float; else UserError with what is wanted.
    """
    array = hasattr(value, "dtype") and hasattr(value, "shape")
    if array and value.shape == shape and "float" in str(value.dtype):
        return value
    given = f"{value.dtype}{list(value.shape)}" if array else type(value).__name__
    raise UserError(f"{where}: returned {given}; it wants {wanted}, here float{list(shape)}")


def _told(error: Exception) -> str:
    """The place in the user's own code where `error` arose, if any, and the first of its own
    lines.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _theirs(f.filename)]
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    lines = str(error).strip().splitlines() or [""]
    return f"{place}{type(error).__name__}: {lines[0]}"


def _theirs(file: str) -> bool:
    """Whether a source file is neither ours nor an installed package's nor Python's own."""
    others = [
        Path(__file__).parents[1],
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    ]
    return Path(file).is_file() and not any(Path(file).is_relative_to(folder) for folder in others)
