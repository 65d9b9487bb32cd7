"""Drawings of a searched loss, from plain arrays: each function returns a figure, and writes
nothing.

Shapes: K points along a panel's axis, N candidate losses, S steps.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SIZE, DPI = (3.6, 2.9), 120  # inches of a panel


class Curves(NamedTuple):
    """Curves over one axis."""

    title: str
    x: np.ndarray  # [K]
    y: Mapping[str, np.ndarray]  # name -> [K]


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _figure(title: str, rows: int, columns: int, **shared: Any) -> tuple[Figure, np.ndarray]:
    figure = Figure(
        figsize=(SIZE[0] * columns + 1.4, SIZE[1] * rows + 0.6), dpi=DPI, layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9
    )


def weights(title: str, xlabel: str, panels: Sequence[Sequence[Curves]]) -> Figure:
    """Weights of the candidates over the prediction: a row a label, a column a step."""
    figure, axes = _figure(title, len(panels), len(panels[0]), sharex=True, sharey=True)
    for row, across in zip(axes, panels, strict=True):
        for ax, panel in zip(row, across, strict=True):
            for name, y in panel.y.items():
                ax.plot(panel.x, y, label=name, linewidth=1.6)
            ax.set(title=panel.title, xlim=(0, 1))
            ax.title.set_fontsize(10)
            ax.grid(alpha=0.25)
        row[0].set_ylabel("weight alpha")
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    _legend(figure, axes[0, 0])
    return figure


MOST_WORDS = 40  # below an axis


def by_value(title: str, field: str, words: Sequence[str], panels: Sequence[Curves]) -> Figure:
    """Weights of the candidates for each value of a field: a row a label."""
    figure, axes = _figure(title, len(panels), 1, sharex=True)
    figure.set_figwidth(min(4 + 0.5 * len(words), 14))
    for ax, panel in zip(axes[:, 0], panels, strict=True):
        for name, y in panel.y.items():
            ax.plot(panel.x, y, "o", label=name, markersize=5)
        ax.set(xlim=(-0.5, len(words) - 0.5), ylabel="weight alpha")
        ax.set_title(panel.title, fontsize=10)
        ax.grid(alpha=0.25)
    if len(words) <= MOST_WORDS:
        axes[-1, 0].set_xticks(range(len(words)), words, rotation=45, ha="right", fontsize=8)
    axes[-1, 0].set_xlabel(field)
    _legend(figure, axes[0, 0])
    return figure


def losses(
    title: str, xlabel: str, ylabels: tuple[str, str], panels: Sequence[Sequence[Curves]]
) -> Figure:
    """Losses in the first row and gradients in the second, a column a label; the last curve of
    each is the reference.
    """
    figure, axes = _figure(title, len(panels), len(panels[0]), sharex="col", sharey="row")
    for row, across, ylabel in zip(axes, panels, ylabels, strict=True):
        for ax, panel in zip(row, across, strict=True):
            *ours, (reference, y) = panel.y.items()
            ax.plot(panel.x, y, label=reference, color="black", linestyle="--", linewidth=1.3)
            for (name, y), shade in zip(ours, _shades(len(ours)), strict=True):
                ax.plot(panel.x, y, label=name, color=shade, linewidth=1.6)
            ax.axhline(0, color="gray", linewidth=0.6)
            ax.set_title(panel.title, fontsize=10)
            ax.grid(alpha=0.25)
        row[0].set_ylabel(ylabel)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    _legend(figure, axes[0, 0])
    return figure


def movement(title: str, panels: Sequence[Curves]) -> Figure:
    """Shares of the candidates over steps, a panel a quantity."""
    figure, axes = _figure(title, 1, len(panels))
    for ax, panel in zip(axes[0], panels, strict=True):
        for name, y in panel.y.items():
            ax.plot(
                panel.x, y, label=name, linewidth=1.6, marker="." if len(panel.x) < 30 else None
            )
        ax.set(xlabel="step of the recommender")
        ax.set_title(panel.title, fontsize=10)
        ax.grid(alpha=0.25)
    axes[0, 0].set_ylabel("share of 1")
    _legend(figure, axes[0, 0])
    return figure


def gradient_agreement(title: str, step: np.ndarray, cosine: np.ndarray) -> Figure:
    """Agreement of two batches of validation at each evaluation. [S], [S]."""
    figure, axes = _figure(title, 1, 1)
    figure.set_size_inches(7, 3.6)
    ax = axes[0, 0]
    ax.axhline(0, color="gray", linewidth=0.8)
    ax.plot(step, cosine, "o-", markersize=4)
    ax.set(xlabel="step of the recommender", ylabel="mean cosine")
    ax.grid(alpha=0.25)
    return figure


def _shades(number: int) -> np.ndarray:
    """Light to dark, [number, 4]."""
    return colormaps["viridis"](np.linspace(0.8, 0.15, number) if number > 1 else [0.15])
