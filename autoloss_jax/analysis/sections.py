"""An `Explanation` as the sections of a page, in words that somebody who has a click log knows."""

import dataclasses
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup
from matplotlib.figure import Figure

from autoloss_jax.analysis import charts, contexts, importance, reliability
from autoloss_jax.analysis.explanation import Explanation
from autoloss_jax.analysis.page import Chart, Page, Section, Table, render
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import inspection
from autoloss_jax.distributed import atomic
from autoloss_jax.training import baselines

MOST_LINES = 20  # of a table of values
NO_DATA = "data"  # the part without which nothing of rows is known


def write(found: Explanation, output: Path) -> None:
    """The report as an HTML file; UserError if it cannot be written."""
    command = shlex.join(["autoloss", "report", *found.about["runs"]])
    try:
        atomic.write_text(output, render(page(found, command)))
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror or error})") from error


def page(found: Explanation, command: str) -> Page:
    """The page of a report that `command` made."""
    about, draw = found.about, _Charts()
    several = f", {len(about['runs'])} runs" if len(about["runs"]) > 1 else ""
    title = f"{about['dataset']}: {about['model']}, {about['method']}{several}"
    with charts.style():
        made = [
            _outcome(found),
            _labels(found, draw),
            _learning(found, draw),
            _calibration(found, draw),
            _importance(found, draw),
            _loss(found, draw),
            _config(found, command),
        ]
    return Page(title, about["sentence"], [section for section in made if section])


@dataclasses.dataclass
class _Charts:
    """Makes charts with names that no two of a page share."""

    numbers: Any = dataclasses.field(default_factory=itertools.count)

    def __call__(self, figure: Figure, title: str, caption: str = "") -> Chart:
        svg = charts.svg(figure, f"chart-{next(self.numbers)}", title, caption or title)
        return Chart(title, Markup(svg), caption)


def _missing(found: Explanation, *parts: str) -> list[str]:
    """Why these parts, or what they need, are not here."""
    return [f"{found.missing[part]}." for part in parts if part in found.missing]


def _outcome(found: Explanation) -> Section:
    frame, classes = found.outcome, found.about["classes"]
    runs = frame.head(len(found.about["runs"]))
    judged_on = found.about["judged_on"]
    names = {
        "auc": f"{judged_on} AUC",
        "logloss": "logloss",
        "logloss_calibrated": "logloss, calibrated",
    }
    tiles = [(called, _mean(runs[name])) for name, called in names.items()]
    rows = [
        (_called(what, len(runs)), *(_figure(value) for value in figures))
        for what, *figures in frame.iter_rows()
    ]
    pairs = "one class and a row of another" if classes > 2 else "label 1 and a row of label 0"
    text = [
        *_compared(found, len(runs)),
        f"AUC is how often, of a row of {pairs}, the model ranks the two rightly: .5 is guessing, "
        "1 is perfect. Logloss is the mean surprise at the labels, in nats: lower is better. "
        "Calibrated logloss is logloss after the scores have been corrected by what the validation "
        "rows say; it is the one to compare where labels of train may be wrong.",
    ]
    if judged_on != "test":
        text.insert(
            0,
            "There are no test rows. The figures are those of the rows that decided early "
            "stopping; on new rows they may be worse.",
        )
    constant = "One probability for all: the share of the labels among the rows of train."
    notes = [constant] if frame.height > len(runs) else []
    if learned := found.rows.get("logistic regression"):
        part = "a random sample of " if learned == baselines.MOST_ROWS else ""
        notes.append(
            f"Logistic regression: scikit-learn's, on the same columns as one-hot ids, from {part}"
            f"{learned:,} rows that the run learned from, with their labels as they are."
        )
    table = Table(
        f"Figures on {judged_on} rows, beside two yardsticks", ["", *names.values()], rows
    )
    return Section(
        "Outcome",
        tiles,
        text,
        _missing(found, "model", NO_DATA, "logistic regression"),
        [table],
        notes=notes,
    )


