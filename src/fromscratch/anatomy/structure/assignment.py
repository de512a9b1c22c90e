"""Which row goes with which column so that the sum of their scores is largest."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_assignment"]


def best_assignment(score: NDArray[np.floating]) -> NDArray[np.int64]:
    """The column of each row, all different, for a score of n rows and at least as many columns.

    Shortest augmenting paths (Jonker and Volgenant 1987), O(n² m): layers of a model, not units of a layer.
    """
    cost = -np.asarray(score, np.float64)
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1, np.int64)
    for start in range(rows):
        least, came_from = np.full(columns, np.inf), np.full(columns, -1, np.int64)
        done = np.zeros(columns, bool)
        row, end, last = start, 0.0, -1
        while row >= 0:  # the cheapest way from this row to a column that nobody owns
            gap = end + cost[row] - row_price[row] - column_price
            better = ~done & (gap < least)
            least[better], came_from[better] = gap[better], last
            last = int(np.where(done, np.inf, least).argmin())
            end, done[last], row = least[last], True, owner[last]
        row_price[start] += end
        passed = done & (least < end)
        row_price[owner[passed]] += end - least[passed]
        column_price[passed] -= end - least[passed]
        while last >= 0:
            before = came_from[last]
            owner[last] = start if before < 0 else owner[before]
            last = int(before)
    column_of = np.empty(rows, np.int64)
    column_of[owner[owner >= 0]] = np.flatnonzero(owner >= 0)
    return column_of
