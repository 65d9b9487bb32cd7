"""Who gets which rows, and what is done to the labels of train where a study wants them worse
than they are.
"""

from collections.abc import Sequence

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


def shares(mean: float, sizes: Sequence[int], seed: int) -> np.ndarray:
    """float64[sizes]: the chance of noise by the values of fields, the first of each unknown.

    Of one field, evenly spaced from 0 to twice `mean`, in a random order; 1 at the most. Of
    several, the order is turned by another step for each value of the others, so that the values
    of one field alone say nothing.
    """
    known = max(sizes[0] - 1, 1)
    spaced = _random(seed, b"shares").permutation(np.linspace(0, 2 * mean, known))
    chance = np.minimum([mean, *spaced], 1)
    for size in sizes[1:]:
        steps = _random(seed, b"steps").integers(0, known, size)
        turned = (np.arange(known) + steps[:, None]) % known + 1  # [size, known]
        first = np.zeros((size, 1), int)
        chance = np.moveaxis(chance[np.concatenate([first, turned], axis=1)], 0, -1)
    return chance


def unlikely(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64[n]: 2 for the positives of which the values say least that they are, down to 0.

    What the values of a row say is the sum of their log-odds (naive Bayes); ids int[n, S].
    """
    positive, every = labels > 0, np.bincount(ids.ravel())
    of_positive = np.bincount(ids[positive].ravel(), minlength=len(every))
    odds = np.log1p(of_positive) - np.log1p(every - of_positive)
    score = odds[ids].sum(axis=1)
    rank = np.searchsorted(np.sort(score[positive]), score, side="left")
    return 2 * (1 - rank / max(positive.sum(), 1))


def commonest(values: np.ndarray) -> np.ndarray:
    """The commonest of values int[n], as few as make up a quarter of the rows."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    return found[order][before < len(values) / 4]


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