def _compared(found: Explanation, number: int) -> list[str]:
    """A sentence on the run and the regression, if both have an AUC."""
    frame = found.outcome
    ours, other = frame.head(number)["auc"].mean(), frame.filter(what="logistic regression")["auc"]
    if not isinstance(ours, float) or not other.len() or other[0] is None:
        return []
    gain, known = ours - other[0], 1.96 * (found.auc_error or 0)
    worse = "worse than" if gain < 0 else "better than"
    how = "about as well as" if abs(gain) <= known else worse
    text = [f"It ranks {how} a logistic regression on the same columns ({gain:+.4f} AUC)."]
    if gain <= known:
        text.append(
            "Before another loss, tune the model (--mode=tune), or look for columns that tell more."
        )
    if known:
        judged_on = found.about["judged_on"]
        rows = found.about["num_examples"]["test" if judged_on == "test" else "val"]
        text.append(f"{rows:,} {judged_on} rows tell an AUC to within ± {known:.4f}.")
    return [" ".join(text)]


def _called(what: str, runs: int) -> str:
    return "this run" if runs == 1 and what.startswith("seed ") else what


def _labels(found: Explanation, draw: _Charts) -> Section | None:
    """Where labels may be wrong; None of a run that asks for nothing of this."""
    missing = _missing(found, "trusted rows", "rates")
    wanted = found.about["context"] or found.about["trusted"]
    if not (found.rates or found.beliefs or (wanted and (missing or found.missing))):
        return None
    several = found.about["classes"] > 2
    label = "a label above 0" if several else "label 1"
    text, tables, shown = [], [], []
    for field, frame in found.rates.items():
        text.append(_apart(field, frame, label))
        tables.append(_rates_table(field, frame, label))
        percent = f"% of rows with {label}"
        by = f" by {_column(field)}" if _column(field) else ""
        title = f"Rows with {label}{by}"
        caption = f"Bars are 95 % intervals.{_first(frame.height)}"
        shown.append(draw(charts.rates(frame, _column(field), percent), title, caption))
    name = ", ".join(_column(field) for field in found.about["context"])
    kinds = {
        "missing": ("positives that are missing", "% of positives that read 0"),
        "flipped": ("labels that are flipped", "% of labels that read the other"),
        "any": ("labels that read another", "% of these labels that read another"),
    }
    for kind, frame in found.beliefs.items():
        what, percent = kinds[kind]
        tables.append(_beliefs_table(frame, name, what))
        title = f"What the run believes: {what}"
        caption = "" if kind == "any" else "Bars are 95 % intervals of the estimates."
        caption += _first(frame["value"].n_unique())
        shown.append(draw(charts.beliefs(frame, name, percent), title, caption))
    if found.about["weights_see"]:
        text.append(
            f"The controller sees {name}, too: what it makes of each value is under Learned loss."
        )
    text.append(
        f"Trusted rows are those whose labels are right. Where {label} is rarer or more common in "
        "train than among them, train's labels may be wrong."
    )
    return Section(
        f"Labels by {name}" if found.about["context"] else "Labels",
        text=text,
        missing=[*_missing(found, "model", NO_DATA), *missing],
        charts=shown,
        below=tables,
    )


def _first(number: int) -> str:
    """What is to be said of a chart of that many values."""
    most = charts.MOST_VALUES
    return f" The first {most} of {number:,} values." if number > most else ""


def _apart(field: str, frame: pl.DataFrame, label: str) -> str:
    """At which values the two intervals do not meet."""
    lower = frame.filter(pl.col("high") < pl.col("trusted_low"))["value"].to_list()
    higher = frame.filter(pl.col("low") > pl.col("trusted_high"))["value"].to_list()
    column = _column(field)
    told = [
        f"{way} often than the trusted rows" + (f" at {_listed(values)}" if column else "")
        for way, values in (("less", lower), ("more", higher))
        if values
    ]
    where = f"By {column}: train" if column else "Train"
    if told:
        return f"{where} has {label} {' and '.join(told)}."
    return f"{where} and the trusted rows have {label} as often, as far as their numbers tell."


