"""Chance that every machine agrees on: numbers drawn from the ids of documents."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance_of_ids"]


def chance_of_ids(ids: NDArray[np.object_], purpose: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each document, evenly spread; for another purpose another one."""
    # A loop over documents: nothing digests many strings at once, and each takes a microsecond.
    digests = [hashlib.blake2b(f"{purpose}\0{each}".encode(), digest_size=8).digest() for each in ids]
    drawn: NDArray[Any] = np.frombuffer(b"".join(digests), "<u8") >> np.uint64(11)  # as many bits as a float holds
    return drawn / 2.0**53
