"""A study's table as a picture: for each dataset and model, the methods below one another, with
their deviations.
"""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoloss_jax.studies.table import Row, called, short

FIGURES = {
    "test AUC": lambda row: (row.auc_mean, row.auc_std),
    "logloss, calibrated": lambda row: (row.logloss_calibrated_mean, None),
    "seconds to the best validation": lambda row: (row.seconds_mean, None),
}
NAME = 56  # characters of a method and its keys before they take a second line
FAR = 5  # widths of the middle half of the means, beyond which a mean is not drawn in its place


def draw(table: Sequence[Row], ours: Sequence[str]) -> Figure:
    """A line of three panels for each (dataset, model); `ours` stands out, the bar is one
    standard deviation.

    A mean far worse than the others is an arrow at the edge, with its figure: else the others
    would fall together. One that is far better is what the picture is for.
    """
    pairs = list(dict.fromkeys((row.dataset, row.model) for row in table))
    heights = [1.1 + 0.26 * sum((r.dataset, r.model) == pair for r in table) for pair in pairs]
    figure = Figure(figsize=(12, sum(heights)), dpi=110, layout="constrained")
    grid = figure.subplots(len(pairs), len(FIGURES), squeeze=False, height_ratios=heights)
    for axes, pair in zip(grid, pairs, strict=True):
        rows = [row for row in table if (row.dataset, row.model) == pair][::-1]
        middle = axes[
            len(axes) // 2
        ]  # over an outer panel a long title would push the panels apart
        name = pair[0].split()[0] if rows[0].title else short(pair[0])
        middle.set_title(f"{name}, {pair[1]}", fontsize=10, fontweight="bold")
        for axis, (name, figures) in zip(axes, FIGURES.items(), strict=True):
            _panel(axis, rows, name, figures, ours)
            axis.set_yticks(range(len(rows)), [])
        names = [textwrap.fill(called(row), NAME, break_long_words=False) for row in rows]
        axes[0].set_yticks(range(len(rows)), names)
    return figure


def _panel(axis: Axes, rows: Sequence[Row], name: str, figures, ours: Sequence[str]) -> None:
    points = [(place, row, *figures(row)) for place, row in enumerate(rows)]
    points = [point for point in points if point[2] is not None]
    low, high = _span([mean for _, _, mean, _ in points], best=max if name == "test AUC" else min)
    for place, row, mean, deviation in points:
        color = "tab:red" if row.method in ours else "tab:blue"
        edge = min(max(mean, low), high)
        if edge == mean:
            axis.errorbar(
                mean, place, xerr=deviation, fmt="o", color=color, markersize=5, capsize=2
            )
        else:
            axis.plot(edge, place, "<" if mean < low else ">", color=color, markersize=5)
            aside, align = ((6, 0), "left") if mean < low else ((-6, 0), "right")
            axis.annotate(
                f"{mean:.4g}",
                (edge, place),
                aside,
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=8,
            )
    axis.set_xlabel(name, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.ticklabel_format(axis="x", useOffset=False)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", alpha=0.3)


def _span(means: Sequence[float], best: Callable) -> tuple[float, float]:
    """The least and the greatest of the means, but for those worse than the middle half by FAR
    times its width.
    """
    if not means:
        return 0.0, 0.0
    first, third = np.quantile(means, (0.25, 0.75))
    reach = FAR * (third - first)
    near = [
        mean for mean in means if (mean >= first - reach if best is max else mean <= third + reach)
    ]
    return min(near), max(near)
