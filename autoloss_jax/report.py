"""autoloss report RUN [RUN ...] [--output=FILE]: what a finished run learned, and how good it is,
as one HTML page that opens without a network. Several runs are one config with other seeds: then
the page shows how far they differ.
"""

from pathlib import Path

from autoloss_jax.cli import app
from autoloss_jax.config import import_string
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import workdirs


def main() -> None:
    """Write the report of the runs on the command line."""
    parser = app.Parser(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("--output", type=Path, help="the file to write (RUN/report.html)")
    parser.add_argument(
        "--allow-imports", default="", help="modules whose code the runs may use, as mine,other"
    )
    asked = parser.parse_args()
    import_string.allow(*asked.allow_imports.split(","))
    if not asked.runs:
        raise UserError("name the folder of a finished run: autoloss report RUN")
    output = asked.output or asked.runs[0] / "report.html"
    for run in asked.runs:
        workdirs.read_result(run)
    if not output.parent.is_dir():
        raise UserError(f"--output={output}: no folder {output.parent}")
    app.start()
    from autoloss_jax.analysis import explanation, sections  # JAX and Matplotlib

    sections.write(explanation.of(asked.runs, app.say), output)
    app.say(str(output))


if __name__ == "__main__":
    app.run(main)
