"""autoloss COMMAND [flags]: every program of the package under one name.

Texts for people name a program as `autoloss compare`; `spelled` gives what whoever started this
one types for it. Nothing heavy is imported here.
"""

import dataclasses
import re
import runpy
import sys
from typing import NamedTuple

from autoloss_jax import __version__
from autoloss_jax.config.errors import nearest


class Command(NamedTuple):
    """A word after `autoloss`."""

    module: str  # below autoloss_jax, run as the main program
    about: str
    flags: tuple[str, ...] = ()  # before those of the command line


TABLE = {
    "train": Command("main", "train a config, or go on where it was stopped"),
    "evaluate": Command("main", "figures of a finished run, of any rows", ("--mode=evaluate",)),
    "predict": Command("main", "probabilities of new rows", ("--mode=predict",)),
    "tune": Command("main", "search L2, dropout and learning rate", ("--mode=tune",)),
    "compare": Command("cli.compare", "finished runs in one table, means over seeds"),
    "report": Command("report", "what a run found, as a page"),
    "plot": Command("cli.plot", "what a run's controller learned, as pictures"),
    "export-loss": Command("cli.export_loss", "the loss that a run searched, for other programs"),
    "download": Command("cli.download", "a public dataset"),
    "prepare": Command("cli.prepare", "raw files to a prepared dataset"),
    "inspect": Command("cli.inspect", "what a prepared dataset, or that of a run, holds"),
    "flags": Command("cli.flags", "every config key, with its default and meaning"),
    "study": Command("studies.run", "a grid of trainings, and its tables"),
}
NAMED = re.compile(rf"\bautoloss ({'|'.join(TABLE)})(?![\w-])")


@dataclasses.dataclass
class _Started:
    """How this process was started: as `autoloss COMMAND`, or as `python -m MODULE`."""

    by_name: bool = False


_started = _Started()


def main() -> None:
    """Run the program that the command line names; exit code 2 if it names none."""
    words = sys.argv[1:] or ["--help"]
    if words[0] in ("--help", "-h", "help"):
        print(usage())
    elif words[0] == "--version":
        print(version())
    elif words[0] in TABLE:
        command = TABLE[words[0]]
        sys.argv = ["autoloss", *command.flags, *words[1:]]
        _started.by_name = True
        runpy.run_module(f"autoloss_jax.{command.module}", run_name="__main__", alter_sys=True)
    else:
        near = nearest(words[0], TABLE)
        print(
            f"error: autoloss {words[0]}: no such command{near} (autoloss --help lists them)",
            file=sys.stderr,
        )
        sys.exit(2)


def usage() -> str:
    """What `autoloss --help` prints."""
    lines = [f"  {name:<12} {command.about}" for name, command in TABLE.items()]
    return "\n".join(
        [
            "autoloss COMMAND [flags]; autoloss COMMAND --help lists the flags",
            "",
            *lines,
            "",
            "First: autoloss train --config=quickstart:quick",
        ]
    )


def version() -> str:
    """What --version prints of any program."""
    return f"autoloss_jax {__version__}"


def spelled(text: str) -> str:
    """`text` with each `autoloss COMMAND` in it as it is typed where this program was started: the
    same, or `python -m MODULE`.
    """
    if _started.by_name:
        return text

    def module(match: re.Match[str]) -> str:
        command = TABLE[match[1]]
        return " ".join([f"python -m autoloss_jax.{command.module}", *command.flags])

    return NAMED.sub(module, text)
