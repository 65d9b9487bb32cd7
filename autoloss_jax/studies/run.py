"""autoloss study --config=table2[:quick] --config.raw=DIR [--workdir=DIR]

Begun several times with the same --workdir, the processes share the trainings.
"""

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

from absl import flags

from autoloss_jax.cli import app, command_line, commands
from autoloss_jax.config import Data, settings
from autoloss_jax.distributed import processes
from autoloss_jax.studies.study import Study

WORKERS = flags.DEFINE_integer(
    "workers", 1, "processes of this machine that share the trainings", lower_bound=1
)


def main() -> None:
    """Train what is not trained yet, and write the table after each training; pictures and the
    page at the end.
    """
    processes.alone("a study")
    workdir, study = command_line.folder(), command_line.config(Study)
    settings.check(study)
    app.start(Data(cache=study.cache))
    from autoloss_jax.studies import experiment  # JAX, Matplotlib and what trains, after the flags

    with _others(WORKERS.value - 1):
        experiment.run(study, workdir, command(), app.say)


@contextlib.contextmanager
def _others(count: int) -> Iterator[None]:
    """So many further processes with the same flags, for as long as this one needs them."""
    own = [*sys.argv[1:], "--workers=1"]  # of two flags the last one counts
    start = [sys.executable, "-m", "autoloss_jax.studies.run", *own]
    quiet = subprocess.DEVNULL
    others = [subprocess.Popen(start, stdout=quiet, stderr=quiet) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.terminate()
        for other in others:
            other.wait()


def command() -> str:
    """The command line as another would give it."""
    words = [
        re.sub(r"^(--(?:config\.raw|config\.cache|workdir))=.*", r"\1=DIR", flag)
        for flag in sys.argv[1:]
        if not flag.startswith("--workers")
    ]
    return commands.spelled(shlex.join(["autoloss", "study", *words]))


if __name__ == "__main__":
    app.enter(main, __name__, Study())
