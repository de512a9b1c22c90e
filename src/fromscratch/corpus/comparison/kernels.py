"""Compiled parts of finding near duplicates: shingles, MinHash band keys, exact similarity of candidates."""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import DIGIT, HAN, LETTER
from fromscratch.corpus.kernels.measure import (
    GRAM_FACTOR,
    HASH_FACTOR,
    HASH_START,
    Classes,
    Lower,
    class_of,
    decode,
    kernel,
    lower_of,
    spread,
)

__all__ = ["all_shingles", "band_keys", "compare_pairs", "drop_near_duplicates", "one_space_between"]


@kernel
def shingle_hashes(
    data: NDArray[np.uint8], start: int, end: int, classes: Classes, lower: Lower, shingle_units: int
) -> NDArray[np.uint64]:
    """Hashes of the shingles of one text, in order and with repetitions.

    A unit is a Han character, or a run of other letters and digits in lower case; a shingle is ``shingle_units``
    consecutive ones, or the whole text if it has fewer.
    """
    points = decode(data, start, end)
    units = np.empty(len(points), np.uint64)
    count = 0
    hashed, in_unit = HASH_START, False
    for at in range(len(points)):
        kind = class_of(classes, points[at])
        if in_unit and (kind & HAN or not kind & (LETTER | DIGIT)):
            units[count] = hashed
            count += 1
            hashed, in_unit = HASH_START, False
        if kind & (LETTER | DIGIT):
            hashed = (hashed ^ np.uint64(lower_of(lower, points[at]))) * HASH_FACTOR
            in_unit = True
            if kind & HAN:
                units[count] = hashed
                count += 1
                hashed, in_unit = HASH_START, False
    if in_unit:
        units[count] = hashed
        count += 1
    width = min(shingle_units, count)
    shingles = np.empty(count - width + 1 if count else 0, np.uint64)
    for at in range(len(shingles)):
        shingle = np.uint64(0)
        for unit in range(at, at + width):
            shingle = (shingle + units[unit]) * GRAM_FACTOR
        shingles[at] = spread(shingle)
    return shingles


@kernel
def band_keys(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    classes: Classes,
    lower: Lower,
    shingle_units: int,
    multipliers: NDArray[np.uint32],
    addends: NDArray[np.uint32],
) -> NDArray[np.uint64]:
    """Keys uint64[documents, bands]: a hash of each band's MinHash values (Broder 1997).

    ``multipliers`` (odd) and ``addends`` are [bands, rows]: each pair permutes the 32-bit hashes of shingles.
    """
    bands, rows = multipliers.shape
    factors, terms = multipliers.ravel(), addends.ravel()
    keys = np.zeros((len(offsets) - 1, bands), np.uint64)  # 0 for a text without words, which resembles nothing
    least = np.empty(bands * rows, np.uint32)
    for document in range(len(offsets) - 1):
        shingles = shingle_hashes(data, offsets[document], offsets[document + 1], classes, lower, shingle_units)
        if not len(shingles):
            continue
        least[:] = 0xFFFFFFFF
        for shingle in shingles:
            folded = np.uint32(shingle)
            for at in range(bands * rows):  # 32 bits wide throughout, so that it runs on vector registers
                value = np.uint32(np.uint32(folded * factors[at]) + terms[at])
                least[at] = min(least[at], value)
        for band in range(bands):
            key = np.uint64(band)
            for row in range(rows):
                key = spread((key ^ np.uint64(least[band * rows + row])) + GRAM_FACTOR)
            keys[document, band] = max(key, np.uint64(1))
    return keys


@kernel
def all_shingles(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], classes: Classes, lower: Lower, shingle_units: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Shingles of all texts, one text after the other, and where each text's begin (documents + 1)."""
    shingles = np.empty(offsets[-1] - offsets[0], np.uint64)  # a text has no more shingles than bytes
    begins = np.zeros(len(offsets), np.int64)
    for document in range(len(offsets) - 1):
        found = shingle_hashes(data, offsets[document], offsets[document + 1], classes, lower, shingle_units)
        begins[document + 1] = begins[document] + len(found)
        for at in range(len(found)):  # numba compiles this sooner than the assignment of a slice
            shingles[begins[document] + at] = found[at]
    return shingles[: begins[-1]], begins


