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
from autoloss_jax.distributed import atomic, sums

FOLDER = "controllers"
Snapshot = tuple[Params, Params]  # parameters, batch statistics


def write(workdir: Path, step: int, controller: Network) -> None:
    """Leave the controller of a step; the file appears whole or not at all."""
    tree = {"params": controller.params, "stats": controller.stats}
    arrays: dict[str, Any] = {
        name: np.asarray(a) for name, a in traverse_util.flatten_dict(tree, sep="/").items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    name = f"{FOLDER}/{step:09d}.npz"
    sums.drop(workdir, name)
    atomic.write_bytes(workdir / name, buffer.getvalue())


def read(workdir: Path) -> dict[int, Snapshot]:
    """Step -> snapshot, in the order of the steps; empty if there is none. UserError where they
    are not those that a finished run left.
    """
    there, left = names(workdir), {n for n in sums.known(workdir) if n.startswith(f"{FOLDER}/")}
    if there and left and (others := {*there} ^ left):
        what = "is lost" if min(others) in left else "is not of this run"
        raise UserError(f"{workdir / min(others)}: {what}; train the run again, in another workdir")
    sums.check(workdir, *there)
    return {int(Path(name).stem): _read(workdir / name) for name in there}


def names(workdir: Path) -> list[str]:
    """The files of snapshots in a run's folder, in the order of their steps."""
    found = [path for path in (workdir / FOLDER).glob("*.npz") if path.stem.isdigit()]
    return [f"{FOLDER}/{path.name}" for path in sorted(found, key=lambda path: int(path.stem))]


def _read(path: Path) -> Snapshot:
    try:
        with np.load(path) as file:  # the sums in it are verified
            tree = traverse_util.unflatten_dict(dict(file), sep="/")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: a damaged snapshot ({error}); train its run again") from error
    return tree["params"], tree.get("stats", {})
