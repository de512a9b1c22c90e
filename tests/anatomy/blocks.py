"""GGML's simple block forms written down once more from their definition, so that tests do not trust our own."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["through_blocks"]


def through_blocks(array: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """A matrix as it comes back from Q8_0, Q4_0 or Q4_1: blocks of 32 numbers of a row with a scale in fp16."""
    block_N32 = array.reshape(-1, 32).astype(np.float32)
    if kind == "Q8_0":
        scale = _half(np.abs(block_N32).max(1, keepdims=True) / 127)
        made = scale * np.round(block_N32 / _divisor(scale))
    elif kind == "Q4_0":  # the number that is furthest from 0 becomes -8
        furthest = np.take_along_axis(block_N32, np.abs(block_N32).argmax(1)[:, None], 1)
        scale = _half(furthest / -8)
        made = scale * (np.clip(np.floor(block_N32 / _divisor(scale) + 8.5), 0, 15) - 8)
    elif kind == "Q4_1":
        least = _half(block_N32.min(1, keepdims=True))
        scale = _half((block_N32.max(1, keepdims=True) - least) / 15)
        made = least + scale * np.clip(np.floor((block_N32 - least) / _divisor(scale) + 0.5), 0, 15)
    else:
        raise ValueError(kind)
    return made.astype(np.float32).reshape(array.shape)


def _half(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array.astype(np.float16).astype(np.float32)


def _divisor(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(scale == 0, np.float32(1), scale)
