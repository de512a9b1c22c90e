"""Tests whose p-values are bounded without assuming anything about how the weights are distributed.

The hit test. Rows a_i and b_j are the units of two models; j(i) is the unit of B that is nearest to unit i of A, and a
hit is j(i) = i. If B has nothing to do with A, its units could as well have been numbered otherwise, so that hits are
fixed points of a map relabelled at random: P(X ≥ m) ≤ 1/m!, whatever the map, by Maclaurin's inequality; with q of n
units asked, (q/n)^m/m!. Everything is kept as natural logarithms: 384 of 384 in order is a p of 1e-827.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HIT_BOUND",
    "HIT_LIMITS",
    "LAYERS_BOUND",
    "LIS_BOUND",
    "LIS_LIMITS",
    "hits_log_p",
    "holm",
    "increasing_log_p",
    "increasing_run",
    "layers_log_p",
    "log10",
    "nearest",
]

Values = NDArray[np.float32]

HIT_BOUND = "P(X ≥ m) ≤ (q/n)^m / m!"
LAYERS_BOUND = "P(Σ X ≥ M) ≤ exp(M - L - M ln(M/L))"
LIS_BOUND = "P(LIS ≥ k) ≤ C(n, k) / k!"
HIT_LIMITS = (
    "it holds if units were numbered by chance when training began: not for identity or otherwise structured initial "
    "weights, for the same seed (shared initial weights are a hit too), for units that were duplicated (upcycled "
    "experts, growth), nor where blocks of a quantisation mark the place of a unit"
)
LIS_LIMITS = "it holds if the map has nothing to do with the order of units; a map made by sorting both is no evidence"


def nearest(a: Values, b: Values) -> NDArray[np.int64]:
    """For each row of ``a`` [q, d] the row of ``b`` [n, d] with the greatest cosine; -1 where two tie or a is zero.

    Ties are not broken, because every rule that does so would know the numbering of the units.
    """
    a, b = _unit_rows(a), _unit_rows(b)
    best = np.full(len(a), -1)
    if not len(b):
        return best
    for first in range(0, len(a), 1024):
        cosines = a[first : first + 1024] @ b.T
        place = cosines.argmax(1)
        top = cosines[np.arange(len(cosines)), place]
        alone = (cosines >= top[:, None] - 1e-7).sum(1) == 1
        best[first : first + 1024] = np.where(alone & (top > 0), place, -1)
    return best


def _unit_rows(rows: Values) -> Values:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Values = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit


def hits_log_p(hits: int, asked: int, among: int) -> float:
    """ln of the bound of P(X ≥ hits), where ``asked`` of ``among`` units looked for themselves."""
    if hits == 0:
        return 0.0
    return min(0.0, hits * math.log(asked / among) - math.lgamma(hits + 1))


def layers_log_p(hits: Sequence[int]) -> float:
    """ln of the bound for hits of layers whose units were numbered independently (Chernoff, each as a Poisson of 1)."""
    total, layers = sum(hits), len(hits)
    if total <= layers:
        return 0.0
    return total - layers - total * math.log(total / layers)


def increasing_run(places: Sequence[int]) -> int:
    """Length of the longest strictly increasing subsequence; negative places are passed over."""
    tails: list[int] = []
    for place in places:
        if place >= 0:
            at = bisect_left(tails, place)
            tails[at : at + 1] = [place]
    return len(tails)


def increasing_log_p(run: int, among: int) -> float:
    """ln of the bound of P(LIS ≥ run) for ``among`` places in an order of chance (first moment; Erdős and Szekeres)."""
    if run < 2:
        return 0.0
    choose = math.lgamma(among + 1) - math.lgamma(run + 1) - math.lgamma(among - run + 1)
    return min(0.0, choose - math.lgamma(run + 1))


def holm(log_ps: Sequence[float]) -> list[float]:
    """ln p-values adjusted for having looked at all of them (Holm 1979), in the order given."""
    order = sorted(range(len(log_ps)), key=log_ps.__getitem__)
    adjusted, floor = [0.0] * len(log_ps), -math.inf
    for rank, index in enumerate(order):
        floor = max(floor, min(0.0, log_ps[index] + math.log(len(log_ps) - rank)))
        adjusted[index] = floor
    return adjusted


def log10(log_p: float) -> float:
    """From natural logarithm to powers of ten."""
    return log_p / math.log(10)
