"""Paragraphs, which are lines of some length: their hashes, which of them were seen too often, texts without these."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.corpus.comparison.settings import ParagraphSettings
from fromscratch.corpus.kernels.characters import LETTER, SPACE, character_tables
from fromscratch.corpus.kernels.measure import (
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
from fromscratch.corpus.kernels.text_buffers import text_buffers

__all__ = ["cut_paragraphs", "paragraph_hashes", "repeated_paragraphs"]

LINE_FEED = 0x0A


def paragraph_hashes(texts: pa.LargeStringArray, settings: ParagraphSettings) -> pa.ListArray:
    """For each text uint64 hashes of its paragraphs in order, equal for those equal but for white space and case.

    A paragraph is a line of at least ``least_bytes``; one without letters, such as a rule below a heading, has the hash
    0 and is never cut. With paragraphs switched off the lists are empty.
    """
    if settings.most_documents is None:
        return pa.array([[]] * len(texts), pa.list_(pa.uint64()))
    tables = character_tables()
    hashes, begins = hash_paragraphs(*text_buffers(texts), tables.classes, tables.lower, settings.least_bytes)
    return pa.ListArray.from_arrays(pa.array(begins), pa.array(hashes))


def cut_paragraphs(
    texts: pa.LargeStringArray, cut: NDArray[np.bool_], settings: ParagraphSettings
) -> pa.LargeStringArray:
    """The texts without the paragraphs that ``cut`` marks; it has a value for each paragraph of all texts in order.

    Of empty lines around a cut one stays, and none where a text now ends.
    """
    data, offsets = remove_lines(*text_buffers(texts), cut, settings.least_bytes)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(data))


@kernel
def line_end(data: NDArray[np.uint8], at: int, end: int) -> int:
    while at < end and data[at] != LINE_FEED:
        at += 1
    return at


@kernel
def hash_paragraphs(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], classes: Classes, lower: Lower, least_bytes: int
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Hashes of the paragraphs of all texts, and where each text's begin (texts + 1)."""
    hashes = np.empty((offsets[-1] - offsets[0]) // least_bytes + 1, np.uint64)
    begins = np.zeros(len(offsets), np.int32)
    count = 0
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            stop = line_end(data, at, end)
            if stop - at >= least_bytes:
                hashed, spaced, worded = HASH_START, False, False
                for point in decode(data, at, stop):
                    kind = class_of(classes, point)
                    if kind & SPACE:
                        spaced = hashed != HASH_START
                        continue
                    worded |= kind & LETTER != 0
                    if spaced:
                        hashed = (hashed ^ np.uint64(0x20)) * HASH_FACTOR
                        spaced = False
                    hashed = (hashed ^ np.uint64(lower_of(lower, point))) * HASH_FACTOR
                hashes[count] = spread(hashed) if worded else 0
                count += 1
            at = stop + 1
        begins[document + 1] = count
    return hashes[:count], begins


@kernel
def repeated_paragraphs(
    paragraphs: NDArray[np.int64], begins: NDArray[np.int64], seen: NDArray[np.int64], most_documents: int
) -> NDArray[np.bool_]:
    """Which paragraphs were in at least ``most_documents`` documents before the one at hand.

    ``paragraphs`` are numbers of distinct ones, of all documents in order; ``begins`` is where each document's begin
    (documents + 1). ``seen`` counts the documents before the first and is brought up to date, up to
    ``most_documents``.
    """
    repeated = np.empty(len(paragraphs), np.bool_)
    counted_for = np.full(len(seen), -1, np.int64)
    for document in range(len(begins) - 1):
        for at in range(begins[document], begins[document + 1]):
            repeated[at] = seen[paragraphs[at]] >= most_documents
        for at in range(begins[document], begins[document + 1]):
            each = paragraphs[at]
            if not repeated[at] and counted_for[each] != document:
                seen[each] += 1
                counted_for[each] = document
    return repeated


@kernel
def remove_lines(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], cut: NDArray[np.bool_], least_bytes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Data and offsets of the texts without the paragraphs that are cut."""
    left = np.empty(offsets[-1] - offsets[0], np.uint8)
    bounds = np.zeros(len(offsets), np.int64)
    size = paragraph = 0
    for document in range(len(offsets) - 1):
        at, end, begin = offsets[document], offsets[document + 1], size
        after_cut = False
        while at < end:
            stop = line_end(data, at, end)
            is_cut = False
            if stop - at >= least_bytes:
                is_cut = cut[paragraph]
                paragraph += 1
            # After a cut an empty line is one too many if the line before the cut was empty, or there is none.
            doubled = (
                stop == at and after_cut and (size == begin or (size >= begin + 2 and left[size - 2] == LINE_FEED))
            )
            if not is_cut and not doubled:
                for place in range(at, min(stop + 1, end)):
                    left[size] = data[place]
                    size += 1
            after_cut = is_cut or (after_cut and doubled)
            at = stop + 1
        while after_cut and size > begin and left[size - 1] == LINE_FEED:
            size -= 1
        bounds[document + 1] = size
    return left[:size], bounds
