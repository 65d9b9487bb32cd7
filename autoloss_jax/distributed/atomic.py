"""Files that are old or new, never half; of several processes the chief writes them."""

import json
import math
import os
from pathlib import Path
from typing import Any

from autoloss_jax.distributed import processes


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def finite(value: Any) -> Any:
    """`value` with every NaN or infinity in it as None, which is null in JSON."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
