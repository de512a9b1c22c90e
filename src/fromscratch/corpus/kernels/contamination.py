"""Compiled parts of finding benchmark items in documents: texts as words, their n-grams, and the search for these."""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import DIGIT, HAN, LETTER
from fromscratch.corpus.kernels.measure import (
    GRAM_FACTOR,
    HASH_FACTOR,
    HASH_START,
    Classes,
    Lower,
    Points,
    class_of,
    decode,
    kernel,
    lower_of,
    spread,
)

__all__ = ["all_grams", "find_grams"]


@kernel
def all_grams(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], classes: Classes, lower: Lower, words: int, han: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the n-grams of all texts, and int64[n-grams, (text, first character, character after it)]."""
    room = offsets[-1] - offsets[0]  # a text has no more words than bytes
    grams, places = np.empty(room, np.uint64), np.empty((room, 3), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        points = decode(data, offsets[document], offsets[document + 1])
        hashes, starts, ends, weights = read_words(points, classes, lower, words, han)
        found, lasts = gram_hashes(hashes, weights, words * han)
        for at in range(len(found)):
            grams[count] = found[at]
            places[count, 0], places[count, 1], places[count, 2] = document, starts[at], ends[lasts[at]]
            count += 1
    return grams[:count], places[:count]


@kernel
def find_grams(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    classes: Classes,
    lower: Lower,
    words: int,
    han: int,
    known: NDArray[np.uint64],
    seen: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """int64[matches, (text, number of the known n-gram, first character, character after it)]; matches do not overlap.

    ``known`` is ascending; ``seen`` [a power of two] tells by the upper bits of a hash whether it may be among these.
    """
    shift = np.uint64(64)
    size = len(seen)
    while size > 1:
        size //= 2
        shift -= np.uint64(1)
    matches = np.empty((64, 4), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        points = decode(data, offsets[document], offsets[document + 1])
        hashes, starts, ends, weights = read_words(points, classes, lower, words, han)
        found, lasts = gram_hashes(hashes, weights, words * han)
        at = 0
        while at < len(found):
            number = number_of(known, found[at]) if seen[found[at] >> shift] else -1
            if number < 0:
                at += 1
                continue
            if count == len(matches):
                grown = np.empty((2 * count, 4), np.int64)
                grown[:count] = matches
                matches = grown
            matches[count, 0], matches[count, 1] = document, number
            matches[count, 2], matches[count, 3] = starts[at], ends[lasts[at]]
            count += 1
            at = lasts[at] + 1
    return matches[:count]


@kernel
def number_of(known: NDArray[np.uint64], wanted: np.uint64) -> int:
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        if known[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(known) and known[low] == wanted else -1


@kernel
def read_words(
    points: Points, classes: Classes, lower: Lower, words: int, han: int
) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Hashes, starts, ends and weights of the words: Han characters, and runs of other letters and digits, lower case.

    A word weighs ``han`` and a Han character ``words``, so that ``words`` of the ones or ``han`` of the others, or some
    of each, make ``words * han``.
    """
    hashes, weights = np.empty(len(points), np.uint64), np.empty(len(points), np.int32)
    starts, ends = np.empty(len(points), np.int32), np.empty(len(points), np.int32)
    count = at = 0
    while at < len(points):
        kind = class_of(classes, points[at])
        if not kind & (LETTER | DIGIT):
            at += 1
            continue
        starts[count] = at
        hashed = HASH_START
        weights[count] = words if kind & HAN else han
        while True:
            hashed = (hashed ^ np.uint64(lower_of(lower, points[at]))) * HASH_FACTOR
            at += 1
            if kind & HAN or at == len(points):
                break
            following = class_of(classes, points[at])
            if following & HAN or not following & (LETTER | DIGIT):
                break
        hashes[count], ends[count] = spread(hashed), at
        count += 1
    return hashes[:count], starts[:count], ends[:count], weights[:count]


@kernel
def gram_hashes(
    hashes: NDArray[np.uint64], weights: NDArray[np.int32], weight: int
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """For each word from which on the words weigh enough, the hash of so many and the last of them.

    The hash is the polynomial of the words, got from that of the window before.
    """
    grams, lasts = np.empty(len(hashes), np.uint64), np.empty(len(hashes), np.int32)
    powers = np.empty(len(hashes) + 1, np.uint64)
    powers[0] = 1
    for at in range(len(hashes)):
        powers[at + 1] = powers[at] * GRAM_FACTOR
    count = after = total = 0
    value = np.uint64(0)
    for first in range(len(hashes)):
        while total < weight and after < len(hashes):
            value = value * GRAM_FACTOR + hashes[after]
            total += weights[after]
            after += 1
        if total < weight:
            break
        grams[count], lasts[count] = spread(value), after - 1
        count += 1
        value -= hashes[first] * powers[after - 1 - first]
        total -= weights[first]
    return grams[:count], lasts[:count]
