"""python -m autoloss_jax.picture --workdir=RUN: pictures of a run's controller, as PNG files in RUN/pictures."""

from autoloss_jax import door, report
from autoloss_jax.learned import pictures, plots


def main() -> None:
    """Write the pictures of the run in --workdir."""
    workdir = door.existing_folder()
    (workdir / "pictures").mkdir(exist_ok=True)
    for name, figure in pictures.of(workdir).items():
        path = workdir / "pictures" / f"{name}.png"
        report.write_bytes(path, plots.png(figure))
        door.say(str(path))


if __name__ == "__main__":
    door.enter(main, __name__)
