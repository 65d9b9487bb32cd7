"""Files that are old or new, never half; of several processes the chief writes them."""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoloss_jax.distributed import processes

TEMPORARY = ".tmp"
_written: set[Path] = set()  # now


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: it is old or new, never half. Of several processes the chief
    writes.
    """
    if not processes.is_chief():
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which in the end becomes it, whole, or is gone.

    Nobody knows its name before, and what somebody has put there is not written through.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}{TEMPORARY}")
    _written.add(temporary)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _written.discard(temporary)


def abandon() -> None:
    """Remove what is being written in this process, which ends."""
    for temporary in [*_written]:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sweep(folder: Path) -> None:
    """Remove what a kill has left of files that were being written in a folder."""
    for left in folder.glob(f".*{TEMPORARY}"):
        left.unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """`value` with every NaN or infinity in it as None, which is null in JSON."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
