"""What a study found: a row for each (dataset, model, method), as CSV, and as text with the best
in bold.
"""

import csv
import dataclasses
import io
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from autoloss_jax.analysis import significance
from autoloss_jax.studies.study import Study

ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """Means and deviations over seeds of the test figures, and p against the best of the other
    methods.
    """

    dataset: str
    model: str
    method: str
    seeds: int
    auc_mean: float
    auc_std: float | None
    logloss_mean: float
    logloss_std: float | None
    logloss_calibrated_mean: float
    p_value: float | None = (
        None  # of AUC against the best of the others, paired by seed; of `ours` alone
    )
    p_holm: float | None = None  # corrected for how many were tested
    p_calibrated: float | None = (
        None  # of calibrated logloss against the best of the others in that
    )
    seconds_mean: float | None = (
        None  # of training up to the best validation, and of the search before it
    )
    # The share of the gap between two of the methods that is recovered.
    gap_auc: float | None = None
    gap_calibrated: float | None = None
    oracle: bool = False  # it knows what nobody knows
    title: str = ""  # what the method is called for people


Results = Mapping[tuple[str, str, str], Sequence[dict[str, Any]]]


def of_study(results: Results, study: Study) -> list[Row]:
    """The rows of a study's table, from results seed by seed."""
    titles = dict(zip(study.methods, study.titles, strict=False))
    found = with_gap(rows(results, study.ours, study.oracles), study.gap)
    return [dataclasses.replace(row, title=titles.get(row.method, "")) for row in found]


def with_gap(table: Sequence[Row], gap: Sequence[str]) -> list[Row]:
    """Each row with the share of the gap from the first method to the second that it recovers;
    without one, where these two are not among the rows of its dataset and model.
    """
    ends = {
        (row.dataset, row.model, gap.index(row.method)): row for row in table if row.method in gap
    }

    def filled(row: Row) -> Row:
        low, high = (ends.get((row.dataset, row.model, end)) for end in (0, 1))
        if low is None or high is None:
            return row
        return dataclasses.replace(
            row,
            gap_auc=_share(row.auc_mean, low.auc_mean, high.auc_mean),
            gap_calibrated=_share(
                row.logloss_calibrated_mean,
                low.logloss_calibrated_mean,
                high.logloss_calibrated_mean,
            ),
        )

    return [filled(row) for row in table]


def _share(value: float, low: float, high: float) -> float | None:
    return (value - low) / (high - low) if high != low else None


def rows(results: Results, ours: Sequence[str], oracles: Sequence[str] = ()) -> list[Row]:
    """The rows of a table; the methods in `ours` are tested against the best of the others, but
    for `oracles`.
    """
    found = {
        key: dataclasses.replace(_row(key, runs), oracle=key[2] in oracles)
        for key, runs in results.items()
    }
    auc, calibrated = {}, {}
    for key in found:
        rivals = [
            row
            for (*pair, method), row in found.items()
            if (*pair,) == key[:2] and method not in ours and not row.oracle
        ]
        if key[2] in ours and rivals:
            best = max(rivals, key=lambda row: row.auc_mean)
            auc[key] = _p_value("auc", results[key], results[*key[:2], best.method])
            best = min(rivals, key=lambda row: row.logloss_calibrated_mean)
            calibrated[key] = _p_value(
                "logloss_calibrated", results[key], results[*key[:2], best.method]
            )
    corrected = significance.holm({key: p for key, p in auc.items() if p is not None})
    return [
        dataclasses.replace(
            row, p_value=auc.get(key), p_holm=corrected.get(key), p_calibrated=calibrated.get(key)
        )
        for key, row in found.items()
    ]


def _p_value(
    figure: str, ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]
) -> float | None:
    """Paired by the seeds that both have: while a study runs a row may be ahead of another."""
    a, b = ({run["seed"]: run["test"][figure] for run in runs} for runs in (ours, theirs))
    both = sorted(a.keys() & b.keys())
    return significance.paired_t([a[seed] for seed in both], [b[seed] for seed in both])


