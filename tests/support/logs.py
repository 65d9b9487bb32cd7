"""Logs made up so that what is in them is known."""

import numpy as np
import polars as pl

ROWS = 6000


def log(kind, rows=ROWS):
    """Rows of four fields whose labels depend on fields alone, on pairs of them too, or on none."""
    rng = np.random.default_rng(0)
    sizes = {"a": 4, "b": 6, "c": 10, "d": 50}
    values = {name: rng.integers(0, size, rows) for name, size in sizes.items()}
    logit = np.zeros(rows)
    if kind != "nothing":
        for name, size in sizes.items():
            logit += rng.normal(size=size)[values[name]]
    if kind == "pairs":
        for one, other in (("a", "c"), ("b", "c")):
            logit += rng.normal(size=(sizes[one], sizes[other]))[values[one], values[other]]
    label = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    words = {name: [f"{name}{v}" for v in of] for name, of in values.items()}
    return pl.DataFrame(words | {"label": label})
