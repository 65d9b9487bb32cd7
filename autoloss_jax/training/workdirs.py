"""A run's folder: who holds it, whether it is complete, and whether it is the same run."""

import contextlib
import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoloss_jax.config import Config, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import atomic, documents, processes
from autoloss_jax.distributed.documents import COUNT, Number

# may differ when a run goes on: the dataset's fingerprint decides, the others change no bit
MOVABLE = (
    "data.path",
    "data.cache",
    "data.generate",
    "data.residence",
    "train.block",
    "mesh.data",
    "mesh.model",
    "run.profile",
    "run.gradient_agreement",
)


class Preempted(Exception):
    """A signal asked the run to end; its state is saved."""

    def __init__(self, number: int):
        self.number = number


class Busy(UserError):
    """Another process holds the workdir."""


SHARE, LOSS = (None, Number(0, 1)), (None, Number(0))
FIGURES = {
    "auc": SHARE,
    "logloss": LOSS,
    "logloss_calibrated?": LOSS,
    "auc_undefined?": str,
    "rmse?": LOSS,
    "mae?": LOSS,
}
RESULT = {
    "schema?": Number(1, 1),
    "config": dict,
    "method": str,
    "label?": str,
    "model": str,
    "dataset": str,
    "seed": int,
    "best_step": COUNT,
    "val": FIGURES,
    "test": FIGURES,
    "calibration?": {"scale": Number(), "shift": (Number(), [Number()])},
    "num_examples?": {"train": COUNT, "val": COUNT, "test": COUNT},
    "wall_seconds?": Number(0),
    "examples_per_second?": (None, Number(0)),
}  # what others read of a result.json; earlier versions lack what has a ?


def read_result(workdir: Path) -> dict[str, Any]:
    """The content of a finished run's result.json; UserError where there is none, and for what
    is none.
    """
    path = workdir / "result.json"
    if not path.is_file():
        raise UserError(f"{workdir}: no finished run here (no result.json)")
    return documents.read(path, RESULT)


def read_config(folder: Path) -> Config:
    """The config of a run or a search that was begun in a folder."""
    return documents.read_config(folder / "config.json")


def write_config(cfg: Config, folder: Path) -> None:
    """Leave the config of what begins in a folder."""
    documents.write(folder / "config.json", json.loads(settings.to_json(cfg)))


def finished_result(cfg: Config, workdir: Path) -> dict[str, Any] | None:
    """The result.json of a complete run of the same config, or None; UserError if the workdir
    holds another run.
    """
    if (path := workdir / "result.json").exists():
        result = read_result(workdir)
        refuse_other_config(cfg, documents.as_config(result["config"], path), workdir)
        return result
    if (workdir / "config.json").exists():
        refuse_other_config(cfg, read_config(workdir), workdir)
    return None


def refuse_other_config(cfg: Config, saved: Config, workdir: Path) -> None:
    """UserError naming the first key in which a workdir's run differs from this one."""
    for (name, new, _), (_, old, _) in zip(settings.keys(cfg), settings.keys(saved), strict=True):
        if new != old and name not in MOVABLE:
            raise UserError(
                f"{workdir} holds a run with --config.{name}={old!r}, not {new!r}; use another "
                "--workdir"
            )


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold the workdir; Busy if another run does, UserError if it cannot be written. The kernel
    frees it after a kill.

    Of several processes the chief holds it for all; UserError where it is not the same folder,
    and for a path that Orbax takes for a pattern: what it saves there it cannot restore.
    """
    if taken := sorted({*str(workdir.absolute())} & {*"[]*?"}):
        raise UserError(
            f"--workdir={workdir}: no checkpoint can be restored from a path with {taken[0]}; use "
            "another --workdir"
        )
    if not processes.is_chief():
        processes.wait()
        if not (workdir / ".lock").exists():
            raise UserError(
                f"{workdir}: not what process 0 sees; name a folder of a shared file system"
            )
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with (workdir / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise Busy(
                    f"{workdir}: process {file.read().strip()} is training here; wait, or use "
                    "another --workdir"
                ) from None
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            atomic.sweep(workdir)
            processes.wait()
            yield
    except OSError as error:
        raise UserError(
            f"{workdir}: cannot be written ({error.strerror or error}); use another --workdir"
        ) from error


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int]]:
    """A function giving the first SIGTERM or SIGINT that came (0: none); a second one ends the
    process at once.
    """
    received: list[int] = []
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # signals are the main thread's alone
        yield lambda: 0
        return

    def handle(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
