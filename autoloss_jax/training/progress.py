"""What the host knows of a run beside its arrays, and how long its steps took."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any


@dataclasses.dataclass
class Progress:
    """What the host knows of a run beside its TrainState; saved as JSON with it."""

    best_step: int = 0
    best_value: float | None = None
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    latest: list[float] = dataclasses.field(default_factory=list)  # figures that are averaged
    stalled: int = 0
    stopped: bool = False
    faint: int = 0  # evaluations in a row at which V's signal was below method.min_agreement
    searched: int | None = None  # the step from which V therefore stands still
    share: list[float] = dataclasses.field(default_factory=list)  # sums since the last evaluation
    share_steps: float = 0.0
    timed_steps: int = 0
    train_seconds: float = 0.0  # of timed steps: without compilation, evaluation, checkpoints
    compile_seconds: float = 0.0  # of the step, once a process; less where the cache holds it
    wall_seconds: float = 0.0

    def add_share(self, share: Iterable[Any], steps: float) -> None:
        """Add the sums over `steps` steps of how often each loss had the largest weight, [N]."""
        self.share = [a + float(b) for a, b in zip(self.share, share, strict=True)]
        self.share_steps += steps

    def take_share(self, pool: Sequence[str]) -> dict[str, float]:
        """How often each loss had the largest weight since the last call."""
        means = {
            name: total / self.share_steps for name, total in zip(pool, self.share, strict=True)
        }
        self.share, self.share_steps = [0.0] * len(pool), 0.0
        return means


class Clock:
    """Adds to a run's wall time, and to the time of its compilation and of its training steps."""

    def __init__(self, progress: Progress, started: float):
        self.progress = progress
        self.last = started
        self.restart()

    def restart(self) -> float:
        """Seconds since the last call; they count as wall time alone."""
        now = time.monotonic()
        seconds, self.last = max(now - self.last, 1e-9), now
        self.progress.wall_seconds += seconds
        return seconds

    def compile(self, jitted: Any, *args: Any) -> Callable[..., Any]:
        """`jitted` compiled for these arguments."""
        self.restart()
        compiled = jitted.lower(*args).compile()
        self.progress.compile_seconds += self.restart()
        return compiled

    def lap(self, steps: int) -> float:
        """Steps per second since the last call."""
        seconds = self.restart()
        self.progress.timed_steps += steps
        self.progress.train_seconds += seconds
        return steps / seconds
