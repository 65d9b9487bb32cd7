"""A study's table as a picture: for each dataset and model, the methods below one another, with their deviations."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoloss_jax.studies.table import Row, short

FIGURES = {
    "test AUC": lambda row: (row.auc_mean, row.auc_std),
    "logloss, calibrated": lambda row: (row.logloss_calibrated_mean, None),
    "seconds to the best validation": lambda row: (row.seconds_mean, None),
}


def draw(table: Sequence[Row], ours: Sequence[str]) -> Figure:
    """A line of three panels for each (dataset, model); `ours` stands out, the bar is one standard deviation."""
    pairs = list(dict.fromkeys((row.dataset, row.model) for row in table))
    heights = [1.1 + 0.26 * sum((r.dataset, r.model) == pair for r in table) for pair in pairs]
    figure = Figure(figsize=(12, sum(heights)), dpi=110, layout="constrained")
    grid = figure.subplots(len(pairs), len(FIGURES), squeeze=False, height_ratios=heights)
    for axes, pair in zip(grid, pairs, strict=True):
        rows = [row for row in table if (row.dataset, row.model) == pair][::-1]
        axes[0].set_title(f"{short(pair[0])}, {pair[1]}", loc="left", fontsize=10, fontweight="bold")
        for axis, (name, figures) in zip(axes, FIGURES.items(), strict=True):
            _panel(axis, rows, name, figures, ours)
            axis.set_yticks(range(len(rows)), [short(r.method) for r in rows] if axis is axes[0] else [])
    return figure


def _panel(axis: Axes, rows: Sequence[Row], name: str, figures, ours: Sequence[str]) -> None:
    for place, row in enumerate(rows):
        mean, deviation = figures(row)
        if mean is not None:
            color = "tab:red" if row.method in ours else "tab:blue"
            axis.errorbar(mean, place, xerr=deviation, fmt="o", color=color, markersize=5, capsize=2)
    axis.set_xlabel(name, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.ticklabel_format(axis="x", useOffset=False)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", alpha=0.3)
