"""What the programs share: --config and --workdir, help, and every mistake in one line with exit
code 2.
"""

import os
import sys
from pathlib import Path

if not (Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()):
    os.environ.setdefault(
        "JAX_PLATFORMS", "cpu"
    )  # else a CUDA build of jax prints an error on a machine without a driver

import argparse
import faulthandler
import functools
import re
import runpy
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from autoloss_jax.config import Data, defaults, settings
from autoloss_jax.config.errors import UserError
from autoloss_jax.data.prepare import pipeline
from autoloss_jax.distributed import processes
from autoloss_jax.training.workdirs import Preempted

DEFAULTS = str(Path(defaults.__file__))
CONFIG = config_flags.DEFINE_config_file(
    "config", DEFAULTS, "a file of configs/, with :variant if it has one"
)
WORKDIR = flags.DEFINE_string(
    "workdir", "", "the run's folder; empty: runs/<config>-<variant> beside you"
)


def enter(main: Callable[[], None], module: str) -> None:
    """Run a program whose flags and docstring are those of `module`, in as many processes as its
    environment tells of.
    """

    def action() -> None:
        processes.join()
        app.run(
            functools.partial(_prepared, main), flags_parser=functools.partial(_parse_flags, module)
        )

    run(action)


def _prepared(main: Callable[[], None], argv: Sequence[str]) -> None:
    logging.set_verbosity(
        logging.FATAL
    )  # Orbax tells every step of a save, and raises what goes wrong
    faulthandler.enable(
        2
    )  # absl has turned it to sys.stderr, which in several processes is another file
    if len(argv) > 1:
        raise UserError(f"{argv[1]}: not a flag; flags begin with --, as --workdir=DIR")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = pipeline.cache_folder(getattr(CONFIG.value, "data", None) or Data()) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    main()


def folder() -> Path:
    """Where a run goes: --workdir, or a name from the config's; UserError without a config."""
    if flags.FLAGS["config"].using_default_value:
        raise UserError("--config: name a config file, as --config=configs/quickstart.py")
    name, _, variant = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return Path(WORKDIR.value or Path("runs") / "-".join(filter(None, (Path(name).stem, variant))))


def existing_folder() -> Path:
    """The folder that --workdir names; UserError if there is none."""
    if not WORKDIR.value:
        raise UserError("--workdir: name the folder of a finished training run")
    if not Path(WORKDIR.value).is_dir():
        raise UserError(f"--workdir={WORKDIR.value}: no such folder")
    return Path(WORKDIR.value)


def say(text: str) -> None:
    """A line for people; of several processes the chief says it."""
    if processes.is_chief():
        print(text, file=sys.stderr, flush=True)


def _parse_flags(module: str, argv: Sequence[str]) -> list[str]:
    """Absl's flags, with every mistake in one line, and the config's keys in --help."""
    if any(a in ("--help", "-h", "--helpfull", "--helpshort", "-help") for a in argv[1:]):
        named = [a for a in argv[1:] if a.startswith("--config=")]
        flags.FLAGS([argv[0], *named])
        own = "".join(flags.FLAGS.module_help(m) for m in (__name__, module))
        print(
            f"{sys.modules[module].__doc__}\n{own}\n"
            f"config keys, as in {named[0][9:] if named else 'no file'}:"
        )
        print(settings.describe(CONFIG.value))
        sys.exit(0)
    for a in argv[1:]:
        if a.startswith("--config=") and not Path(a[9:].partition(":")[0]).is_file():
            raise UserError(f"{a}: no such file; the configs are in configs/")
    try:
        return flags.FLAGS([_quoted(a) for a in argv], known_only=False)
    except KeyError:
        file, _, variant = next(
            (a[9:] for a in argv if a.startswith("--config=")), DEFAULTS
        ).partition(":")
        known = [name for name, _, _ in settings.keys(runpy.run_path(file)["get_config"](variant))]
        for name in (a.removeprefix("--no").removeprefix("--").partition("=")[0] for a in argv[1:]):
            key = name.removeprefix("config.")
            if name.startswith("config.") and key not in known:
                raise UserError(
                    f"--{name}: no such config key{settings.nearest(key, known)} (--help lists "
                    "them)"
                ) from None
        raise
    except flags.Error as error:
        raise UserError(_one_line(str(error))) from None


def _quoted(flag: str) -> str:
    """A pool with names of the user's own, as ce,package.module:name, as a word: the parser
    takes their colon for a slice.
    """
    name, _, value = flag.partition("=")
    bare = (
        name == "--config.method.pool"
        and ":" in value
        and not value.startswith(("'", '"', "(", "["))
    )
    return f"{name}={value!r}" if bare else flag


def _one_line(error: str) -> str:
    """What absl says of a bad flag; of a config file that raised, its own last words."""
    if "Traceback" in error:
        return error.strip().splitlines()[-1].removeprefix("autoloss_jax.config.errors.UserError: ")
    section = re.search(r"flag --(config\.\w+)=.*as instance of", error, re.DOTALL)
    return (
        f"--{section[1]} is a section: set its keys, as --{section[1]}.name=..."
        if section
        else " ".join(error.split())
    )


class Parser(argparse.ArgumentParser):
    """The arguments of a program without a config; a mistake in them is a UserError."""

    def __init__(self, program: str, text: str | None):
        super().__init__(f"python -m {program}", description=text, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """What argparse says of a mistake."""
        raise UserError(f"{message} (--help lists the arguments)")


def run(action: Callable[[], Any]) -> None:
    """`action`, with a mistake of the user's as one line and exit code 2, and a signal as 128 +
    its number.

    Of several processes none outlives another that fails.
    """
    try:
        action()
    except UserError as error:
        lost = processes.lost(error)  # what Orbax could not write it blames on the folder
        processes.end(1 if lost else 2, lost or f"{error}")
    except KeyboardInterrupt:
        processes.end(130)
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Preempted as preempted:
        say("interrupted: the state is saved; the same command goes on from here")
        sys.exit(128 + preempted.number)
    except Exception as error:
        if processes.count() == 1:
            raise
        processes.end(
            1, processes.lost(error) or f"a fault of the program\n{traceback.format_exc()}"
        )
