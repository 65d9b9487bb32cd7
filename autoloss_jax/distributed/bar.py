"""How far a long piece of work is: a live bar on a terminal; elsewhere plain lines, at least one a
minute.

A piece of work may hold others, as a study its trainings. Their bars are drawn below its own, and
its lines tell of them too.
"""

from __future__ import annotations

import contextvars
import datetime
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from autoloss_jax.config.errors import plain
from autoloss_jax.distributed import processes

if TYPE_CHECKING:  # Rich is imported where it is used, after the flags
    from rich.progress import Progress, Task

EVERY = 60.0  # seconds without a word, where there is no terminal
_outermost: contextvars.ContextVar[Bar | None] = contextvars.ContextVar("bar", default=None)


class Bar:
    """Of `total` steps, beginning at `step`. Not `shown` it says nothing of its own; only a bar
    around it tells how far it is.

    Attributes:
        outer: the outermost of the bars around it.
        progress: what draws it, and all the bars inside it.
        lines: how many plain lines it and those inside have said.
    """

    def __init__(
        self,
        title: str,
        total: int,
        step: int,
        *,
        shown: bool = True,
        wait: Callable[[float], bool] | None = None,
    ):
        """`wait` waits for seconds, and says whether the work has ended; None: by the clock."""
        self.title, self.first = title, step
        self.shown = shown and processes.is_chief()
        self.live = False
        self.outer = _outermost.get()
        self.progress = self.outer.progress if self.outer else _progress()
        self.task = self.progress.add_task(title, total=total, completed=step, note="")
        self.lines = 0
        self.over = threading.Event()
        self.wait = wait or self.over.wait
        self.teller: threading.Thread | None = None

    def __enter__(self) -> Bar:
        if self.outer:
            return self
        _outermost.set(self)
        self.live = self.shown and sys.stderr.isatty()
        if self.live:
            self.progress.disable = False
            self.progress.start()
        elif self.shown:
            self.teller = threading.Thread(target=self._tell, daemon=True)
            self.teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.outer:
            self.progress.remove_task(self.task)
            return
        _outermost.set(None)
        self.over.set()
        if self.teller:
            self.teller.join()
        self.progress.stop()

    def step(self, step: int) -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=step)

    def note(self, text: str) -> None:
        """Show `text` beside the bar."""
        self.progress.update(self.task, note=text)

    def say(self, text: str) -> None:
        """A line of its own, at once, above a live bar or without one, as "compiling"."""
        if self.live:
            self.progress.console.print(plain(text), highlight=False, markup=False, soft_wrap=True)
        elif self.shown:
            self._print(f"{self.title}: {text}")

    def status(self) -> str:
        """How far it is, and those inside it, in one line."""
        first, *_ = tasks = self.progress.tasks
        parts = [f"{task.description}: {_done(task)}, {task.fields['note']}" for task in tasks]
        seconds, done = first.elapsed or 0.0, first.completed - self.first
        parts.append(f"{_clock(seconds)} so far")
        if done and first.remaining:
            parts.append(f"about {_clock(seconds / done * first.remaining)} left")
        return ", ".join(part.removesuffix(", ") for part in parts)

    def _tell(self) -> None:
        """A line after each minute in which there was none."""
        lines = self.lines
        while not self.wait(EVERY):
            if self.lines == lines:
                self._print(self.status())
            lines = self.lines

    def _print(self, line: str) -> None:
        (self.outer or self).lines += 1
        print(plain(line), file=sys.stderr, flush=True)


def _progress() -> Progress:
    """What draws a live bar, once it is started. In few columns its title and note are cut, not
    how far it is, nor the time left.
    """
    import rich.console
    from rich.progress import BarColumn, Progress, ProgressColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Words(ProgressColumn):
        def __init__(self, words: Callable[[Task], str], *, whole: bool = False):
            super().__init__(Column(no_wrap=whole))
            self.words = words

        def render(self, task: Task) -> Text:
            return Text(plain(self.words(task)), no_wrap=True, overflow="ellipsis")

    return Progress(
        Words(lambda task: task.description),
        BarColumn(bar_width=8, table_column=Column(no_wrap=True)),
        Words(_done, whole=True),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        Words(lambda task: task.fields["note"]),
        console=rich.console.Console(stderr=True),
        speed_estimate_period=24 * 3600,  # a step may take half an hour
        disable=True,
    )


def _done(task: Task) -> str:
    """3/12, or a percentage of very many."""
    total = task.total or 0
    return f"{task.completed:.0f}/{total:.0f}" if total < 1000 else f"{task.percentage:.0f}%"


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
