"""Where labels may be wrong: their rates by value of the context, in train and among the trusted
rows, and what a run believes of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from autoloss_jax import config
from autoloss_jax.analysis import significance
from autoloss_jax.config.errors import UserError
from autoloss_jax.data import inspection
from autoloss_jax.data.store import Store
from autoloss_jax.distributed import documents
from autoloss_jax.training import frozen_controllers

ALL = "all rows"


def rates(
    data: Store, asked: config.Data, train: np.ndarray, trusted: np.ndarray
) -> dict[str, pl.DataFrame]:
    """Field -> its "value"s, the commonest first, with "rows", the share "positive" of labels
    above 0 and its 95 % interval "low" to "high", and the same of trusted rows, "trusted_...".

    Without a context there is one value, all rows. Labels int[n] of train, and of trusted rows.
    """
    if asked.context:
        found = inspection.label_rates(data, asked, np.asarray(train))
        return {field["name"]: _frame(field["values"]) for field in found}
    counts: dict[str, Any] = {"value": ALL}
    for which, labels in (("train", train), ("trusted", trusted)):
        positive = int((np.asarray(labels) > 0).sum())
        counts |= {which: len(labels), f"{which}_positive": positive}
    return {ALL: _frame([counts])}


def _frame(values: list[dict[str, Any]]) -> pl.DataFrame:
    counts = pl.DataFrame(values)
    columns = {"value": counts["value"]}
    for which, prefix in (("train", ""), ("trusted", "trusted_")):
        rows, positive = (counts[n].to_numpy() for n in (which, f"{which}_positive"))
        low, high = significance.share_interval(positive, rows)
        share = np.where(rows > 0, positive / np.maximum(rows, 1), np.nan)
        of_these = {"rows": rows, "positive": share, "low": low, "high": high}
        columns |= {prefix + name: array for name, array in of_these.items()}
    return pl.DataFrame(columns).with_columns(pl.col("^.*positive$").fill_nan(None))


def beliefs(workdir: Path, source: str) -> dict[str, pl.DataFrame]:
    """Kind of label noise -> what a run believes of each cell of the context, the largest first.

    Columns: "value", the names of the cell's values; "label", of which labels; "rate", the share
    of these that reads another, its standard "error" if it was estimated, and the rate "learned"
    if training moved it; "rows" of train and "trusted" rows. Nothing of a run without rates.

    `source` is the run whose frozen controller it has, or "".
    """
    sources = [Path(source)] if source else []
    for folder in (workdir, *frozen_controllers.finished(workdir / "search"), *sources):
        path = folder / "label_noise.json"
        if path.exists():
            known = documents.read(path)
            try:
                return {kind: _cells(of) for kind, of in known.items()}
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: cannot be read ({error})") from error
    return {}


def _cells(known: dict[str, Any]) -> pl.DataFrame:
    labels = {"missing": "1", "flipped": "0, 1"}
    lines = []
    for cell in known["cells"]:
        value = ", ".join(cell["values"]) or ALL
        counts = {"rows": cell["rows"], "trusted": cell["trusted"]}
        if "transition" in cell:
            lines += [
                {"value": value, "label": str(label), "rate": 1 - chances[label], **counts}
                for label, chances in enumerate(cell["transition"])
            ]
        else:
            of_cell = {name: cell.get(name) for name in ("rate", "error", "learned")}
            lines.append({"value": value, "label": labels[known["kind"]], **of_cell, **counts})
    names = {"value": pl.String, "label": pl.String, "rate": pl.Float64, "error": pl.Float64}
    more = {"learned": pl.Float64, "rows": pl.Int64, "trusted": pl.Int64}
    return pl.DataFrame(lines, schema=names | more).sort(
        "rows", descending=True, maintain_order=True
    )
