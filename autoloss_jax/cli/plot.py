"""autoloss plot --workdir=RUN: pictures of a run's controller, as PNG files in
RUN/pictures.
"""

from autoloss_jax.cli import app, command_line
from autoloss_jax.distributed import atomic


def main() -> None:
    """Write the pictures of the run in --workdir."""
    workdir = command_line.existing_folder()
    app.start()
    from autoloss_jax.analysis import pictures, plots  # JAX and Matplotlib, after the flags

    (workdir / "pictures").mkdir(exist_ok=True)
    for name, figure in pictures.of(workdir).items():
        path = workdir / "pictures" / f"{name}.png"
        atomic.write_bytes(path, plots.png(figure))
        app.say(str(path))


if __name__ == "__main__":
    app.enter(main, __name__)