def _column(field: str) -> str:
    """What a field is called; nothing where there is none."""
    return "" if field == contexts.ALL else inspection.printable(field)


def _listed(values: Sequence[str]) -> str:
    names = [inspection.printable(value) for value in values[:6]]
    return ", ".join(names) + (f" and {len(values) - 6} more" if len(values) > 6 else "")


def _rates_table(field: str, frame: pl.DataFrame, label: str) -> Table:
    rows = []
    for line in frame.head(MOST_LINES).iter_rows(named=True):
        ours, theirs = line["positive"], line["trusted_positive"]
        ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else "-"
        cells = (
            f"{line['rows']:,}",
            _share(ours),
            f"{line['trusted_rows']:,}",
            _share(theirs, line["trusted_low"], line["trusted_high"]),
            ratio,
        )
        rows.append((inspection.printable(line["value"]), *cells))
    shares = (f"with {label}", "trusted rows", f"with {label} (95 % interval)", "ratio")
    head = [_column(field), "rows of train", *shares]
    return Table(_cut(f"How many rows have {label}", frame.height), head, rows)


def _beliefs_table(frame: pl.DataFrame, name: str, what: str) -> Table:
    """A row a value, with a column for each label if they differ."""
    labels = frame["label"].unique(maintain_order=True).to_list()
    learned = frame["learned"].null_count() < frame.height
    rows = []
    for (value,), part in frame.group_by("value", maintain_order=True):
        first = part.row(0, named=True)
        cells = [_belief(rate, error) for rate, error in part.select("rate", "error").iter_rows()]
        cells += [_share(first["learned"])] if learned else []
        counts = (f"{first['rows']:,}", f"{first['trusted']:,}")
        rows.append((inspection.printable(str(value)), *cells, *counts))
    heads = [f"label {label}" for label in labels] if len(labels) > 1 else [what]
    heads += ["after training"] if learned else []
    head = [name, *heads, "rows of train", "trusted rows"]
    estimated = " (± is one standard error)" if frame["error"].null_count() < frame.height else ""
    caption = f"What the run believes: {what}{estimated}"
    return Table(_cut(caption, len(rows)), head, rows[:MOST_LINES])


def _belief(rate: float, error: float | None) -> str:
    return f"{100 * rate:.1f} %" + ("" if error is None else f" ± {100 * error:.1f}")


def _cut(caption: str, height: int) -> str:
    return caption if height <= MOST_LINES else f"{caption}; the first {MOST_LINES} of {height:,}"


def _learning(found: Explanation, draw: _Charts) -> Section:
    frame, best = found.learning, found.about["best_steps"]
    panels = {
        "loss": ("Training loss", "loss that is trained with"),
        "auc": ("Validation AUC", "AUC"),
        "logloss": ("Validation logloss", "logloss, nats"),
    }
    shown = [
        draw(charts.learning(frame, column, ylabel, best), title)
        for column, (title, ylabel) in panels.items()
        if frame[column].null_count() < frame.height
    ]
    text = [
        "The model that is kept is that of the best step on validation.",
        *_still_learning(found),
    ]
    seconds = found.seconds.pivot("run", index="part", values="seconds")
    rows = [
        (part, *("-" if s is None else f"{s:,.1f}" for s in of_runs))
        for part, *of_runs in seconds.iter_rows()
    ]
    table = Table("Seconds", ["", *seconds.columns[1:]], rows)
    return Section("Learning", text=text, charts=shown, below=[table])


def _still_learning(found: Explanation) -> list[str]:
    last = found.learning.group_by("run", maintain_order=True).agg(pl.col("step").max())
    best = found.about["best_steps"]
    late = [run for run, step in last.iter_rows() if best[run] == step]
    if not late:
        return []
    whose = f"Of {', '.join(late)} the" if len(best) > 1 else "The"
    return [
        f"{whose} best step was the last one: more epochs (--config.train.epochs) may make it "
        "better."
    ]


