"""Snapshots of a controller along its training: one small file an evaluation, which numpy alone
can read.

`WORKDIR/controllers/<step>.npz` holds V's parameters and batch statistics under their paths, as
"params/Dense_0/bias". A run that goes on from a checkpoint writes those after it again, with
equal bits.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from autoloss_jax.algorithm.state import Network, Params
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic

Snapshot = tuple[Params, Params]  # parameters, batch statistics


def write(workdir: Path, step: int, controller: Network) -> None:
    """Leave the controller of a step; the file appears whole or not at all."""
    tree = {"params": controller.params, "stats": controller.stats}
    arrays: dict[str, Any] = {
        name: np.asarray(a) for name, a in traverse_util.flatten_dict(tree, sep="/").items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    folder = workdir / "controllers"
    folder.mkdir(exist_ok=True)
    atomic.write_bytes(folder / f"{step:09d}.npz", buffer.getvalue())


def read(workdir: Path) -> dict[int, Snapshot]:
    """Step -> snapshot, in the order of the steps; empty if the run left none. UserError for a
    damaged file.
    """
    files = sorted((workdir / "controllers").glob("*.npz"), key=lambda path: int(path.stem))
    return {int(path.stem): _read(path) for path in files}


def _read(path: Path) -> Snapshot:
    try:
        with np.load(path) as file:  # the sums in it are verified
            tree = traverse_util.unflatten_dict(dict(file), sep="/")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: a damaged snapshot ({error}); train its run again") from error
    return tree["params"], tree.get("stats", {})
