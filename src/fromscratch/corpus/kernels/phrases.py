"""Many phrases found in many texts in one compiled pass: word lists, boilerplate, key words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import DIGIT, HAN, KANA, LETTER, SPACE, TABLE_END, character_tables
from fromscratch.corpus.kernels.measure import Classes, Lower, Points, class_of, decode, kernel, lower_of
from fromscratch.corpus.kernels.text_buffers import text_buffers

__all__ = [
    "SPACE_POINT",
    "Matches",
    "PhraseCounts",
    "PhraseSet",
    "PhraseTable",
    "compile_phrases",
    "count_phrases",
    "find_phrases",
    "fold",
    "is_word_part",
    "pair_of",
    "phrase_at",
    "slot_of_pair",
]

POINT_BITS = 21  # of a code point
FILTER_BITS = 16
FILTER_FACTOR = np.uint64(0x9E3779B97F4A7C15)
SPACE_POINT = 0x20


class PhraseTable(NamedTuple):
    """What the kernels look phrases up in, by their first two characters."""

    seen: NDArray[np.bool_]
    """Whether a pair of characters with this hash begins a phrase: [2^16], small enough for the fast cache."""
    pairs: NDArray[np.uint64]
    """The pairs that begin phrases, ascending."""
    firsts: NDArray[np.int32]
    """[pairs + 1] where the phrases of a pair begin; the longer ones come first."""
    numbers: NDArray[np.int32]
    """[phrases] their places in `PhraseSet.phrases`."""
    begins: NDArray[np.int32]
    """[phrases + 1] where the characters of each begin."""
    points: Points
    """Their characters."""


@dataclass(frozen=True)
class PhraseSet:
    """Phrases ready to be looked for."""

    phrases: tuple[str, ...]
    table: PhraseTable


@dataclass(frozen=True)
class Matches:
    """Where phrases stand in texts; those of text i are the matches from begins[i] up to begins[i + 1]."""

    begins: NDArray[np.int64]
    phrases: NDArray[np.int32]
    """Places in `PhraseSet.phrases`."""
    starts: NDArray[np.int32]
    """Counted in characters."""
    ends: NDArray[np.int32]

    @property
    def texts(self) -> NDArray[np.int64]:
        """The text of each match."""
        return np.repeat(np.arange(len(self.begins) - 1), np.diff(self.begins))


@dataclass(frozen=True)
class PhraseCounts:
    """Numbers [texts] of what was found in each text."""

    occurrences: NDArray[np.int64]
    distinct: NDArray[np.int64]
    """Different phrases."""
    characters: NDArray[np.int64]
    """Characters within phrases."""
    first: NDArray[np.int64]
    """The phrase that comes first, as a place in `PhraseSet.phrases`, or -1."""


def compile_phrases(phrases: Sequence[str]) -> PhraseSet:
    """Prepare phrases of two characters or more; shorter ones are left out, for one character says next to nothing.

    Case does not matter, and a space stands for any single white space. Where a phrase begins or ends with a letter or
    digit of an alphabet, a word must begin or end there; Han characters and kana match wherever they stand.
    """
    lower = character_tables().lower
    points = [
        np.array([lower_of(lower, ord(each)) for each in " ".join(phrase.split())], np.int32) for phrase in phrases
    ]
    keys = [(int(each[0]) << POINT_BITS | int(each[1]), -len(each)) if len(each) > 1 else None for each in points]
    order = sorted((key, number) for number, key in enumerate(keys) if key is not None)
    numbers = np.array([number for _, number in order], np.int32)
    pairs, firsts = np.unique(np.array([pair for (pair, _), _ in order], np.uint64), return_index=True)
    seen = np.zeros(1 << FILTER_BITS, np.bool_)
    seen[(pairs * FILTER_FACTOR) >> np.uint64(64 - FILTER_BITS)] = True  # as `slot_of_pair`
    ordered = [points[number] for number in numbers]
    begins = np.cumsum([0, *map(len, ordered)]).astype(np.int32)
    flat = np.concatenate([np.zeros(0, np.int32), *ordered])
    bounds = np.append(firsts, len(numbers)).astype(np.int32)
    return PhraseSet(tuple(phrases), PhraseTable(seen, pairs, bounds, numbers, begins, flat))


def find_phrases(texts: pa.LargeStringArray, phrases: PhraseSet) -> Matches:
    """All matches, in order; of phrases that begin at one place the longest counts, and matches do not overlap."""
    tables = character_tables()
    begins, found = find_all(*text_buffers(texts), tables.classes, tables.lower, phrases.table)
    return Matches(begins, found[:, 0], found[:, 1], found[:, 2])


def count_phrases(texts: pa.LargeStringArray, phrases: PhraseSet) -> PhraseCounts:
    """What `find_phrases` finds, as numbers for each text."""
    matches = find_phrases(texts, phrases)
    of_text, count = matches.texts, len(texts)
    pairs = np.unique(of_text * max(len(phrases.phrases), 1) + matches.phrases)
    lengths = (matches.ends - matches.starts).astype(np.float64)
    first = np.full(count, -1, np.int64)
    some = matches.begins[:-1] < matches.begins[1:]
    first[some] = matches.phrases[matches.begins[:-1][some]]
    return PhraseCounts(
        np.diff(matches.begins),
        np.bincount(pairs // max(len(phrases.phrases), 1), minlength=count),
        np.bincount(of_text, lengths, minlength=count).astype(np.int64),
        first,
    )


@kernel
def find_all(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], classes: Classes, lower: Lower, table: PhraseTable
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where each text's matches begin (texts + 1), and the matches [matches, (phrase, start, end)]."""
    seen = table.seen
    begins = np.zeros(len(offsets), np.int64)
    found = np.empty((64, 3), np.int32)
    count = 0
    for document in range(len(offsets) - 1):
        points = decode(data, offsets[document], offsets[document + 1])
        fold(points, 0, len(points), classes, lower)
        at, within = 0, False
        while at + 1 < len(points):
            before, within = within, is_word_part(classes, points[at])
            if (before and within) or not seen[slot_of_pair(pair_of(points[at], points[at + 1]))]:
                at += 1
                continue
            place = phrase_at(points, at, len(points), classes, table)
            if place < 0:
                at += 1
                continue
            if count == len(found):
                grown = np.empty((2 * count, 3), np.int32)
                grown[:count] = found
                found = grown
            end = at + table.begins[place + 1] - table.begins[place]
            found[count, 0], found[count, 1], found[count, 2] = table.numbers[place], at, end
            count += 1
            at, within = end, is_word_part(classes, points[end - 1])
        begins[document + 1] = count
    return begins, found[:count]


