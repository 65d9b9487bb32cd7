"""What a study found: a row for each (dataset, model, method), as CSV and as Markdown with the best in bold."""

import csv
import dataclasses
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from autoloss_jax import significance

ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """Means and deviations over seeds of the test figures, and p against the best of the other methods."""

    dataset: str
    model: str
    method: str
    seeds: int
    auc_mean: float
    auc_std: float | None
    logloss_mean: float
    logloss_std: float | None
    logloss_calibrated_mean: float
    p_value: float | None = None  # of AUC, paired by seed; of `ours` alone
    p_holm: float | None = None  # corrected for the number of (dataset, model) pairs


def rows(results: Mapping[tuple[str, str, str], Sequence[dict[str, Any]]], ours: str) -> list[Row]:
    """The rows of a study's table, from results seed by seed."""
    found = {key: _row(key, runs) for key, runs in results.items()}
    p_values = {}
    for dataset, model in dict.fromkeys(key[:2] for key in found):
        others = [row for key, row in found.items() if key[:2] == (dataset, model) and key[2] != ours]
        if (dataset, model, ours) in found and others:
            best = max(others, key=lambda row: row.auc_mean)
            p = significance.paired_t(
                _aucs(results[dataset, model, ours]), _aucs(results[dataset, model, best.method])
            )
            if p is not None:
                p_values[dataset, model, ours] = p
    corrected = significance.holm(p_values)
    return [
        dataclasses.replace(row, p_value=p_values.get(key), p_holm=corrected.get(key))
        for key, row in found.items()
    ]


def _aucs(runs: Sequence[dict[str, Any]]) -> list[float]:
    return [run["test"]["auc"] for run in sorted(runs, key=lambda r: r["seed"])]


def _row(key: tuple[str, str, str], runs: Sequence[dict[str, Any]]) -> Row:
    logloss = [run["test"]["logloss"] for run in runs]
    return Row(
        *key,
        seeds=len(runs),
        auc_mean=statistics.mean(_aucs(runs)),
        auc_std=_deviation(_aucs(runs)),
        logloss_mean=statistics.mean(logloss),
        logloss_std=_deviation(logloss),
        logloss_calibrated_mean=statistics.mean(run["test"]["logloss_calibrated"] for run in runs),
    )


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def to_csv(table: Sequence[Row]) -> str:
    """One line a row, figures unrounded, nothing where a figure is undefined."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in dataclasses.asdict(row).items()} for row in table)
    return text.getvalue()


def to_markdown(table: Sequence[Row]) -> str:
    """Best means in bold; a star where ours is above the best of the others at p < .05, two where Holm's p is too."""
    lines = [
        "| dataset | model | method | seeds | test AUC | logloss | logloss, calibrated | p (Holm) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        rivals = [r for r in table if (r.dataset, r.model) == (row.dataset, row.model)]
        auc = _cell(row.auc_mean, row.auc_std, 5, max(r.auc_mean for r in rivals))
        logloss = _cell(row.logloss_mean, row.logloss_std, 4, min(r.logloss_mean for r in rivals))
        calibrated = _cell(
            row.logloss_calibrated_mean, None, 4, min(r.logloss_calibrated_mean for r in rivals)
        )
        above = row.auc_mean == max(r.auc_mean for r in rivals)
        stars = sum(above and p is not None and p < ALPHA for p in (row.p_value, row.p_holm)) * "*"
        p = "" if row.p_value is None else f"{row.p_value:.3g} ({row.p_holm:.3g})"
        lines.append(
            f"| {row.dataset} | {row.model} | {row.method} | {row.seeds} | {auc}{stars} | {logloss} | {calibrated} | {p} |"
        )
    return "\n".join(lines) + "\n"


def _cell(mean: float, deviation: float | None, digits: int, best: float) -> str:
    text = f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
    return f"**{text}**" if mean == best else text
