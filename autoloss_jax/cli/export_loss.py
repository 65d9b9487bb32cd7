"""autoloss export-loss --workdir=RUN --output=DIR: the loss that a run
searched, to train other programs with.
"""

from pathlib import Path

from absl import flags

from autoloss_jax.cli import app, command_line
from autoloss_jax.config.errors import UserError

OUTPUT = flags.DEFINE_string(
    "output", "", "the folder to write searched_loss.json and searched_loss.py to"
)


def main() -> None:
    """Write the loss of the run in --workdir to --output."""
    workdir = command_line.existing_folder()
    if not OUTPUT.value:
        raise UserError("--output: name the folder to write to, as --output=searched")
    app.start()
    from autoloss_jax.analysis import export  # JAX, after the flags

    record = export.export(workdir, Path(OUTPUT.value))
    points = sum(len(table["logits"]) for table in record["labels"].values())
    errors = ", ".join(f"{error:.1e} in {name}" for name, error in record["error"].items())
    app.say(f"{OUTPUT.value}/searched_loss.py and .json: {points} points; error {errors}")


if __name__ == "__main__":
    app.enter(main, __name__)