@kernel
def fold(points: Points, start: int, end: int, classes: Classes, lower: Lower) -> None:
    """Lower case, and every white space as U+0020, in place: what `phrase_at` reads."""
    for at in range(start, end):
        point = points[at]
        if point < TABLE_END:
            points[at] = SPACE_POINT if classes[point] & SPACE else lower[point]


@kernel
def pair_of(first: int, second: int) -> np.uint64:
    return (np.uint64(first) << np.uint64(POINT_BITS)) | np.uint64(second)


@kernel
def slot_of_pair(pair: np.uint64) -> np.uint64:
    return (pair * FILTER_FACTOR) >> np.uint64(64 - FILTER_BITS)


@kernel
def phrase_at(points: Points, at: int, end: int, classes: Classes, table: PhraseTable) -> int:
    """The place in the table of the longest phrase that begins here and ends by ``end``, or -1.

    ``points`` are folded, no word goes on across ``at``, and ``at + 1 < len(points)``. A call costs much more than a
    look at ``table.seen``, which comes first therefore.
    """
    pair = pair_of(points[at], points[at + 1])
    low, high = 0, len(table.pairs)
    while low < high:
        middle = (low + high) // 2
        if table.pairs[middle] < pair:
            low = middle + 1
        else:
            high = middle
    if low == len(table.pairs) or table.pairs[low] != pair:
        return -1
    for place in range(table.firsts[low], table.firsts[low + 1]):
        begin, length = table.begins[place], table.begins[place + 1] - table.begins[place]
        after = at + length
        if after > end:
            continue
        same = 2
        while same < length and table.points[begin + same] == points[at + same]:
            same += 1
        whole = after == len(points) or not (
            is_word_part(classes, points[after - 1]) and is_word_part(classes, points[after])
        )
        if same == length and whole:
            return int(place)
    return -1


@kernel
def is_word_part(classes: Classes, point: int) -> bool:
    """A letter or digit of a script that puts spaces between words."""
    kind = class_of(classes, point)
    return (kind & (LETTER | DIGIT)) != 0 and (kind & (HAN | KANA)) == 0
