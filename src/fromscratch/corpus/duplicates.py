"""Exact and near duplicates: of each set of equals the first document stays, and each dropped one names its partner."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from fromscratch.corpus.characters import character_tables
from fromscratch.corpus.kernels_duplicates import all_shingles, band_keys, drop_near_duplicates
from fromscratch.corpus.settings import DuplicateSettings
from fromscratch.corpus.text_buffers import text_buffers

__all__ = ["content_digests", "find_exact_duplicates", "find_near_duplicates", "minhash_keys"]

MINHASH_SEED = 20231114  # any fixed number will do; changing it changes which pairs become candidates


def content_digests(texts: pa.LargeStringArray) -> NDArray[np.uint64]:
    """XXH3 digests uint64[documents, 2] of the texts with every run of white space taken as one space."""
    normal = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"\s+", " "))
    data, offsets = text_buffers(normal)
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


def find_near_duplicates(
    keys: NDArray[np.uint64],
    read_texts: Callable[[NDArray[np.int64]], pa.LargeStringArray],
    settings: DuplicateSettings,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Place of the kept document that each one repeats, or -1, and the exact Jaccard similarity of the two.

    ``keys`` are [documents, bands]. ``read_texts(places)`` gives the texts of candidates, in ascending order; the
    other documents are never read.
    """
    partners, similarities = np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.float32)
    places = np.flatnonzero(_share_a_key(keys))
    if len(places):
        shingles, begins = _shingle_sets(read_texts(places), settings.shingle_units)
        found, similar = drop_near_duplicates(_buckets(keys[places]), shingles, begins, settings.threshold)
        partners[places] = np.where(found < 0, -1, places[found])
        similarities[places] = similar
    return partners, similarities


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
    sets = [np.unique(shingles[start:end]) for start, end in pairwise(begins.tolist())]
    return np.concatenate(sets), np.cumsum([0, *map(len, sets)])


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
