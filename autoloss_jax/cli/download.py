"""autoloss download DATASET [--output=DIR] [--url=MIRROR] [--sha256=SUM]: a
public dataset, ready to train on.

It goes to DIR/DATASET, whole or not at all, with a source.json that says what it was made from.
Interrupted, the same command goes on. An archive is checked before it gets its name, its files
before they get theirs.
"""

import re
import shlex
from pathlib import Path

from autoloss_jax.cli import app, commands
from autoloss_jax.config.errors import UserError, nearest
from autoloss_jax.data.download import datasets
from autoloss_jax.data.download.remote import Remote


def command(source: datasets.Source, folder: Path) -> str:
    """The training command of a dataset in a folder."""
    path = folder / source.path
    flags = (*source.flags, f"--config.data.path={path}", f"--workdir=runs/{folder.name}")
    return commands.spelled(shlex.join(["autoloss", "train", *flags]))


def main() -> None:
    """Fetch the dataset named on the command line, and print the command that trains on it."""
    parser = app.Parser(__doc__)
    parser.add_argument("dataset", help=", ".join(datasets.SOURCES))
    parser.add_argument(
        "--output", type=Path, default=Path("data"), help="the folder to put it in (data)"
    )
    parser.add_argument(
        "--url", default="", help="a mirror of the archive; what it gives is checked all the same"
    )
    parser.add_argument(
        "--sha256", type=str.lower, default="", help="the sum that the archive must have"
    )
    parser.add_argument(
        "--timeout", type=float, default=Remote.timeout, help="seconds without a byte (30)"
    )
    parser.add_argument(
        "--attempts", type=int, default=Remote.attempts, help="before it gives up (5)"
    )
    asked = parser.parse_args()
    if asked.dataset not in datasets.SOURCES:
        near = nearest(asked.dataset, list(datasets.SOURCES))
        raise UserError(f"{asked.dataset}: not one of {', '.join(datasets.SOURCES)}{near}")
    if asked.attempts < 1 or not 0 < asked.timeout < float("inf"):
        raise UserError("--attempts, --timeout: must be greater than 0")
    if not re.fullmatch("[0-9a-f]{64}|", asked.sha256):
        raise UserError(f"--sha256={asked.sha256}: wants 64 hexadecimal digits")
    source = datasets.SOURCES[asked.dataset]
    place = Remote(asked.url or source.url, source.limit, asked.timeout, asked.attempts)
    print(
        command(
            source,
            datasets.download(asked.dataset, source, asked.output, place, asked.sha256, app.say),
        )
    )


if __name__ == "__main__":
    app.run(main)
