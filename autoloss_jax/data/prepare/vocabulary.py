"""What is learnt about values before rows can be encoded: which there are, where numbers are
cut, how they are scaled.
"""

from pathlib import Path

import numpy as np
import polars as pl

from autoloss_jax.config.errors import UserError
from autoloss_jax.data import store
from autoloss_jax.data.prepare import stages, target_encoding
from autoloss_jax.data.prepare.division import Part
from autoloss_jax.data.prepare.encoder import NUMBER
from autoloss_jax.data.prepare.executor import Executor
from autoloss_jax.data.prepare.scaling import Moments, warped
from autoloss_jax.data.prepare.stages import Job
from autoloss_jax.data.read import formats
from autoloss_jax.data.schema import Schema


def learn(
    job: Job, executor: Executor, parts: list[Part], rows: dict[str, int], fingerprint: str
) -> tuple[Schema, pl.DataFrame]:
    """(Schema without rates, vocabulary with the columns field, value), from the rows that teach
    W.
    """
    data, names = job.data, formats.with_made(tuple(parts[0].facts.fields), job.data)
    tabular = data.format == "tabular"
    hashed = {name: data.hash_size for name in data.hash}
    buckets = {name: _cut_points(parts, name, data.num_buckets) for name in data.numeric if tabular}
    fed = {name: _standard(parts, name, data.scale) for name in data.values if tabular}
    scales, ranges = {n: of for n, (of, _) in fed.items()}, {n: of for n, (_, of) in fed.items()}
    if data.target_encoding:
        tables = list(executor.each(stages.count_targets, job, [part.folder for part in parts]))
        targets = target_encoding.together(tables)
        targets.write_parquet(job.store / store.TARGETS)
        encodings = target_encoding.by_field(targets, data.num_classes)
        scales |= target_encoding.scales(encodings, data)
    known = {name: ["", *map(str, range(len(cuts) + 1))] for name, cuts in buckets.items()}
    known |= {name: [NUMBER] for name in scales} | {name: [] for name in hashed}
    counted = tuple(name for name in names if name not in known)
    counts = list(executor.each(stages.count, job, [part.folder for part in parts]))
    found = executor.vocabulary(counts, counted, data.min_count)
    of_field = {
        str(name): part["value"] for (name,), part in found.group_by("field", maintain_order=True)
    }
    words = {
        name: pl.Series(known.get(name, of_field.get(name, [])), dtype=pl.String) for name in names
    }
    schema = Schema(
        name=data.name or Path(data.path).stem,
        format=data.format,
        fields=names,
        vocab_sizes=tuple(1 + len(of) + hashed.get(name, 0) for name, of in words.items()),
        num_classes=data.num_classes,
        num_examples=rows,
        num_skipped=sum(part.facts.skipped + int((part.drawn < 0).sum()) for part in parts),
        oov_rate={},
        buckets=buckets,
        fingerprint=fingerprint,
        slots=tuple(data.bag_size if name in data.bags else 1 for name in names),
        scales=scales,
        hashed=hashed,
        ranges=ranges,
        row_weights=bool(data.weight),
        context=formats.context_only(data),
    )
    columns = [
        pl.DataFrame({"value": of}).select(pl.lit(name).alias("field"), "value")
        for name, of in words.items()
    ]
    return schema, pl.concat(columns) if columns else pl.DataFrame()


def _cut_points(parts: list[Part], name: str, buckets: int) -> list[float]:
    """Inner quantiles, each once."""
    numbers = np.concatenate([part.column(name)[part.taught] for part in parts])
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return []
    return np.unique(np.quantile(numbers, np.linspace(0, 1, buckets + 1)[1:-1])).tolist()


def _standard(parts: list[Part], name: str, scale: str) -> tuple[list[float], list[float]]:
    """(Mean and standard deviation of the scaled numbers, the least and the greatest number), in
    one pass; 0 and 0 of none.
    """
    numbers, low, high = Moments(), np.inf, -np.inf
    for part in parts:
        column = part.column(name)[part.taught]
        known = column[~np.isnan(column)]
        numbers.add(warped(known, scale))
        low, high = known.min(initial=low), known.max(initial=high)
    found = list(numbers.standard())
    if not np.isfinite(found).all():
        raise UserError(
            f"column {name}: its numbers are too large to be standardised; set "
            "--config.data.scale=log"
        )
    return found, [float(low), float(high)] if low <= high else [0.0, 0.0]
