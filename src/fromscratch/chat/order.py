"""Shuffled orders that are the same wherever and whenever they are asked for."""

import numpy as np
import numpy.typing as npt

from fromscratch.tokens.keys import key_of
from fromscratch.tokens.permutation import permute

__all__ = ["shuffled"]


def shuffled(size: int, *key: str | int) -> npt.NDArray[np.int64]:
    """The numbers below ``size`` in an order that the key picks."""
    return permute(np.arange(size), np.full(size, size), np.full(size, key_of(*key), dtype=np.uint64))
