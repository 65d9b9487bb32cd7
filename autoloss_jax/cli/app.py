"""What the programs share: how they start and end, and every mistake in one line with exit code
2.

A program's module imports nothing heavy at its top: flags are parsed and checked first, and only
then its `main` imports JAX and what does the work. So a mistyped flag is answered at once.
"""

import os
import sys
from pathlib import Path

if not (Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()):
    # else a CUDA build of jax prints an error on a machine without a driver
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

os.environ.pop("JAX_ENABLE_X64", None)  # what the programs compute is in float32

import argparse
import faulthandler
import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, logging

from autoloss_jax.cli import command_line, commands, interruption
from autoloss_jax.config import Config, Data, library
from autoloss_jax.config.errors import UserError
from autoloss_jax.distributed import processes
from autoloss_jax.distributed.processes import say
from autoloss_jax.training.workdirs import Preempted


def enter(main: Callable[[], None], module: str, defaults: Any = None) -> None:
    """Run a program whose flags and docstring are those of `module`, in as many processes as its
    environment tells of; without --config its keys are those of `defaults`, a training's if
    None.
    """
    defaults = Config() if defaults is None else defaults
    parse = functools.partial(command_line.parse, module=module, defaults=defaults)

    def action() -> None:
        processes.join()
        app.run(functools.partial(_prepared, main), flags_parser=parse)

    run(action)


def _prepared(main: Callable[[], None], argv: Sequence[str]) -> None:
    # Orbax tells every step of a save, and raises what goes wrong.
    logging.set_verbosity(logging.FATAL)
    # absl has turned it to sys.stderr, which in several processes is another file.
    faulthandler.enable(2)
    if len(argv) > 1:
        raise UserError(f"{argv[1]}: not a flag; flags begin with --, as {_as_flag(argv[1])}")
    main()


def _as_flag(word: str) -> str:
    """The flag that a word may have meant."""
    known = library.trainings() | library.studies()
    return f"--config={word}" if word.partition(":")[0] in known else "--workdir=DIR"


def start(data: Data | None = None) -> None:
    """Import JAX, which keeps what it compiles beside the prepared datasets of `data`; called
    once flags and config are right.
    """
    import jax

    from autoloss_jax.data.prepare import pipeline

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = pipeline.cache_folder(data or Data()) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        # small trainings are short: what takes a tenth of a second to compile is kept too
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


class Parser(argparse.ArgumentParser):
    """The arguments of a program without a config, whose docstring `text` begins with how it is
    typed, as `autoloss compare`; a mistake in them is a UserError.
    """

    def __init__(self, text: str | None):
        text = text or ""
        name = commands.spelled(" ".join(text.split()[:2]))
        super().__init__(name, description=commands.spelled(text), allow_abbrev=False)
        self.add_argument("--version", action="version", version=commands.version())

    def error(self, message: str) -> NoReturn:
        """What argparse says of a mistake."""
        raise UserError(f"{message} (--help lists the arguments)")


def run(action: Callable[[], Any]) -> None:
    """`action`, with a mistake of the user's as one line and exit code 2, and a signal as 128 +
    its number.

    Of several processes none outlives another that fails.
    """
    interruption.end_at_once()
    try:
        action()
    except UserError as error:
        lost = processes.lost(error)  # what Orbax could not write it blames on the folder
        processes.end(1 if lost else 2, lost or commands.spelled(f"{error}"))
    except KeyboardInterrupt:
        processes.end(130)
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a disk that is full, or a folder that cannot be written
        where = f"{error.filename}: " if error.filename else ""
        processes.end(2, f"{where}{error.strerror or error}")
    except Preempted as preempted:
        say("interrupted: the state is saved; the same command goes on from here")
        sys.exit(128 + preempted.number)
    except Exception as error:
        if processes.count() == 1:
            raise
        processes.end(
            1, processes.lost(error) or f"a fault of the program\n{traceback.format_exc()}"
        )
