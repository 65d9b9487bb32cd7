"""One run in several processes: who they are, who speaks and writes for all, where they wait,
and how they end together.

`jax.distributed` makes one mesh of their devices. Slurm's `srun` tells each process who it is;
elsewhere these do: JAX_COORDINATOR_ADDRESS=HOST:PORT, of process 0, JAX_NUM_PROCESSES and
JAX_PROCESS_ID. Without them a run is one process.
"""

import atexit
import contextlib
import dataclasses
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from autoloss_jax.config.errors import UserError, plain
from autoloss_jax.distributed import runtime

# JAX is imported by the functions of a run of several processes, not here: whoever only reads
# flags asks `is_chief`, and must not wait a second for JAX to load.

HEARTBEAT = 30  # seconds of silence after which a process counts as dead
POLL = 1.0  # seconds between looks at whether another has failed
PATIENCE = 7 * 24 * 3600 * 1000  # milliseconds: a dataset may take long to prepare
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
AGAIN = (
    "start all of them again with the same command, and the run goes on from its last checkpoint"
)
GONE = "another process is gone, or cannot be reached"

T = TypeVar("T")


@dataclasses.dataclass
class _Joined:
    """What `join` found: how many processes there are, and which one this is."""

    count: int = 1
    which: int = 0


_joined = _Joined()
_numbers = itertools.count()  # of meetings, in which all processes take part in one order


def join() -> None:
    """Join the processes that the environment tells of; before JAX is asked for devices."""
    given = told()
    if not given:
        return
    import jax

    which = given.get("process_id", os.environ.get("SLURM_PROCID"))
    gone = f"error: process {which}: {GONE}; {AGAIN}"
    runtime.filter_native_output(gone, GONE)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    jax.distributed.initialize(**given, heartbeat_timeout_seconds=HEARTBEAT)
    _joined.count, _joined.which = runtime.joined()
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(over,), daemon=True)
    watch.start()
    atexit.register(lambda: (over.set(), watch.join()))


def told() -> dict[str, Any]:
    """The arguments of jax.distributed.initialize; none for a run of one process. UserError for
    half of them.
    """
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    address, number, which = given.values()
    if not any(given.values()):
        several = "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1
        return {"cluster_detection_method": "slurm"} if several else {}
    if not (":" in address and number.isdigit() and which.isdigit() and int(which) < int(number)):
        raise UserError(
            f"{', '.join(f'{k}={v}' for k, v in given.items())}: wanted are HOST:PORT, the number "
            "of processes, and which of them this one is, from 0"
        )
    named = {"coordinator_address": address, "num_processes": int(number), "process_id": int(which)}
    return named | {"cluster_detection_method": "deactivate"} if int(number) > 1 else {}


def count() -> int:
    """How many processes make this run."""
    return _joined.count


def is_chief() -> bool:
    """Whether this process speaks and writes for all: process 0."""
    return _joined.which == 0


def say(text: str) -> None:
    """A line for people; of several processes the chief says it."""
    if is_chief():
        print(*map(plain, text.split("\n")), sep="\n", file=sys.stderr, flush=True)


def alone(what: str) -> None:
    """UserError in a run of several processes."""
    if count() > 1:
        raise UserError(
            f"{what}: works in one process only; start it without {' and '.join(VARIABLES[1:])}, "
            "or srun"
        )


def wait() -> None:
    """Until all processes are here."""
    if count() > 1:
        runtime.coordinator().wait_at_barrier(f"meeting {next(_numbers)}", PATIENCE)


def chief_first(make: Callable[[], T]) -> T:
    """What each process makes, or finds already made: the others after the chief, none goes on
    before the last.
    """
    if not is_chief():
        wait()
    made = make()
    if is_chief():
        wait()
    wait()
    return made


def of_chief(decide: Callable[[], str]) -> str:
    """What the chief decides, on all processes."""
    if count() == 1:
        return decide()
    key = f"decision {next(_numbers)}"
    if is_chief():
        runtime.coordinator().key_value_set(key, decide())
    return runtime.coordinator().blocking_key_value_get(key, PATIENCE)


def greatest(number: int) -> int:
    """The greatest of the processes' numbers."""
    if count() == 1:
        return number
    import numpy as np
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(number)).max())


def end(code: int, text: str = "") -> NoReturn:
    """End this process, and with it all others, by this exit code; only the first to fail says
    why.
    """
    if count() == 1:
        if text:
            print(f"error: {text}", file=sys.stderr)
        sys.exit(code)
    import jax

    try:
        first = runtime.coordinator().key_value_increment("failures", 1) == 1
        runtime.coordinator().key_value_set("failed", f"{code}", allow_overwrite=True)
    except jax.errors.JaxRuntimeError:  # process 0 is gone: nobody else can be told
        first = True
    if first and text:
        who = "" if is_chief() else f"process {_joined.which}: "
        # through the filter if the runtime may be saying the same just now
        stderr = sys.__stderr__ if GONE in text else sys.stderr
        print(f"error: {who}{text}", file=stderr, flush=True)
    _leave(code)


def lost(error: BaseException) -> str | None:
    """A line for an error that comes of another process's death; None for any other."""
    said = str(error).strip().split("\n")[0]
    if count() == 1 or not runtime.blames_the_connection(said):
        return None
    return f"{GONE} ({said[:200]}); {AGAIN}"


def _watch(over: threading.Event) -> None:
    """End this process when another has told that it fails."""
    import jax

    while not over.wait(POLL):
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is no such news
            _leave(int(runtime.coordinator().key_value_try_get("failed")))


def _leave(code: int) -> NoReturn:
    """At once, as at a usual exit the processes wait for each other; the chief, who keeps the
    news, last.
    """
    if is_chief():
        time.sleep(3 * POLL)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
