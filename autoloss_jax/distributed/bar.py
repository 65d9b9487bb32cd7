"""How far a long piece of work is: a live bar on a terminal, plain lines elsewhere."""

import sys

from autoloss_jax.distributed import processes


class Bar:
    """A live bar on a terminal; elsewhere a plain line per evaluation; not shown, neither."""

    def __init__(self, title: str, total: int, step: int, *, shown: bool = True):
        self.shown = shown and processes.is_chief()
        self.live = self.shown and sys.stderr.isatty()
        self.title = title
        import rich.console
        import rich.progress

        self.bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[note]}"),
            rich.progress.TimeRemainingColumn(),
            console=rich.console.Console(stderr=True),
            disable=not self.live,
        )
        self.task = self.bar.add_task(title, total=total, completed=step, note="")

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, step: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=step)

    def say(self, text: str) -> None:
        """A line of its own, at once, with or without a live bar, as "compiling"."""
        if self.live:
            self.bar.console.print(f"{self.title}: {text}", highlight=False, markup=False)
        elif self.shown:
            print(f"{self.title}: {text}", file=sys.stderr, flush=True)

    def note(self, text: str, *, line: bool = False) -> None:
        """Show `text` beside the bar; with `line`, as a line of its own when there is no bar."""
        self.bar.update(self.task, note=text)
        if line and self.shown and not self.live:
            print(f"{self.title}: {text}", file=sys.stderr, flush=True)
