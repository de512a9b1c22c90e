"""The order of layers from the weights: neighbours read and write the stream along similar directions.

n blocks · D number of the stream that is looked at
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.units import Directions

__all__ = ["arrange", "likeness", "place_beside", "second_moments"]

Matrix = NDArray[np.float64]

NEAR, FAR = 2.0, 0.35  # how many layers likeness reaches, closely; and widely, as a share of the depth
ACROSS = 4.0  # weight of a block's likeness to the block of the other kind in its layer


def second_moments(units_UD: Directions) -> NDArray[np.float32]:
    """The directions of a matrix's units as one vector of length D², whatever their order and their number."""
    return np.asarray((units_UD.T @ units_UD).ravel() / len(units_UD), np.float32)


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> Matrix:
    """Cosines [n, m] of what each has beyond the mean of its kind; rows are ``second_moments`` of one kind each."""

    def centred(x: NDArray[np.float32]) -> NDArray[np.float32]:
        x = x - x.mean(0)
        return np.asarray(x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12), np.float32)

    return np.asarray(centred(one) @ centred(other).T, np.float64)


def arrange(alike: Matrix) -> NDArray[np.int64]:
    """The order of n blocks in which like ones stand near each other, up to its direction.

    Begins with the Fiedler vector (spectral seriation, Atkins et al. 1998), then moves and turns runs of blocks as
    long as that brings like ones nearer; several beginnings, the best end.
    """
    n = len(alike)
    if n < 3:
        return np.arange(n)
    distance = np.abs(np.arange(n)[:, None] - np.arange(n)[None])
    weight = np.exp(-distance / NEAR) + np.exp(-distance / max(1.0, FAR * n))
    score = alike - alike[~np.eye(n, dtype=bool)].mean()
    np.fill_diagonal(score, 0)
    ends = [_improved(_spectral(alike, power), score, weight) for power in (1, 2, 4)]
    return max(ends, key=lambda order: _total(order, score, weight))


def _spectral(alike: Matrix, power: int) -> NDArray[np.int64]:
    affinity = (alike - alike.min()) ** power
    np.fill_diagonal(affinity, 0)
    degree = affinity.sum(1) + 1e-12
    laplacian = np.eye(len(alike)) - affinity / np.sqrt(degree[:, None] * degree[None])
    return np.argsort(np.linalg.eigh(laplacian)[1][:, 1] / np.sqrt(degree), kind="stable")


def _total(order: NDArray[np.int64], score: Matrix, weight: Matrix) -> float:
    return float((score[np.ix_(order, order)] * weight).sum())


def _improved(order: NDArray[np.int64], score: Matrix, weight: Matrix) -> NDArray[np.int64]:
    """The order after all moves that bring like blocks nearer, until none does."""
    best, better = _total(order, score, weight), True
    while better:
        better = False
        for move in _moves(len(order)):
            total = _total(order[move], score, weight)
            if total > best + 1e-9:
                order, best, better = order[move], total, True
    return order


def _moves(n: int) -> Iterator[NDArray[np.int64]]:
    """One block elsewhere; a run turned round; the two parts of a cut exchanged, the first of them turned or not."""
    every = np.arange(n)
    for start in range(n):
        rest = np.delete(every, start)
        for goal in range(n):
            if goal != start:
                yield np.concatenate([rest[:goal], [start], rest[goal:]])
    for start in range(n):
        for end in range(start + 2, n + 1):
            yield np.concatenate([every[:start], every[start:end][::-1], every[end:]])
        yield np.concatenate([every[start:], every[:start]])
        yield np.concatenate([every[start:], every[:start][::-1]])


def place_beside(cross: Matrix, alike: Matrix, start: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each of n blocks beside n others that stand in order: near those of its own kind that are like it
    (``alike``), at the one that it goes with (``cross`` [n, place]). From the guess ``start`` on, pairs change places.
    """
    n = len(cross)
    distance = np.abs(np.arange(n)[:, None] - np.arange(n)[None])
    weight = np.exp(-distance / NEAR)
    np.fill_diagonal(weight, 0)
    score = alike - alike[~np.eye(n, dtype=bool)].mean() if n > 1 else alike
    place, better = start.copy(), True
    block = np.arange(n)

    def total(place: NDArray[np.int64]) -> float:
        return float(ACROSS * cross[block, place].sum() + (score * weight[np.ix_(place, place)]).sum())

    best = total(place)
    while better:
        better = False
        for one in range(n):
            for other in range(one + 1, n):
                place[[one, other]] = place[[other, one]]
                now = total(place)
                if now > best + 1e-9:
                    best, better = now, True
                else:
                    place[[one, other]] = place[[other, one]]
    return place
