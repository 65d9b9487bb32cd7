"""autoloss study --config=table2[:quick] --config.raw=DIR [--workdir=DIR]

Begun several times with the same --workdir, the processes share the trainings.
"""

import re
import shlex
import sys

from autoloss_jax.cli import app, command_line, commands
from autoloss_jax.config import Data, settings
from autoloss_jax.distributed import processes
from autoloss_jax.studies.study import Study


def main() -> None:
    """Train what is not trained yet, and write the table after each training; pictures and the
    page at the end.
    """
    processes.alone("a study")
    workdir, study = command_line.folder(), command_line.config(Study)
    settings.check(study)
    app.start(Data(cache=study.cache))
    from autoloss_jax.studies import experiment  # JAX, Matplotlib and what trains, after the flags

    experiment.run(study, workdir, command(), app.say)


def command() -> str:
    """The command line as another would give it."""
    flags = [
        re.sub(r"^(--(?:config\.raw|config\.cache|workdir))=.*", r"\1=DIR", flag)
        for flag in sys.argv[1:]
    ]
    return commands.spelled(shlex.join(["autoloss", "study", *flags]))


if __name__ == "__main__":
    app.enter(main, __name__, Study())
