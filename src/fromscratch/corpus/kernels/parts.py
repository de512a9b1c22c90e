"""Lines of mixed documents by their language: Chinese, or prose in an alphabet."""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import HAN, LETTER, SPACE
from fromscratch.corpus.kernels.measure import Classes, class_of, decode, kernel

__all__ = ["ALPHABET", "CHINESE", "label_lines"]

NEITHER, CHINESE, ALPHABET = -1, 0, 1
CHINESE_HAN_SHARE = 0.15  # of a line's letters: “使用 PostgreSQL 的 SELECT 语句” has 0.24
PROSE_WORDS = 6  # of a line without Han: fewer are a name, a command, a heading


@kernel
def label_lines(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], classes: Classes
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Letters int64[texts, 3] in Chinese lines, in prose of an alphabet and in all, and the lines of the texts.

    The lines of text i are those from firsts[i] up to firsts[i + 1]; each has its end, a byte within the data, and its
    label. A line that is neither goes with the one before it, or with the first that is either.
    """
    count = len(offsets) - 1
    for at in range(offsets[0], offsets[-1]):
        count += data[at] == 0x0A
    letters = np.zeros((len(offsets) - 1, 3), np.int64)
    firsts, ends, labels = np.zeros(len(offsets), np.int64), np.empty(count, np.int64), np.empty(count, np.int8)
    line = 0
    for document in range(len(offsets) - 1):
        first, label = line, NEITHER
        start, end = offsets[document], offsets[document + 1]
        for at in range(start, end + 1):
            if at < end and data[at] != 0x0A:
                continue
            own, here = label_of(data, start, at, classes)
            letters[document, 2] += here
            if own != NEITHER:
                letters[document, own] += here
                if label == NEITHER:
                    labels[first:line] = own
                label = own
            ends[line], labels[line] = at, label
            line += 1
            start = at + 1
        firsts[document + 1] = line
    return letters, firsts, ends[:line], labels[:line]


@kernel
def label_of(data: NDArray[np.uint8], start: int, end: int, classes: Classes) -> tuple[int, int]:
    """The label of a line, and how many letters it has."""
    points = decode(data, start, end)
    letters = han = words = 0
    within = False
    for at in range(len(points)):
        kind = class_of(classes, points[at])
        letters += (kind & LETTER) != 0
        han += (kind & HAN) != 0
        words += (kind & LETTER) != 0 and not within
        within = (within or (kind & LETTER) != 0) and not kind & SPACE
    if han and han >= CHINESE_HAN_SHARE * letters:
        return CHINESE, letters
    return (ALPHABET if words >= PROSE_WORDS and not han else NEITHER), letters
