"""Which rows a batch holds: a permutation of the rows for every pass, computed where it is
needed and stored nowhere.

The same integer arithmetic runs in numpy and inside a compiled program, so that the host and the
device draw the same batches from (root key, name, number of the batch) alone.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np

from autoloss_jax.data.hashing import mix

TURNS, ROUNDS = 3, 2  # Feistel networks in a permutation, and pairs of rounds in each


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which batches draw from `num_rows` rows. Each pass is one permutation, cut
    into full batches.
    """

    name: str
    num_rows: int
    batch_size: int

    def rows(self, root: Any, number: Any, xp: Any = np) -> Any:
        """Rows of batch `number`, int32[B]; root uint32[2] is the run's key. With xp=jax.numpy
        it may be traced.
        """
        epoch, place = divmod(number, max(self.num_rows // self.batch_size, 1))
        key = xp.zeros(1, xp.uint32)
        for word in (root[0], root[1], np.uint32(zlib.crc32(self.name.encode())), epoch):
            key = mix(key ^ xp.asarray(word).astype(xp.uint32))
        position = xp.arange(self.batch_size, dtype=xp.uint32)
        position = position + xp.asarray(place * self.batch_size).astype(xp.uint32)
        return permute(position, self.num_rows, key).astype(xp.int32)


def permute(position: Any, size: int, key: Any) -> Any:
    """A bijection of 0..size-1, size < 2^31, that key uint32[1] chooses. uint32[n] -> uint32[n].

    Feistel networks over Z_a x Z_b. As a b may fall short of the size, by less than its root,
    what one network leaves in place at the end the next one finds at the beginning.
    """
    a = int(np.sqrt(size))
    b = size // a
    for turn in range(TURNS):
        left, right = position // b, position % b
        for i in range(turn * ROUNDS, (turn + 1) * ROUNDS):
            left = (left + mix(right ^ mix(key + 2 * i)) % a) % a
            right = (right + mix(left ^ mix(key + (2 * i + 1))) % b) % b
        inside = (position < a * b).astype(position.dtype)
        position = size - 1 - (inside * (left * b + right) + (1 - inside) * position)
    return position
