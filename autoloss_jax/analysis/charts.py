"""Charts of a report: one panel each, from the frames of an `Explanation`, and as SVG for a page
in dark or light.

Colours are names of the page's style sheet: while it is drawn a chart has a placeholder for each.
"""

import contextlib
import html
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoloss_jax.analysis import controllers
from autoloss_jax.data import inspection

SIZE = (4.6, 3.2)  # inches
INK, RULE = "#0000f1", "#0000f2"
SERIES = [f"#0000a{k}" for k in range(8)]
COLOURS = {INK: "currentColor", RULE: "var(--rule)"} | {
    colour: f"var(--series-{k})" for k, colour in enumerate(SERIES)
}
MOST_VALUES = 12  # of a field in a chart; tables have more
MOST_FIELDS = 25
SPAN = 0.1  # of an axis of weights, at least


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Colours of the page, text as text, and names from data never taken for formulas."""
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    settings: dict[str, Any] = colours | {
        "axes.edgecolor": RULE,
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.formatter.useoffset": False,
        "errorbar.capsize": 3,
        "figure.facecolor": "none",
        "font.size": 10,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "svg.fonttype": "none",
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        yield


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """An <svg> element for a page, named and described for whoever cannot see it. `name` is a word
    that no other chart of the page has.
    """
    content = io.StringIO()
    salt = {"svg.hashsalt": name, "svg.fonttype": "none", "text.parse_math": False}
    with matplotlib.rc_context(salt), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page's fonts may have it
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=True)
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)  # figure_1, axes_1: the same in every chart
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for placeholder, colour in COLOURS.items():
        text = text.replace(placeholder, colour)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box[0] if box else ""} role="img" aria-labelledby="{name}-t {name}-d">'
    said = (
        f'<title id="{name}-t">{html.escape(title)}</title>'
        f'<desc id="{name}-d">{html.escape(description)}</desc>'
    )
    return head + said + text[text.index(">") + 1 :]


def _panel(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _finish(figure: Figure, axes: Axes, columns: int = 2) -> Figure:
    """A legend below, where there is more than one series."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        longest = max(map(len, labels))
        columns = columns if longest < 24 else 1
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names from top to bottom, at 0, 1, ..."""
    axes.set_yticks(range(len(names)), [inspection.printable(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def rates(frame: pl.DataFrame, name: str, percent: str) -> Figure:
    """Label rates by value, train's beside the trusted rows', with 95 % intervals."""
    frame = frame.head(MOST_VALUES)
    figure, axes = _panel((SIZE[0], 1.5 + 0.36 * frame.height))
    places = np.arange(frame.height)
    for k, (label, prefix) in enumerate((("train", ""), ("trusted rows", "trusted_"))):
        share, low, high = (frame[f"{prefix}{c}"].to_numpy() for c in ("positive", "low", "high"))
        known = ~np.isnan(share.astype(float))
        apart = np.abs(np.stack([share - low, high - share]).astype(float))
        axes.errorbar(
            100 * share[known].astype(float),
            (places + 0.13 * (2 * k - 1))[known],
            xerr=100 * apart[:, known],
            fmt="os"[k],
            label=label,
        )
    _name_rows(axes, frame["value"].to_list())
    axes.set(xlabel=percent, ylabel=name)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]) if axes.get_xlim()[0] < 5 else None)
    return _finish(figure, axes)


def beliefs(frame: pl.DataFrame, name: str, percent: str) -> Figure:
    """The share of wrong labels by value, with 95 % intervals where it was estimated."""
    figure, axes = _panel((SIZE[0], 1.5 + 0.36 * min(frame.height, MOST_VALUES)))
    labels = frame["label"].unique(maintain_order=True).to_list()
    shown = frame["value"].unique(maintain_order=True).to_list()[:MOST_VALUES]
    for k, label in enumerate(labels):
        part = frame.filter((pl.col("label") == label) & pl.col("value").is_in(shown))
        places = np.array([shown.index(v) for v in part["value"]]) + 0.13 * (
            k - (len(labels) - 1) / 2
        )
        rate, error = (part[c].fill_null(0.0).to_numpy() for c in ("rate", "error"))
        called = f"labels {label}" if len(labels) > 1 else "estimated"
        # a share is no less than nothing, and no more than all
        apart = np.stack(
            [rate - np.maximum(rate - 1.96 * error, 0), np.minimum(rate + 1.96 * error, 1) - rate]
        )
        axes.errorbar(100 * rate, places, xerr=100 * np.abs(apart), fmt="o", label=called)
        if part["learned"].null_count() < part.height:
            axes.plot(100 * part["learned"].to_numpy(), places + 0.2, "D", label="after training")
    _name_rows(axes, shown)
    axes.set(xlabel=percent, ylabel=name)
    return _finish(figure, axes)


def learning(frame: pl.DataFrame, column: str, ylabel: str, best: dict[str, int]) -> Figure:
    """A figure over epochs, a line a run; a star marks the best step."""
    figure, axes = _panel()
    for k, (run, step) in enumerate(best.items()):
        part = frame.filter((pl.col("run") == run) & pl.col(column).is_not_null())
        colour = SERIES[k % len(SERIES)]
        marker = "." if part.height < 40 else ""
        called = run if len(best) > 1 else None
        axes.plot(part["epoch"], part[column], marker=marker, color=colour, label=called)
        at = part.filter(pl.col("step") == step)
        if at.height:
            star = {"color": colour, "markersize": 13, "linestyle": "none", "marker": "*"}
            axes.plot(at["epoch"], at[column], **star)
    axes.set(xlabel="epoch; the star is the best step", ylabel=ylabel)
    return _finish(figure, axes)


def reliability(curves: dict[str, pl.DataFrame], xlabel: str, ylabel: str) -> Figure:
    """What was observed over what was predicted, with 95 % intervals; on the diagonal is right."""
    figure, axes = _panel()
    seen = [frame.select("predicted", "observed").to_numpy() for frame in curves.values()]
    ends = (np.min(seen), np.max(seen))
    axes.plot(ends, ends, "--", color=INK, linewidth=1, label="right on average")
    for k, (when, frame) in enumerate(curves.items()):
        apart = [frame["observed"] - frame["low"], frame["high"] - frame["observed"]]
        axes.errorbar(
            frame["predicted"],
            frame["observed"],
            yerr=np.abs(np.stack([a.to_numpy() for a in apart])),
            fmt="os"[k] + "-",
            linewidth=1.2,
            markersize=5,
            label=f"{when} calibration",
        )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _finish(figure, axes)


def scores(frame: pl.DataFrame, xlabel: str) -> Figure:
    """A histogram of scores for each label."""
    figure, axes = _panel()
    for k, (label,) in enumerate(frame.select("label").unique(maintain_order=True).iter_rows()):
        part = frame.filter(pl.col("label") == label)
        edges = [*part["low"], part["high"][-1]]
        axes.stairs(100 * part["share"], edges, fill=True, alpha=0.25, color=SERIES[k])
        axes.stairs(100 * part["share"], edges, color=SERIES[k], label=f"rows of label {label}")
    axes.set(xlabel=xlabel, ylabel="% of these rows")
    axes.set_ylim(bottom=0)
    return _finish(figure, axes)


def importance(frame: pl.DataFrame) -> Figure:
    """AUC lost by field, with one standard deviation over repeats."""
    frame = frame.head(MOST_FIELDS)
    figure, axes = _panel((SIZE[0], 1.0 + 0.3 * frame.height))
    places = range(frame.height)
    axes.barh(places, frame["drop"], xerr=frame["deviation"], ecolor=INK, color=SERIES[0])
    _name_rows(axes, frame["field"].to_list())
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("AUC lost when its values are shuffled")
    return figure


def weights(frame: pl.DataFrame, label: int, xlabel: str) -> Figure:
    """Weights over predictions for one label: the mean over draws, and its range as a shade."""
    figure, axes = _panel()
    part = frame.filter(pl.col("label") == label)
    for k, name in enumerate(part["loss"].unique(maintain_order=True)):
        over = _over_draws(part.filter(pl.col("loss") == name), "prediction", "weight")
        _band(axes, over, "prediction", "weight", SERIES[k % len(SERIES)], name)
    axes.set(xlabel=xlabel, ylabel="weight of the loss", ylim=_at_least(SPAN, axes.get_ylim()))
    return _finish(figure, axes)


def _at_least(span: float, ends: tuple[float, float]) -> tuple[float, float]:
    """The ends of an axis, apart enough that nothing looks large which is not."""
    more = max(span - (ends[1] - ends[0]), 0) / 2
    return ends[0] - more, ends[1] + more


def loss(frame: pl.DataFrame, label: int, column: str, xlabel: str, ylabel: str) -> Figure:
    """The learned loss, or its gradient, over the logit for one label, beside cross-entropy's."""
    figure, axes = _panel()
    part = frame.filter(pl.col("label") == label)
    reference = pl.col("draw") == controllers.REFERENCE
    over = _over_draws(part.filter(~reference), "logit", column)
    _band(axes, over, "logit", column, SERIES[0], "learned")
    alone = part.filter(reference)
    axes.plot(
        alone["logit"], alone[column], "--", color=INK, linewidth=1.3, label=controllers.REFERENCE
    )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _finish(figure, axes)


