"""Who gets which rows, and what is done to the labels of train where a study wants them worse
than they are.
"""

import numpy as np


def first_part(num_rows: int, share: float, seed: int) -> np.ndarray:
    """bool[num_rows], true for a random `share` of the rows: the controller's part of val."""
    mine = np.zeros(num_rows, bool)
    mine[_random(seed, b"halve").permutation(num_rows)[: round(share * num_rows)]] = True
    return mine


def fold(num_rows: int, number: int, count: int, seed: int) -> np.ndarray:
    """bool[num_rows], true for the rows of one of `count` random parts, equal but for a row."""
    mine = np.zeros(num_rows, bool)
    mine[_random(seed, b"fold").permutation(num_rows)[number::count]] = True
    return mine


def moments(times: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """The times at which val and test begin, float64[2], so that the oldest rows are train and
    the newest test.

    Rows of one moment stay together.
    """
    return np.quantile(times, np.cumsum(shares)[:2], method="higher")


def shares(mean: float, values: int, seed: int) -> np.ndarray:
    """float64[values]: the chance of noise by the value of a field, the first of which is
    unknown.

    Evenly spaced from 0 to twice `mean`, in a random order; 1 at the most.
    """
    spaced = np.linspace(0, 2 * mean, max(values - 1, 1))
    return np.minimum([mean, *_random(seed, b"shares").permutation(spaced)], 1)


def corrupted(
    labels: np.ndarray,
    missing: float | np.ndarray,
    flipped: float | np.ndarray,
    num_classes: int,
    seed: int,
) -> np.ndarray:
    """int32[n]: labels of which a share `missing` of those above 0 read 0, and then a share
    `flipped` another class.

    Both may be [n], a chance for each.
    """
    random = _random(seed, b"noise")
    draws, others = random.random((2, len(labels))), random.integers(1, num_classes, len(labels))
    labels = np.where((labels > 0) & (draws[0] < missing), 0, labels)
    return np.where(draws[1] < flipped, (labels + others) % num_classes, labels).astype(np.int32)


def _random(seed: int, name: bytes) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0, *name])))