def _calibration(found: Explanation, draw: _Charts) -> Section:
    title = "Do the probabilities mean what they say?"
    if not found.reliability:
        return Section(title, missing=_missing(found, "model", NO_DATA, "calibration"))
    several = found.about["classes"] > 2
    what = "probability of the predicted class" if several else "predicted probability of label 1"
    seen = "share that is right" if several else "observed share of label 1"
    before, after = (reliability.error(found.reliability[when]) for when in ("before", "after"))
    predicted, observed = reliability.means(found.reliability["before"])
    text = [
        f"On average it predicts {predicted:.4f}, and {observed:.4f} is observed. From predictions "
        f"to what is observed it is {before:.4f} on average (expected calibration error), and "
        f"{after:.4f} after calibration on validation rows (--calibrated).",
        "A point is a tenth of the rows. Above the dashed line the model predicts too little, "
        "below it too much.",
    ]
    score = "probability of the row's own label" if several else "predicted probability of label 1"
    shown = [
        draw(
            charts.reliability(dict(found.reliability), what, seen),
            "Calibration",
            "Bars are 95 % intervals.",
        ),
        draw(charts.scores(found.scores, score), "Scores by label", "Before calibration."),
    ]
    notes = [
        f"On {found.rows['calibration']:,} rows of {found.about['judged_on']}{_of_first(found)}."
    ]
    return Section(title, text=text, charts=shown, notes=notes)


def _of_first(found: Explanation) -> str:
    seeds = found.about["seeds"]
    return f", by the run of seed {seeds[0]}" if len(seeds) > 1 else ""


def _importance(found: Explanation, draw: _Charts) -> Section:
    title, frame = "Which columns matter", found.importance
    if frame.is_empty():
        return Section(title, missing=_missing(found, "model", NO_DATA, "importance"))
    text = [
        f"How far {found.about['judged_on']} AUC falls once the values of one column are shuffled "
        "among the rows. A column near 0 tells the model nothing that others do not tell too."
    ]
    rows = [
        (inspection.printable(n), f"{drop:.4f} ± {std:.4f}") for n, drop, std in frame.iter_rows()
    ]
    table = Table("AUC lost, of all columns", ["column", "mean ± deviation"], rows)
    most = charts.MOST_FIELDS
    caption = f"The first {most} of {frame.height}. " if frame.height > most else ""
    shown = [
        draw(
            charts.importance(frame),
            "Permutation importance",
            f"{caption}Bars are one standard deviation.",
        )
    ]
    notes = [
        f"On {found.rows['importance']:,} rows of {found.about['judged_on']}, "
        f"{importance.REPEATS} shuffles of each column{_of_first(found)}."
    ]
    return Section(title, text=text, charts=shown, folded=[table], notes=notes)


def _loss(found: Explanation, draw: _Charts) -> Section:
    title = "Learned loss"
    if found.weights.is_empty():
        if "model" in found.missing:
            return Section(title, missing=_missing(found, "model"))
        return Section(
            "Loss",
            text=[
                "This run has no controller, so no loss is learned. "
                f"It trains with {found.about['loss']}."
            ],
        )
    labels = found.weights["label"].unique(maintain_order=True).to_list()
    shown = [chart for label in labels for chart in _of_label(found, label, draw)]
    for (field, frame), label in itertools.product(found.weights_by_value.items(), labels):
        called = f"Rows of label {label}: weights by {inspection.printable(field)}"
        caption = "At a prediction of one half."
        shown.append(draw(charts.by_value(frame, label, field), called, caption))
    number = found.weights["draw"].n_unique()
    text = [*([found.verdict] if found.verdict else []), *_reading(found, number)]
    tables = [] if found.spread.is_empty() else [_spread_table(found, number)]
    if found.losses.is_empty():
        text.append("A candidate looks at whole batches: no loss of one row is shown.")
    return Section(title, text=text, missing=_missing(found, NO_DATA), tables=tables, charts=shown)


