"""autoloss compare RUN [RUN ...]: a Markdown table of finished runs, mean and
deviation over seeds.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoloss_jax import config
from autoloss_jax.cli import app
from autoloss_jax.config import import_string
from autoloss_jax.config.errors import UserError
from autoloss_jax.training import workdirs

FIGURES = {
    "test AUC": ("test", "auc", 5),
    "logloss": ("test", "logloss", 4),
    "logloss, calibrated": ("test", "logloss_calibrated", 4),
}


def read(workdir: Path) -> dict[str, Any]:
    """The result.json of a run; UserError that says why there is none."""
    if not workdir.is_dir():
        raise UserError(f"{workdir}: {'not a' if workdir.exists() else 'no such'} folder")
    path = workdir / "result.json"
    if not path.exists():
        begun = (workdir / "config.json").exists()
        raise UserError(f"{workdir}: {'the run has not finished' if begun else 'holds no run'}")
    result = workdirs.read_result(workdir)
    for part, name, _ in FIGURES.values():
        if name not in result[part]:
            raise UserError(f"{path}: {part} lacks {name!r}; train the run again")
    return result


def readable(workdirs: Iterable[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """The results of the runs that can be read, and of each other run why not."""
    results, why = [], []
    for workdir in workdirs:
        try:
            results.append(read(workdir))
        except UserError as error:
            why.append(str(error))
    return results, why


def label(result: dict[str, Any]) -> str:
    """The method, with whatever that matters to it differs from the defaults."""
    if "label" in result:
        return result["label"]
    from autoloss_jax.algorithm import methods  # JAX, for the result of an earlier version only

    with import_string.asked_by(Path("result.json")):
        return methods.label(config.from_dict(result["config"]))


def table(results: list[dict[str, Any]]) -> str:
    """One row per (dataset, model, method) in the order given: mean ± standard deviation over
    its runs.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["dataset"], result["model"], label(result)].append(result)
    lines = [
        "| dataset | model | method | seeds | " + " | ".join(FIGURES) + " |",
        "|---|---|---|---|" + "---|" * len(FIGURES),
    ]
    for (dataset, model, method), runs in groups.items():
        cells = [
            _cell([run[part][name] for run in runs], digits)
            for part, name, digits in FIGURES.values()
        ]
        lines.append(
            f"| {dataset} | {model} | {method} | {len({r['seed'] for r in runs})} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _cell(values: list[float | None], digits: int) -> str:
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return "undefined"
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{deviation}"


def main() -> None:
    """Print the table of the runs named on the command line."""
    parser = app.Parser(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="workdirs of finished runs")
    asked = parser.parse_args()
    if not asked.runs:
        raise UserError("name the workdirs of finished runs, as: autoloss compare runs/*")
    results, why = readable(asked.runs)
    if not results:
        raise UserError(f"no run to compare: {'; '.join(why)}")
    for reason in why:
        app.say(f"left out: {reason}")
    print(table(results))


if __name__ == "__main__":
    app.run(main)
