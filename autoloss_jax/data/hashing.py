"""Integer hashing that is the same in numpy and inside a compiled program."""

from typing import Any

import numpy as np


def mix(x: Any) -> Any:
    """The finaliser of MurmurHash3: a bijection of uint32 in which every input bit moves every
    output bit.
    """
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