def _of_label(found: Explanation, label: int, draw: _Charts) -> Iterator[Chart]:
    """Weights, loss and gradient for the rows of one label."""
    several, rows = found.about["classes"] > 2, f"Rows of label {label}"
    prediction = "probability of the label" if several else "predicted probability of label 1"
    yield draw(charts.weights(found.weights, label, prediction), f"{rows}: weights")
    if found.losses.is_empty():
        return
    logit = "logit of the label above the others'" if several else "logit"
    for column, ylabel in (("value", "loss of a row"), ("gradient", "gradient of the loss")):
        figure = charts.loss(found.losses, label, column, logit, ylabel)
        yield draw(figure, f"{rows}: {ylabel.removesuffix(' of a row')}")


def _reading(found: Explanation, number: int) -> list[str]:
    context, folds = found.about["context"] if found.weights_by_value else (), found.about["folds"]
    unknown = f" The rows are such whose {' and '.join(context)} is not known." if context else ""
    several = [
        "Searches of one run share rows: other seeds would differ more." if folds > 1 else "",
        f"Lines are means over {number} controllers, shades go from the least to the greatest.",
    ]
    lines = " ".join([*filter(None, several), ""]) if number > 1 else ""
    return [
        f"{lines}A weight says how much a candidate loss counts at a prediction. The gradient, "
        "with the weights held fixed, is what moves the model: a gradient nearer to 0 than "
        f"cross-entropy's means that such rows are believed less.{unknown}"
    ]


def _spread_table(found: Explanation, number: int) -> Table:
    rows = []
    for line in found.spread.iter_rows(named=True):
        cells = [str(line["label"]), line["loss"], f"{line['mean']:.3f}"]
        if number > 1:
            cells[-1] += f" ± {line['deviation']:.3f}"
            cells.append(f"{line['least']:.3f} to {line['greatest']:.3f}")
        cells.append(f"{line['start']:.3f}")
        if number > 1:
            cells.append("-" if line["p"] is None else f"{line['p']:.2g}")
        rows.append(cells)
    spread = ("least to greatest",) if number > 1 else ()
    head = ["label", "loss", "mean weight", *spread, "began with", *(("p",) if number > 1 else ())]
    return Table(f"Mean weights on {found.about['judged_on']} rows, by label", head, rows)


def _config(found: Explanation, command: str) -> Section:
    changed = found.settings.filter("changed")
    rest = found.settings.filter(~pl.col("changed"))
    tables = [
        Table(
            "What differs from the defaults",
            ["key", "value", "default"],
            list(changed.select("key", "value", "default").iter_rows()),
            text=True,
        )
    ]
    versions = Table("Versions", ["package", "version"], list(found.versions.items()), text=True)
    unchanged = list(rest.select("key", "value").iter_rows())
    folded = Table(
        f"The other {rest.height} keys, as by default", ["key", "value"], unchanged, text=True
    )
    code = [
        ("This report:", command),
        ("The same training again:", found.about["command"]),
        ("The same from Python:", found.about["python"]),
    ]
    runs = "The run's folder: " if len(found.about["runs"]) == 1 else "The runs' folders: "
    notes = [runs + ", ".join(found.about["runs"]) + "."]
    return Section("Config", tables=tables, folded=[folded, versions], code=code, notes=notes)


def _mean(values: pl.Series) -> str:
    if values.null_count():
        return "undefined"
    deviation = f" ± {values.std():.4f}" if values.len() > 1 else ""
    return f"{values.mean():.4f}{deviation}"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.5f}"


def _share(share: float | None, low: float | None = None, high: float | None = None) -> str:
    if share is None:
        return "-"
    interval = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * share:.1f} %{interval}"
