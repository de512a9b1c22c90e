"""Digests of a matrix, of its rows and of its columns, in one pass over it and at three precisions.

A digest of a row is Σ bits(x_j) · key(j) modulo 2^64 with 32-bit keys that are no secret (multilinear hashing, Lemire
and Kaser 2014): two rows that differ meet with a chance of about 2^-32. Equal digests mean copied numbers; they are no
proof against somebody who builds collisions on purpose. The keys depend on the place alone, so the digest of column
c equals that of row c of the transposed matrix. Beside the numbers as they are, they are digested as bfloat16 and as
float16 would round them: a checkpoint and its cast meet there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["BFLOAT16", "FLOAT16", "NATIVE", "PRECISIONS", "Digest", "Digester", "keys", "mixed"]

F = TypeVar("F", bound=Callable[..., Any])
Words = NDArray[np.uint64]
Block = NDArray[np.generic]

NATIVE, BFLOAT16, FLOAT16 = range(3)
PRECISIONS = ("native", "bfloat16", "float16")


def mixed(words: Words) -> Words:
    """Every bit of the result depends on every bit of the word (the finaliser of splitmix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def keys(places: NDArray[np.int64]) -> Words:
    """The 32-bit key of each place of a row or column; odd, so that no number is passed over."""
    return (mixed(places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) | np.uint64(1)


def kernel(function: F) -> F:
    """Compile on first call, without the interpreter lock; the machine code is kept on disk where that can be."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


@kernel
def _digest_block(
    kind: int,
    wide: NDArray[np.uint32],
    narrow: NDArray[np.uint16],
    row_keys: Words,
    column_keys: Words,
    row_sums: NDArray[np.uint64],
    column_sums: NDArray[np.uint64],
    scratch: NDArray[np.float32],
    scratch_bits: NDArray[np.uint32],
    size: NDArray[np.float32],
    size_bits: NDArray[np.uint32],
) -> None:
    """Add a block [R, C] to row_sums [3, R] and column_sums [3, C]; kind 0 float32 (wide), 1 bfloat16, 2 float16.

    ``scratch`` [C] and ``scratch_bits`` are one memory seen as numbers and as bits, ``size`` and ``size_bits`` another;
    a loop uses one of the two, or it would not be vectorised.
    """
    rows, columns = wide.shape if kind == 0 else narrow.shape
    half_ulp, sign, keep = np.uint32(0x7FFF), np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
    for row in range(rows):
        key = row_keys[row]
        if kind == 0:
            for c in range(columns):
                bits = wide[row, c]
                scratch_bits[c] = np.uint32(0) if bits == sign else bits
        elif kind == 1:
            for c in range(columns):
                bits = np.uint32(np.uint32(narrow[row, c]) << np.uint32(16))
                scratch_bits[c] = np.uint32(0) if bits == sign else bits
        else:
            for c in range(columns):
                scratch_bits[c] = np.uint32(np.uint32(narrow[row, c] & 0x7FFF) << np.uint32(13))
            for c in range(columns):
                scratch[c] = scratch[c] * np.float32(5.192296858534828e33)  # 2^112: exact, subnormals too
            for c in range(columns):
                bits = scratch_bits[c]
                if np.uint32(narrow[row, c] & 0x7C00) == np.uint32(0x7C00):
                    bits = bits | np.uint32(0x7F800000)
                if bits != 0:
                    bits = bits | np.uint32(np.uint32(narrow[row, c] & 0x8000) << np.uint32(16))
                scratch_bits[c] = bits
        total = np.uint64(0)
        for c in range(columns):
            bits = np.uint64(scratch_bits[c])
            total += bits * column_keys[c]
            column_sums[0, c] += bits * key
        row_sums[0, row] = total
        if kind != 1:
            total = np.uint64(0)
            for c in range(columns):
                word = scratch_bits[c]
                word = np.uint32(word + half_ulp + ((word >> np.uint32(16)) & np.uint32(1)))
                word = np.uint32(word & np.uint32(0xFFFF0000))
                bits = np.uint64(np.uint32(0) if word == sign else word)
                total += bits * column_keys[c]
                column_sums[1, c] += bits * key
            row_sums[1, row] = total
        if kind != 2:
            for c in range(columns):
                size_bits[c] = np.uint32(scratch_bits[c] & keep)
            for c in range(columns):
                size[c] = np.float32(size[c] + np.float32(0.75)) - np.float32(0.75)  # below 2^-14: a grid of 2^-24
            total = np.uint64(0)
            for c in range(columns):
                word = scratch_bits[c]
                normal = np.uint32(word & keep)
                small = normal < np.uint32(0x38800000)
                normal = np.uint32(normal + np.uint32(0xFFF) + ((normal >> np.uint32(13)) & np.uint32(1)))
                normal = np.uint32(normal & np.uint32(0xFFFFE000))
                normal = np.uint32(0x7F800000) if normal > np.uint32(0x477FE000) else normal
                rounded = size_bits[c] if small else normal
                bits = np.uint64(np.uint32(0) if rounded == 0 else np.uint32(rounded | (word & sign)))
                total += bits * column_keys[c]
                column_sums[2, c] += bits * key
            row_sums[2, row] = total


@dataclass(frozen=True)
class Digest:
    """What equal matrices have in common. First axis: precision (native, bfloat16, float16)."""

    whole: tuple[str, str, str]
    """128 bits over rows and columns in their order."""
    row_set: tuple[int, int, int]
    """Of the rows in no order: equal where rows were only permuted."""
    column_set: tuple[int, int, int]
    rows: NDArray[np.uint32]
    """[P, R] a digest per row at each of P precisions: all three, or bfloat16 alone, as large models are saved."""
    columns: NDArray[np.uint32]
    """[P, C]"""

    def along(self, axis: int, precision: int) -> NDArray[np.uint32]:
        """Of rows (axis 0) or columns (1), at this precision or, where it is not held, at bfloat16."""
        held = self.columns if axis else self.rows
        found: NDArray[np.uint32] = held[precision if len(held) == len(PRECISIONS) else 0]
        return found

    def rounded(self, precision: int) -> bool:
        """Whether all numbers are numbers of this precision."""
        return self.whole[precision] == self.whole[NATIVE]


class Digester:
    """Takes a matrix [R, C] in blocks of rows, or of the columns of its stored transpose, and yields its digest."""

    def __init__(self, rows: int, columns: int) -> None:
        self._sums = [np.zeros((3, rows), np.uint64), np.zeros((3, columns), np.uint64)]
        self._kind = 0

    def add(
        self,
        block: Block,
        first: int,
        *,
        transposed: bool = False,
        row_keys: Words | None = None,
        column_keys: Words | None = None,
    ) -> None:
        """Rows from ``first`` on: float32, float16, or bfloat16 as uint16. Other keys undo a permutation."""
        block = np.ascontiguousarray(block)
        rows, columns = block.shape
        by_row, by_column = self._sums[::-1] if transposed else self._sums
        row_keys = keys(np.arange(first, first + rows)) if row_keys is None else row_keys
        column_keys = keys(np.arange(columns)) if column_keys is None else column_keys
        self._kind = {"float32": 0, "uint16": 1, "float16": 2}[block.dtype.name]
        empty_wide, empty_narrow = np.empty((0, 0), np.uint32), np.empty((0, 0), np.uint16)
        wide = block.view(np.uint32) if self._kind == 0 else empty_wide
        narrow = empty_narrow if self._kind == 0 else block.view(np.uint16)
        sums = np.zeros((3, rows), np.uint64)
        scratch, size = np.empty((2, columns), np.float32)
        both = scratch, scratch.view(np.uint32), size, size.view(np.uint32)
        _digest_block(self._kind, wide, narrow, row_keys, column_keys, sums, by_column, *both)
        by_row[:, first : first + rows] += sums

    def digest(self) -> Digest:
        """Of all that was added."""
        if self._kind:  # bfloat16 and float16 are themselves already
            for sums in self._sums:
                sums[self._kind] = sums[NATIVE]
        rows, columns = (mixed(sums) for sums in self._sums)
        shape = f"{rows.shape[1]} {columns.shape[1]} ".encode()
        whole = [
            blake2b(shape + r.tobytes() + c.tobytes(), digest_size=16).hexdigest()
            for r, c in zip(rows, columns, strict=True)
        ]
        row_set, column_set = ([int(mixed(each).sum(dtype=np.uint64)) for each in sums] for sums in (rows, columns))
        return Digest(
            tuple(whole),  # type: ignore[arg-type]
            tuple(row_set),  # type: ignore[arg-type]
            tuple(column_set),  # type: ignore[arg-type]
            (rows >> np.uint64(32)).astype(np.uint32),
            (columns >> np.uint64(32)).astype(np.uint32),
        )
