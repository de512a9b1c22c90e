"""Which numbers of a matrix a fingerprint keeps: places chosen by a hash, so that two fingerprints kept the same ones.

A place is kept if its hash is below a share of all hashes, and shares are powers of two: what a large model keeps is
among what a small one keeps, so any two fingerprints meet in the coarser choice. Columns are kept 32 at a time, because
quantised formats share a scale along 32 numbers of a row.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.digests import mixed

__all__ = ["BLOCK", "Places", "Sample", "common", "kept", "kept_columns", "sample_places"]

BLOCK = 32

Places = NDArray[np.int64]


def kept(count: int, wanted: int) -> Places:
    """About ``wanted`` of the places 0 … count - 1, in order; all of them if they are no more than that."""
    places = np.arange(count)
    share = 0
    while count >> share > max(1, wanted):
        share += 1
    if not share:
        return places
    chosen = mixed(places.astype(np.uint64) + np.uint64(1)) < np.uint64(1 << (64 - share))
    return places[chosen] if chosen.any() else places[:1]


def kept_columns(count: int, wanted: int) -> Places:
    """As ``kept``, by whole blocks of 32."""
    blocks = kept(-(-count // BLOCK), max(1, wanted // BLOCK))
    columns = (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
    return columns[columns < count]


@dataclass(frozen=True)
class Sample:
    """Numbers of a matrix in its (out, in) form, as they were stored."""

    rows: Places
    columns: Places
    values: NDArray[np.generic]
    """[rows, columns]: float32, float16, or uint16 for the bits of bfloat16."""

    def numbers(self) -> NDArray[np.float32]:
        """The values as float32."""
        if self.values.dtype == np.uint16:
            return (self.values.astype(np.uint32) << 16).view(np.float32)
        return self.values.astype(np.float32)

    def at(self, rows: Places, columns: Places) -> NDArray[np.float32]:
        """The numbers at places that this sample holds."""
        if np.array_equal(rows, self.rows) and np.array_equal(columns, self.columns):
            return self.numbers()
        found = self.values[np.ix_(np.searchsorted(self.rows, rows), np.searchsorted(self.columns, columns))]
        return Sample(rows, columns, found).numbers()

    def condensed(self, rows: Places, columns: Places) -> "Sample":
        """What it holds of these places."""
        rows, columns = np.intersect1d(rows, self.rows), np.intersect1d(columns, self.columns)
        values = self.values[np.ix_(np.searchsorted(self.rows, rows), np.searchsorted(self.columns, columns))]
        return Sample(rows, columns, values)


def common(a: Sample, b: Sample) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What both samples hold, in the same order: two matrices of one shape, empty where they share nothing."""
    rows, columns = np.intersect1d(a.rows, b.rows), np.intersect1d(a.columns, b.columns)
    return a.at(rows, columns), b.at(rows, columns)


def sample_places(rows: int, columns: int, cells: int, *, every_column: bool = False) -> tuple[Places, Places]:
    """Rows and columns that make about ``cells`` numbers; of an embedding every column, of fewer tokens."""
    side = int(cells**0.5)
    if every_column:
        return kept(rows, max(1, cells // columns)), np.arange(columns)
    chosen = kept(rows, max(side, cells // columns))
    return chosen, kept_columns(columns, cells // len(chosen))
