"""Numbers that are fed as values: what standardises a column, learnt in one pass over it."""

import dataclasses

import numpy as np

CHUNK = 1 << 16


def warped(numbers: np.ndarray, scale: str) -> np.ndarray:
    """Numbers as they are, or, where the scale is "log", sign(x) log(1 + |x|). [n] -> [n]."""
    return np.sign(numbers) * np.log1p(np.abs(numbers)) if scale == "log" else numbers


@dataclasses.dataclass
class Moments:
    """Of a stream of numbers: how many, their mean, and the sum of squared deviations from it.

    Chunks of one length are merged (Chan, Golub & LeVeque, 1983), so that no bit depends on how
    the stream was cut.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    rest: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))  # not yet a chunk

    def add(self, numbers: np.ndarray) -> None:
        """Take in the next of the stream, float64[n]."""
        rest = np.concatenate([self.rest, numbers])
        for begin in range(0, len(rest) - CHUNK + 1, CHUNK):
            self._merge(rest[begin : begin + CHUNK])
        self.rest = rest[len(rest) // CHUNK * CHUNK :].copy()

    def standard(self) -> tuple[float, float]:
        """(Mean, standard deviation) of all of it: (0, 1) of nothing, and a deviation of 1 where
        there is none.
        """
        self._merge(self.rest)
        self.rest = np.zeros(0)
        deviation = float(np.sqrt(self.squares / max(self.count, 1)))
        return self.mean, deviation if not deviation <= 1e-12 * abs(self.mean) else 1.0

    def _merge(self, chunk: np.ndarray) -> None:
        if not len(chunk):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean, count = float(np.mean(chunk)), self.count + len(chunk)
            squares = float(np.sum(np.square(chunk - mean)))
        off = mean - self.mean
        self.squares += squares + off * off * self.count * len(chunk) / count
        self.mean += off * len(chunk) / count
        self.count = count
