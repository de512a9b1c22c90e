"""Exact and near duplicates: of each set of equals the first document stays, and each dropped one names its partner."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from fromscratch.corpus.comparison.kernels import (
    all_shingles,
    band_keys,
    compare_pairs,
    drop_near_duplicates,
    one_space_between,
)
from fromscratch.corpus.comparison.settings import DuplicateSettings
from fromscratch.corpus.kernels.characters import character_tables
from fromscratch.corpus.kernels.text_buffers import text_buffers

__all__ = ["Compared", "KeptBefore", "content_digests", "find_exact_duplicates", "find_near_duplicates", "minhash_keys"]

MINHASH_SEED = 20231114  # any fixed number will do; changing it changes which pairs become candidates
UNREACHABLE = 2.0  # a bound for no bound
PLACE_BITS = 24  # of a document among those at hand, which leaves 40 for the number of one before


def content_digests(texts: pa.LargeStringArray) -> NDArray[np.uint64]:
    """XXH3 digests uint64[documents, 2] of the texts with every run of white space taken as one space."""
    data, offsets = one_space_between(*text_buffers(texts))
    view = data.data
    # A loop over documents: it only hands slices to a C function that hashes gigabytes a second.
    digests = b"".join(xxhash.xxh3_128_digest(view[start:end]) for start, end in pairwise(offsets.tolist()))
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def find_exact_duplicates(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each document the place of the first one with the same digest, or -1 if it is the first itself."""
    _, first, group = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    partners = first[group.ravel()].astype(np.int64)
    partners[partners == np.arange(len(digests))] = -1
    return partners


def minhash_keys(texts: pa.LargeStringArray, settings: DuplicateSettings) -> NDArray[np.uint64]:
    """Band keys uint64[documents, bands]; documents that share one are candidates. 0 for texts without words."""
    tables = character_tables()
    multipliers, addends = _permutations(settings.bands, settings.rows)
    return band_keys(*text_buffers(texts), tables.classes, tables.lower, settings.shingle_units, multipliers, addends)


