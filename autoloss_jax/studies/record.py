"""The figures of every training of a study as CSV: what its means are made of, and what a later
one may begin with.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoloss_jax.config import renamed
from autoloss_jax.config.errors import UserError

KEY = ("dataset", "model", "method", "seed")
FIGURES = ("auc", "logloss", "logloss_calibrated")
Key = tuple[str, str, str, int]


def to_csv(results: Iterable[tuple[Key, dict[str, Any]]]) -> str:
    """One line a training: what it is, its test figures, and the seconds up to its best step and
    of its search.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*KEY, *FIGURES, "seconds"))
    for key, result in results:
        writer.writerow((*key, *(result["test"][name] for name in FIGURES), result["seconds"]))
    return text.getvalue()


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """What `to_csv` wrote, now or in an earlier version, as results with these figures;
    UserError for anything else.
    """
    try:
        with path.open(newline="") as file:
            return {
                (
                    renamed.in_words(row["dataset"]),
                    row["model"],
                    renamed.in_words(row["method"]),
                    int(row["seed"]),
                ): {
                    "seed": int(row["seed"]),
                    "test": {name: float(row[name]) for name in FIGURES},
                    "seconds": float(row["seconds"]),
                }
                for row in csv.DictReader(file)
            }
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"--config.known={path}: not the -runs.csv of a study ({error})") from error