def by_value(frame: pl.DataFrame, label: int, field: str) -> Figure:
    """Weights at a prediction of one half by value: means over draws, and their range."""
    part = frame.filter(pl.col("label") == label)
    shown = part["value"].unique(maintain_order=True).to_list()[:MOST_VALUES]
    names = part["loss"].unique(maintain_order=True).to_list()
    figure, axes = _panel((SIZE[0], 1.6 + 0.4 * len(shown)))
    for k, name in enumerate(names):
        of_loss = part.filter((pl.col("loss") == name) & pl.col("value").is_in(shown))
        over = _over_draws(of_loss, "value", "weight")
        places = np.arange(over.height) + 0.5 * (k - (len(names) - 1) / 2) / len(names)
        mean = over["weight"].to_numpy()
        apart = np.stack([mean - over["low"].to_numpy(), over["high"].to_numpy() - mean])
        axes.errorbar(mean, places, xerr=np.maximum(apart, 0), fmt="o", label=name)
    _name_rows(axes, shown)
    axes.set_xlim(_at_least(SPAN, axes.get_xlim()))
    axes.set(xlabel="weight of the loss", ylabel=inspection.printable(field))
    return _finish(figure, axes)


def _over_draws(frame: pl.DataFrame, x: str, y: str) -> pl.DataFrame:
    """The mean of y over draws at each x, with the least as "low" and the greatest as "high"."""
    y_ = pl.col(y)
    return frame.group_by(x, maintain_order=True).agg(
        y_.mean(), y_.min().alias("low"), y_.max().alias("high"), pl.len().alias("draws")
    )


def _band(axes: Axes, over: pl.DataFrame, x: str, y: str, colour: str, label: str) -> None:
    axes.plot(over[x], over[y], color=colour, label=textwrap.shorten(label, 40, placeholder="…"))
    if over.filter(pl.col("draws") > 1).height:
        axes.fill_between(over[x], over["low"], over["high"], color=colour, alpha=0.2, linewidth=0)
