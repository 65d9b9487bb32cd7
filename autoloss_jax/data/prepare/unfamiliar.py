"""What rows hold that train did not: values that no embedding knows, numbers out of range."""

import dataclasses

import numpy as np
import polars as pl

from autoloss_jax.data.prepare.encoder import Encoder
from autoloss_jax.data.schema import Schema

LEAST, TIMES = 0.1, 3.0  # a share of unknown values that is said, also as a multiple of val's


@dataclasses.dataclass
class Unfamiliar:
    """Counts over blocks of rows."""

    schema: Schema
    rows: int = 0
    unknown: np.ndarray | float = 0.0  # [F], rows with a value of no vocabulary
    beyond: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, encoder: Encoder, rows: pl.DataFrame, x: np.ndarray) -> None:
        """Take in a block, before and after it was encoded."""
        self.rows += len(x)
        self.unknown = self.unknown + self.schema.unknown(x).sum(axis=0)
        for name, count in encoder.beyond(rows).items():
            self.beyond[name] = self.beyond.get(name, 0) + count

    def lines(self) -> list[str]:
        """A line for each field that is unlike train's."""
        shares = np.broadcast_to(self.unknown / max(self.rows, 1), self.schema.num_fields)
        clipped = [
            f"{name}: {count:,} numbers outside of train's, "
            "{:g} to {:g}, are taken for the nearest of these".format(*self.schema.ranges[name])
            for name, count in self.beyond.items()
        ]
        return of_shares(self.schema, shares.tolist()) + clipped


def of_shares(schema: Schema, shares: list[float]) -> list[str]:
    """A line for each field of which far more values are unknown than in validation."""
    usual = schema.oov_rate.get("val", [0.0] * len(shares))
    return [
        f"{name}: {share:.0%} of the values are unknown to this model; in validation {known:.1%}"
        for name, share, known in zip(schema.fields, shares, usual, strict=True)
        if share > max(LEAST, TIMES * known) and name not in (*schema.context, *schema.scales)
    ]
