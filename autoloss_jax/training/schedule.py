"""What is due at which step: the host has a say there, and nowhere in between."""

import dataclasses
from typing import NamedTuple

import numpy as np

from autoloss_jax import config


class Due(NamedTuple):
    """What is due after a step."""

    log: bool
    evaluate: bool
    checkpoint: bool


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The due steps of one run."""

    train: config.Train
    total_steps: int
    evaluate_every: int

    def bounds(self, start: int) -> list[int]:
        """The steps, from `start` on, at which a block ends or something is due."""
        train, total = self.train, self.total_steps
        periods = (train.block, train.log_every, self.evaluate_every, train.checkpoint_every)
        due = [np.arange(start - start % n, total, n) for n in periods if n]
        every = np.unique(np.concatenate([*due, [start, total]]))
        return every[(start <= every) & (every <= total)].tolist()

    def after(self, step: int) -> Due:
        """What is due after `step` steps."""
        train, last = self.train, step == self.total_steps
        return Due(
            log=step % train.log_every == 0,
            evaluate=last or step % self.evaluate_every == 0,
            checkpoint=bool(train.checkpoint_every) and step % train.checkpoint_every == 0,
        )