def _row(key: tuple[str, str, str], runs: Sequence[dict[str, Any]]) -> Row:
    aucs, logloss = ([run["test"][figure] for run in runs] for figure in ("auc", "logloss"))
    return Row(
        *key,
        seeds=len(runs),
        auc_mean=statistics.mean(aucs),
        auc_std=_deviation(aucs),
        logloss_mean=statistics.mean(logloss),
        logloss_std=_deviation(logloss),
        logloss_calibrated_mean=statistics.mean(run["test"]["logloss_calibrated"] for run in runs),
        seconds_mean=statistics.mean(run["seconds"] for run in runs),
    )


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def to_csv(table: Sequence[Row]) -> str:
    """One line a row, figures unrounded, nothing where a figure is undefined."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: "" if v is None else v for k, v in dataclasses.asdict(row).items()} for row in table
    )
    return text.getvalue()


HEADS = (
    "dataset",
    "model",
    "method",
    "seeds",
    "test AUC",
    "logloss",
    "logloss, calibrated",
    "p of AUC (Holm)",
    "p of calibrated",
    "s",
)


GAP = "gap recovered: AUC, calibrated"


def to_text(table: Sequence[Row]) -> list[tuple[str, ...]]:
    """The head, and the cells of each row: best means between **; a star where ours is above the
    best of the others at p < .05.

    Two stars where Holm's p is below it too. Oracles are in italics, and never the best.
    """
    with_gap = any(row.gap_auc is not None for row in table)
    lines: list[tuple[str, ...]] = [(*HEADS, GAP) if with_gap else HEADS]
    for row in table:
        rivals = [
            r for r in table if (r.dataset, r.model) == (row.dataset, row.model) and not r.oracle
        ] or [row]
        best_auc = max(r.auc_mean for r in rivals)
        stars = sum(
            row.auc_mean == best_auc and p is not None and p < ALPHA
            for p in (row.p_value, row.p_holm)
        )
        lines.append(
            (
                short(row.dataset),
                row.model,
                f"*{called(row)}*" if row.oracle else called(row),
                str(row.seeds),
                _cell(row.auc_mean, row.auc_std, 5, best_auc) + stars * "*",
                _cell(row.logloss_mean, row.logloss_std, 4, min(r.logloss_mean for r in rivals)),
                _cell(
                    row.logloss_calibrated_mean,
                    None,
                    4,
                    min(r.logloss_calibrated_mean for r in rivals),
                ),
                "" if row.p_value is None else f"{row.p_value:.3g} ({row.p_holm:.3g})",
                "" if row.p_calibrated is None else f"{row.p_calibrated:.3g}",
                "" if row.seconds_mean is None else f"{row.seconds_mean:.0f}",
                *([_gap(row)] if with_gap else []),
            )
        )
    return lines


def _gap(row: Row) -> str:
    shares = (row.gap_auc, row.gap_calibrated)
    return ", ".join("-" if share is None else f"{round(100 * share)} %" for share in shares)


def to_markdown(table: Sequence[Row]) -> str:
    """`to_text` as a Markdown table."""
    head, *cells = to_text(table)
    lines = [head, ("---",) * len(head), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def outcome(table: Sequence[Row]) -> str:
    """In words: how far the two ends of the gap are apart, and what the other rows get back;
    nothing of a table without a gap.
    """
    if not any(row.gap_auc == 1 for row in table):
        return ""
    low, high = (next(row for row in table if row.gap_auc == end) for end in (0, 1))
    shares = [
        f"by {called(row)} {round(100 * row.gap_auc)} %"
        for row in table
        if row.gap_auc is not None and row not in (low, high)
    ]
    return (
        f"Between {called(low)} and {called(high)} lie {high.auc_mean - low.auc_mean:.3f} of test "
        f"AUC. Of this, {', '.join(shares)} are recovered."
    )


def called(row: Row) -> str:
    """The method's name for people."""
    return row.title or short(row.method)


def short(spec: str) -> str:
    """A dataset or a method with the config keys after it, without the sections of these."""
    return re.sub(r" \w+\.(?=\w+=)", " ", spec)


def _cell(mean: float, deviation: float | None, digits: int, best: float) -> str:
    text = f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
    return f"**{text}**" if mean == best else text
