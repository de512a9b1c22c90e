"""What a model has to beat: uniform, unigram and Kneser–Ney bigram over the same tokens.

A baseline is a function from two aligned arrays, the tokens before and the tokens to predict, to the bits that
each prediction costs. Probabilities over the vocabulary sum to 1 after every token, seen or not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Baseline", "PairCounts", "baseline_bits", "count_pairs", "kneser_ney_bigram", "uniform", "unigram"]

Tokens = NDArray[np.integer]
Bits = NDArray[np.float64]
Baseline = Callable[[Tokens, Tokens], Bits]

UNIGRAM_PRIOR_COUNT = 0.5  # Krichevsky and Trofimov's estimate: half a count for every token
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # where the counts of counts give none, as on very small data
PAIRS_PER_SORT = 4_000_000  # bounds the memory of counting to some tens of MB


@dataclass(frozen=True)
class PairCounts:
    """How often each token followed each other one, without the pairs that never did.

    ``pairs`` is sorted and holds ``before * vocabulary + after`` of each distinct pair; ``counts`` is how often it
    occurred.
    """

    vocabulary: int
    pairs: NDArray[np.uint64]
    counts: NDArray[np.int64]

    @property
    def before(self) -> NDArray[np.int64]:
        return (self.pairs // np.uint64(self.vocabulary)).astype(np.int64)

    @property
    def after(self) -> NDArray[np.int64]:
        return (self.pairs % np.uint64(self.vocabulary)).astype(np.int64)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def of(self, before: Tokens, after: Tokens) -> NDArray[np.int64]:
        """The count of each asked pair, zero for a pair that never occurred."""
        asked = _pairs(before, after, self.vocabulary)
        if not len(self.pairs):
            return np.zeros(len(asked), np.int64)
        at = np.minimum(np.searchsorted(self.pairs, asked), len(self.pairs) - 1)
        return np.where(self.pairs[at] == asked, self.counts[at], 0)


def count_pairs(blocks: Iterable[tuple[Tokens, Tokens]], vocabulary: int) -> PairCounts:
    """Count aligned (before, after) tokens, block by block; arrays of any equal shapes."""
    counted: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
    waiting: list[NDArray[np.uint64]] = []
    size = 0
    for before, after in blocks:
        waiting.append(_pairs(before, after, vocabulary))
        size += waiting[-1].size
        if size >= PAIRS_PER_SORT:
            counted.append(_unique(waiting))
            waiting, size = [], 0
    counted.append(_unique(waiting))
    pairs, where = np.unique(np.concatenate([each for each, _ in counted]), return_inverse=True)
    counts = np.zeros(len(pairs), np.int64)
    np.add.at(counts, where, np.concatenate([each for _, each in counted]))
    return PairCounts(vocabulary, pairs, counts)


def uniform(vocabulary: int) -> Baseline:
    """Every token is as likely as any other."""
    return lambda _before, after: np.full(after.shape, np.log2(vocabulary))


def unigram(seen: PairCounts) -> Baseline:
    """Each token as often as it was to be predicted, half a count added for every token of the vocabulary."""
    counts = _sum_by(seen.after, seen.counts, seen.vocabulary) + UNIGRAM_PRIOR_COUNT
    bits = -np.log2(counts / counts.sum())
    return lambda _before, after: bits[after]


def kneser_ney_bigram(seen: PairCounts) -> Baseline:
    """Interpolated Kneser–Ney with modified discounts (Chen and Goodman 1999).

    A pair that was seen c times after ``v`` keeps (c − D(c)) / c(v); what the discounts set free goes to a unigram of
    how many different tokens each token followed, and what that unigram's own discounts set free goes to the uniform
    distribution. A token never seen as ``v`` leaves everything to the unigram.
    """
    vocabulary, before, after = seen.vocabulary, seen.before, seen.after
    continuations = np.bincount(after, minlength=vocabulary)
    lower = np.full(vocabulary, 1 / vocabulary)
    if len(seen.pairs):
        lower_discounts = modified_discounts(continuations)
        kept = continuations - _discount(lower_discounts, continuations)
        lower = (kept + (continuations.sum() - kept.sum()) / vocabulary) / continuations.sum()
    discounts = modified_discounts(seen.counts)
    context_counts = _sum_by(before, seen.counts, vocabulary)
    freed = _sum_by(before, _discount(discounts, seen.counts), vocabulary)
    known = context_counts > 0
    total = np.where(known, context_counts, 1.0)
    backoff = np.where(known, freed / total, 1.0)

    def bits(previous: Tokens, following: Tokens) -> Bits:
        counts = seen.of(previous, following)
        kept = counts - _discount(discounts, counts)
        cost: Bits = -np.log2(kept / total[previous] + backoff[previous] * lower[following])
        return cost

    return bits


def baseline_bits(baseline: Baseline, documents: Sequence[Tokens], end_of_document: int) -> Bits:
    """Bits of each document under a baseline, [documents]: each first token is predicted after ``end_of_document``."""
    after = np.concatenate(documents).astype(np.int64)
    starts = np.cumsum([0, *(len(each) for each in documents[:-1])])
    before = np.roll(after, 1)
    before[starts] = end_of_document
    bits: Bits = np.add.reduceat(baseline(before, after), starts)
    return bits


def modified_discounts(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """What is taken from a count of 1, of 2, and of 3 or more: D1, D2 and D3+ of Chen and Goodman 1999.

    Falls back to 0.5, 1 and 1.5 where the counts of counts give no discount between nothing and the count itself.
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == each)) for each in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    usable = all(0 < discount <= count for count, discount in enumerate(found, start=1))
    return found if usable else FALLBACK_DISCOUNTS


def _discount(discounts: tuple[float, float, float], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([0.0, *discounts])[np.minimum(counts, 3)]


def _pairs(before: Tokens, after: Tokens, vocabulary: int) -> NDArray[np.uint64]:
    return before.astype(np.uint64).ravel() * np.uint64(vocabulary) + after.astype(np.uint64).ravel()


def _unique(blocks: list[NDArray[np.uint64]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    if not blocks:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    pairs, counts = np.unique(np.concatenate(blocks), return_counts=True)
    return pairs, counts.astype(np.int64)


def _sum_by(index: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.int64], size: int) -> Bits:
    sums: Bits = np.bincount(index, weights=values.astype(np.float64), minlength=size).astype(np.float64)
    return sums