@kernel
def common_shingles(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> int:
    """How many values two sorted sets share."""
    common = left = right = 0
    while left < len(first) and right < len(second):
        if first[left] == second[right]:
            common += 1
            left += 1
            right += 1
        elif first[left] < second[right]:
            left += 1
        else:
            right += 1
    return common


@kernel
def likeness(
    own: NDArray[np.uint64], other: NDArray[np.uint64], threshold: float, containment: float
) -> tuple[float, float]:
    """Jaccard similarity of two sorted sets and the share of ``own`` within ``other``; 0, 0 if neither is enough."""
    least, most = min(len(own), len(other)), max(len(own), len(other))
    if least < threshold * most and least < containment * len(own):  # their sizes alone forbid it
        return 0.0, 0.0
    common = common_shingles(own, other)
    similarity, contained = common / (len(own) + len(other) - common), common / len(own)
    return (similarity, contained) if similarity >= threshold or contained >= containment else (0.0, 0.0)


@kernel
def compare_pairs(
    documents: NDArray[np.int64],
    others: NDArray[np.int64],
    shingles: NDArray[np.uint64],
    begins: NDArray[np.int64],
    other_shingles: NDArray[np.uint64],
    other_begins: NDArray[np.int64],
    threshold: float,
    containment: float,
    similarities: NDArray[np.float32],
    contained: NDArray[np.float32],
    winners: NDArray[np.int64],
) -> None:
    """Compare each pair of a document and another one; where it is the document's best so far, note `likeness` and
    in ``winners`` the pair. Of equally similar others the first wins."""
    for pair in range(len(documents)):
        document, other = documents[pair], others[pair]
        own = shingles[begins[document] : begins[document + 1]]
        theirs = other_shingles[other_begins[other] : other_begins[other + 1]]
        found, share = likeness(own, theirs, threshold, containment)
        if np.float32(found) > similarities[document]:
            similarities[document], contained[document], winners[document] = np.float32(found), share, pair


@kernel
def drop_near_duplicates(
    buckets: NDArray[np.int64],
    room: NDArray[np.int64],
    may_stay: NDArray[np.bool_],
    shingles: NDArray[np.uint64],
    begins: NDArray[np.int64],
    threshold: float,
    containment: float,
    similarities: NDArray[np.float32],
    contained: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Take documents in order; drop one that is similar enough to a kept one, which becomes its partner.

    ``buckets`` int64[documents, bands] is where the bucket of a document's key begins among the documents sorted by
    the key of that band, or -1; ``room`` is how many kept documents it takes. Every comparison is with a kept
    document, so that similarity is not passed on along a chain of documents of which the ends differ.
    ``similarities`` and ``contained`` say how like each document is to its partner from before the first one, 0
    without one, and are brought up to date. Returns partners (-1 for those from before, and for none) and, in the
    shape of ``buckets``, which bucket took which document. One that may not stay is compared and never kept.
    """
    documents, bands = buckets.shape
    kept_in = np.empty((bands, documents), np.int32)  # the kept documents of each bucket, from its beginning on
    kept_count = np.zeros((bands, documents), np.int32)
    compared_with = np.full(documents, -1, np.int64)
    partners = np.full(documents, -1, np.int64)
    taken = np.zeros(buckets.shape, np.bool_)
    for document in range(documents):
        own = shingles[begins[document] : begins[document + 1]]
        for band in range(bands):
            bucket = buckets[document, band]
            if bucket < 0:
                continue
            for at in range(bucket, bucket + kept_count[band, bucket]):
                other = kept_in[band, at]
                if compared_with[other] == document:
                    continue
                compared_with[other] = document
                theirs = shingles[begins[other] : begins[other + 1]]
                found, share = likeness(own, theirs, threshold, containment)
                rounded = np.float32(found)
                best = similarities[document]
                if rounded > best or (rounded == best and rounded > 0 and other < partners[document]):
                    partners[document], similarities[document], contained[document] = other, rounded, share
        if similarities[document] == 0 and may_stay[document]:
            for band in range(bands):
                bucket = buckets[document, band]
                if bucket >= 0 and kept_count[band, bucket] < room[document, band]:
                    kept_in[band, bucket + kept_count[band, bucket]] = document
                    kept_count[band, bucket] += 1
                    taken[document, band] = True
    return partners, taken


@kernel
def one_space_between(
    data: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts without white space (ASCII's) at their ends, and with one space for each run of it within."""
    normal = np.empty(offsets[-1] - offsets[0], np.uint8)
    bounds = np.zeros(len(offsets), np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        waiting, begun = False, count
        for at in range(offsets[document], offsets[document + 1]):
            byte = data[at]
            if byte == 0x20 or 0x09 <= byte <= 0x0D:
                waiting = count > begun
                continue
            if waiting:
                normal[count] = 0x20
                count += 1
                waiting = False
            normal[count] = byte
            count += 1
        bounds[document + 1] = count
    return normal[:count], bounds
