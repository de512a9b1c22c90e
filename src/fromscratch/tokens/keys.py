"""Keys: 64-bit numbers from names and counters, so well mixed that they serve as random ones."""

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["UInt64s", "key_of", "mix", "uniform"]

UInt64s = npt.NDArray[np.uint64]


def key_of(*parts: str | int) -> int:
    """A 64-bit key of names and numbers: the first 8 bytes of the SHA-256 of their list."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8])


def mix(values: UInt64s) -> UInt64s:
    """A bijection of 64 bits that turns counters into random-looking numbers: SplitMix64 (Steele et al. 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def uniform(values: UInt64s) -> npt.NDArray[np.float64]:
    """Mixed numbers as floats, uniform in [0, 1)."""
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53
