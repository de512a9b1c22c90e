"""A keyed permutation of range(n), computed place by place: a shuffled list that takes no memory."""

import numpy as np
import numpy.typing as npt

from fromscratch.tokens.keys import UInt64s, mix

__all__ = ["permute"]

ROUNDS = 4

Int64s = npt.NDArray[np.int64]


def permute(index: Int64s, size: Int64s, key: UInt64s) -> Int64s:
    """Where each index goes in a permutation of ``range(size)`` that its key picks. All three are [N]; size < 2**62.

    The numbers are written as cells of a rectangle of about √size by √size. A round turns each row by an amount that
    the key and the row give, then each column likewise: a bijection, whatever the amounts. This is the generalised
    Feistel cipher of Black and Rogaway (Ciphers with arbitrary finite domains, 2002). The rectangle has a few
    cells too many; who lands on one goes on from there until within ``range(size)`` (cycle walking).
    """
    columns = np.ceil(np.sqrt(size)).astype(np.uint64)
    rows = (size.astype(np.uint64) + columns - np.uint64(1)) // columns
    place = _scramble(index.astype(np.uint64), rows, columns, key)
    while (outside := np.flatnonzero(place >= size.astype(np.uint64))).size:
        place[outside] = _scramble(place[outside], rows[outside], columns[outside], key[outside])
    return place.astype(np.int64)


def _scramble(cell: UInt64s, rows: UInt64s, columns: UInt64s, key: UInt64s) -> UInt64s:
    row, column = cell // columns, cell % columns
    for number in range(ROUNDS):
        round_key = mix(key + np.uint64(number))
        column = (column + mix(round_key ^ row) % columns) % columns
        row = (row + mix(~round_key ^ column) % rows) % rows
    return row * columns + column