class KeptBefore(Protocol):
    """Documents that were kept before those at hand; on disk, and too many to be read."""

    def find_bands(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The documents that have any of the keys: the place of the key, and the document's number."""

    def read_texts(self, numbers: NDArray[np.uint64]) -> Iterator[pa.LargeStringArray]:
        """The texts of documents whose numbers ascend, some at a time."""


@dataclass(frozen=True)
class Compared:
    """What was found of each of [documents]; ``taken`` is [documents, bands]."""

    similarities: NDArray[np.float32]
    """Jaccard similarity with the partner, the kept document that this one repeats; 0 without one."""
    contained: NDArray[np.float32]
    """Share of the document's shingles within the partner."""
    partners: NDArray[np.int64]
    """Place of a partner among the documents; -1 for one from before."""
    corpora: NDArray[np.int64]
    """Which of ``before`` holds the partner from before; -1 for one among the documents."""
    numbers: NDArray[np.uint64]
    """The number of the partner there."""
    taken: NDArray[np.bool_]
    """The keys by which a document is to be found from now on."""


def find_near_duplicates(
    keys: NDArray[np.uint64],
    read_texts: Callable[[NDArray[np.int64]], pa.LargeStringArray],
    settings: DuplicateSettings,
    may_stay: NDArray[np.bool_] | None = None,
    before: Sequence[KeptBefore] = (),
) -> Compared:
    """Compare documents, in order, with those kept before them, and with the kept ones among themselves.

    ``keys`` are [documents, bands]. ``read_texts(places)`` gives the texts of candidates, in ascending order; the
    other documents are never read. Those that ``may_stay`` excludes are compared with others, and no others with them.
    However documents are divided into blocks, each compared with what was kept before, the result is the same.
    """
    count = len(keys)
    stay = np.ones(count, bool) if may_stay is None else may_stay
    pairs, room = _pairs_with_kept(keys, before, settings.bucket_documents)
    found = Compared(
        similarities=np.zeros(count, np.float32),
        contained=np.zeros(count, np.float32),
        partners=np.full(count, -1),
        corpora=np.full(count, -1),
        numbers=np.zeros(count, np.uint64),
        taken=(keys != 0) & stay[:, None] & (room > 0),
    )
    compared = _share_a_key(keys)
    for each in pairs:
        compared[each.documents] = True
    places = np.flatnonzero(compared)
    if not len(places):
        return found
    sets = _shingle_sets(read_texts(places), settings.shingle_units)
    bounds = (settings.threshold, settings.containment or UNREACHABLE)
    scores = (np.zeros(len(places), np.float32), np.zeros(len(places), np.float32))
    for corpus, each in enumerate(pairs):
        winners = np.full(len(places), -1)
        for part, texts in _read_others(before[corpus], each):
            rows, best = np.searchsorted(places, each.documents[part]), np.full(len(places), -1)
            theirs = _shingle_sets(texts, settings.shingle_units)
            compare_pairs(rows, each.others[part] - each.others[part.start], *sets, *theirs, *bounds, *scores, best)
            winners = np.where(best < 0, winners, best + part.start)
        won = winners >= 0
        found.corpora[places[won]], found.numbers[places[won]] = corpus, each.numbers[each.others[winners[won]]]
    partners, taken = drop_near_duplicates(_buckets(keys[places]), room[places], stay[places], *sets, *bounds, *scores)
    found.similarities[places], found.contained[places] = scores
    found.taken[places] = taken
    inside = partners >= 0
    found.partners[places[inside]], found.corpora[places[inside]] = places[partners[inside]], -1
    return found


@dataclass(frozen=True)
class _Pairs:
    """Documents and kept ones that share a key: of each pair the place of the one and the other's among ``numbers``,
    which ascend, as do the pairs by number and then by place."""

    documents: NDArray[np.int64]
    others: NDArray[np.int64]
    numbers: NDArray[np.uint64]


def _pairs_with_kept(
    keys: NDArray[np.uint64], before: Sequence[KeptBefore], bucket_documents: int
) -> tuple[list[_Pairs], NDArray[np.int64]]:
    """The pairs with each of ``before``, and how many more documents the bucket of each key takes."""
    room = np.full(keys.shape, bucket_documents)
    owners, bands = np.nonzero(keys)
    pairs = []
    for each in before:
        at, found = each.find_bands(keys[owners, bands])
        room[owners, bands] -= np.bincount(at, minlength=len(owners))
        packed = np.unique(found << np.uint64(PLACE_BITS) | owners[at].astype(np.uint64))
        numbers, others = np.unique(packed >> np.uint64(PLACE_BITS), return_inverse=True)
        pairs.append(_Pairs((packed & np.uint64(2**PLACE_BITS - 1)).astype(np.int64), others, numbers))
    return pairs, room


def _read_others(kept: KeptBefore, pairs: _Pairs) -> Iterator[tuple[slice, pa.LargeStringArray]]:
    """The pairs and the texts of their others, some at a time."""
    first = 0
    for texts in kept.read_texts(pairs.numbers):
        yield slice(*np.searchsorted(pairs.others, [first, first + len(texts)]).tolist()), texts
        first += len(texts)


@cache
def _permutations(bands: int, rows: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    draw = np.random.Generator(np.random.PCG64(MINHASH_SEED))
    multipliers, addends = draw.integers(0, 2**32, size=(2, bands, rows), dtype=np.uint32)
    return multipliers | np.uint32(1), addends  # odd multipliers are invertible modulo 2^32


def _shingle_sets(texts: pa.LargeStringArray, shingle_units: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The sorted distinct shingles of each text, one text after the other, and where each text's begin."""
    tables = character_tables()
    shingles, begins = all_shingles(*text_buffers(texts), tables.classes, tables.lower, shingle_units)
    # A loop over candidates: numpy sorts each, which costs less than compiling a sort of our own.
    for start, end in pairwise(begins.tolist()):
        shingles[start:end].sort()
    is_new = np.append(True, shingles[1:] != shingles[:-1])[: len(shingles)]
    is_new[begins[:-1][begins[:-1] < begins[1:]]] = True
    return shingles[is_new], np.append(0, np.cumsum(is_new))[begins]


def _share_a_key(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which documents have a band key in common with another one."""
    sharing = np.zeros(len(keys), bool)
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        equal = (band[order][1:] == band[order][:-1]) & (band[order][1:] != 0)
        sharing[order[1:][equal]] = sharing[order[:-1][equal]] = True
    return sharing


def _buckets(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where the bucket of each key begins among the sorted keys of its band; -1 for the absent key."""
    buckets = np.empty(keys.shape, np.int64)
    for number, band in enumerate(keys.T):
        buckets[:, number] = np.where(band == 0, -1, np.searchsorted(np.sort(band), band))
    return buckets
