"""Figures of rankings within groups of rows, as those of one user: GAUC and NDCG; and PR-AUC."""

from typing import Any

import numpy as np
import polars as pl

AT = 10  # places of a ranking that NDCG looks at


def figures(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """{"pr_auc", "gauc", "ndcg@10", "groups"}; None where nothing defines it.

    Args:
        labels: int[n], 0 or 1.
        scores: float[n]; of two the greater ranks before.
        groups: [n], which group a row is of; of None that is not known, and PR-AUC alone has it.

    Returns:
        PR-AUC is the average precision over all rows. GAUC is the mean of the AUC of groups that
        have both labels, each as often as it has rows (Zhu et al., KDD 2017). NDCG@10 is the mean
        over groups with a positive; rows of one score share their places. `groups` is how many
        groups GAUC is of.
    """
    from sklearn.metrics import average_precision_score  # a second, for whoever asks for it

    of_row = pl.Series("group", groups.tolist(), strict=False)
    table = pl.DataFrame({"y": labels.astype(np.int64), "z": scores, "group": of_row})
    table = table.filter(of_row.is_not_null())
    auc, ndcg = _auc(table), _ndcg(table)
    of_group, rows = auc["auc"].to_numpy(), auc["rows"].to_numpy()
    return {
        "pr_auc": float(average_precision_score(labels, scores)) if labels.any() else None,
        "gauc": float(np.average(of_group, weights=rows)) if len(rows) else None,
        f"ndcg@{AT}": float(ndcg.mean()) if len(ndcg) else None,  # type: ignore[arg-type]
        "groups": auc.height,
    }


def _auc(table: pl.DataFrame) -> pl.DataFrame:
    """Of each group with both labels: its "auc", from the ranks of its positives, and "rows"."""
    ranked = table.with_columns(rank=pl.col("z").rank("average").over("group"))
    positives, rows = pl.col("y").sum(), pl.len().cast(pl.Float64)
    of_group = ranked.group_by("group", maintain_order=True).agg(
        rows=rows,
        positives=positives.cast(pl.Float64),
        ranks=(pl.col("rank") * pl.col("y")).sum(),
    )
    both = of_group.filter((pl.col("positives") > 0) & (pl.col("positives") < pl.col("rows")))
    n, m = pl.col("positives"), pl.col("rows")
    return both.select("rows", auc=(pl.col("ranks") - n * (n + 1) / 2) / (n * (m - n)))


def _ndcg(table: pl.DataFrame) -> pl.Series:
    """Of each group with a positive: the gain of its first places, over that of the best order."""
    gain = pl.when(pl.col("place") <= AT).then(1 / (pl.col("place") + 1).log(2)).otherwise(0.0)
    place = pl.col("z").rank("ordinal", descending=True).over("group")
    best = pl.col("y").rank("ordinal", descending=True).over("group")
    ranked = table.with_columns(place=place).with_columns(gain=gain)
    ranked = ranked.with_columns(gain=pl.col("gain").mean().over("group", "z"))  # of level scores
    ideal = table.with_columns(place=best).select(ideal=gain * pl.col("y"))
    of_group = (
        pl.concat([ranked, ideal], how="horizontal")
        .group_by("group", maintain_order=True)
        .agg(got=(pl.col("gain") * pl.col("y")).sum(), ideal=pl.col("ideal").sum())
    )
    found = of_group.filter(pl.col("ideal") > 0)
    return found["got"] / found["ideal"]
