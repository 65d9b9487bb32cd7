"""SHA-256 sums of the files of a folder, in its sha256.json: whoever reads one of them finds what
has been changed since it was written.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, processes

NAME = "sha256.json"


def of(path: Path) -> str:
    """The SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def known(folder: Path) -> dict[str, str]:
    """File -> its sum when it was written; nothing in a folder that has none."""
    path = folder / NAME
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ValueError("not a sum for each file")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    return found


def check(folder: Path, *names: str) -> None:
    """UserError for the first of these files that is not what was written."""
    wanted = known(folder)
    for name in names:
        if name in wanted and of(folder / name) != wanted[name]:
            raise UserError(
                f"{folder / name}: damaged: it is not what was written there ({NAME}); bring it "
                "back, or delete the folder and make it again"
            )


def keep(folder: Path, *names: str) -> None:
    """Take down the sums of these files as they are now."""
    if processes.is_chief():
        now = {name: of(folder / name) for name in names if (folder / name).exists()}
        atomic.write_json(folder / NAME, known(folder) | now)


def drop(folder: Path, *names: str) -> None:
    """Forget the sums of files that are about to be written."""
    before = known(folder) if processes.is_chief() else {}
    if left := {*before} & {*names}:
        atomic.write_json(folder / NAME, {n: s for n, s in before.items() if n not in left})


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, and its sum after it: a kill leaves no sum of another content."""
    drop(path.parent, path.name)
    atomic.write_json(path, value)
    keep(path.parent, path.name)
