"""A worker is a process: it is told how many steps to do, and answers with the seconds they
took.

It prints {"ready": ...} once it has done its first steps, or {"unavailable": reason}; then for
each line N on its standard input {"seconds": ..., "examples": ...}; and at the end its memory.
Workers wait while others run, so that they can take turns in one measurement.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.workload import Workload


def serve(
    name: str,
    workload: str,
    build: Callable[[str, Workload], Callable[[int], None]],
    peak_bytes: Callable[[], int | None],
    warm_up: int,
) -> None:
    """Be the worker `name`."""
    work, before, begun = Workload.from_json(workload), _resident("VmRSS"), time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            run = build(name, work)
            _warm_up(run, warm_up)
    except ImportError as error:
        _say({"unavailable": str(error)})
        return
    with contextlib.suppress(OSError):  # from here on, the peak is of training
        Path("/proc/self/clear_refs").write_text("5")
    _say({"ready": True, "setup_seconds": time.perf_counter() - begun})
    for line in sys.stdin:
        steps, begun = int(line), time.perf_counter()
        run(steps)
        _say({"seconds": time.perf_counter() - begun, "examples": steps * work.batch_size})
    _say({"process_bytes": _resident("VmHWM") - before, "device_bytes": peak_bytes()})


def _warm_up(run: Callable[[int], None], steps: int) -> None:
    """So many steps, or, where a step is long, as many as there is patience for."""
    run(8)
    begun, done = time.perf_counter(), 8
    while done < steps and time.perf_counter() - begun < PATIENCE:
        run(8)
        done += 8


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


PATIENCE = 10.0  # seconds of warming up
TURN = 0.5  # seconds of a turn, if a round of steps does not take longer
ROUND = 14  # the least steps of a turn: two controller updates are among them


class Worker:
    """A worker's process, seen from the one that measures."""

    def __init__(self, name: str, work: Workload, least: int = ROUND):
        module = (
            "benchmarks.baselines" if name.startswith(("torch", "fuxictr")) else "benchmarks.ours"
        )
        self.name, self.work, self.least, self.steps, self.seconds = name, work, least, 0, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, name, work.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCHMARK_DEBUG") else subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            },  # workers share a GPU's memory
        )

    @functools.cached_property
    def state(self) -> dict[str, Any]:
        """What it says once it has done its first steps; waits for it."""
        return self._read()

    @property
    def available(self) -> bool:
        """Whether it can take part."""
        return "ready" in self.state

    def take_turn(self) -> None:
        """Measure as many steps as last about as long as everybody's turn; the first turn finds
        out how many.
        """
        if not self.steps:
            self.steps = self.least * max(1, round(TURN / self._run(self.least)))
        self.seconds.append(self._run(self.steps) / self.steps)

    def _run(self, steps: int) -> float:
        self.process.stdin.write(f"{steps}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self._read()["seconds"]

    def close(self) -> dict[str, Any]:
        """Its memory, in bytes, if it took part."""
        self.process.stdin.close()  # type: ignore[union-attr]
        memory = self._read() if self.available else {}
        self.process.wait()
        return memory

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        return (
            json.loads(line)
            if line
            else {"unavailable": "its process ended; BENCHMARK_DEBUG=1 shows why"}
        )


def take_turns(workers: list[Worker], rounds: int) -> list[Worker]:
    """The same, after so many turns of each that can take part; none begins before all are
    ready.
    """
    ready = [worker for worker in workers if worker.available]
    for _ in range(rounds):
        for worker in ready:
            worker.take_turn()
    return workers
