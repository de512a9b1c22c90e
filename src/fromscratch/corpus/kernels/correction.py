"""The correcting kernel: lines that say nothing of their own are cut, in one compiled pass over Arrow's buffers."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import DIGIT, HAN, LETTER, SENTENCE_END, SPACE, TABLE_END, character_tables
from fromscratch.corpus.kernels.measure import Classes, Points, class_of, decode, kernel
from fromscratch.corpus.kernels.phrases import SPACE_POINT, PhraseTable, is_word_part, pair_of, phrase_at, slot_of_pair

__all__ = ["ALONE", "TOGETHER", "WITHIN", "correct", "folding_table"]

TOGETHER, ALONE, WITHIN = 0, 1, 2  # strength of a phrase
KEEP, BLANK, MENU, CUT = 0, 1, 2, 3  # what a line is; a separator is its character
LINE_FEED, NUMBER_SIGN, EAST_ASIAN = 0x0A, 0x23, 0x2E80
SEPARATORS = np.array([ord(each) for each in "-=_*~+·.—─━═＝－＊…•■□◆◇★☆"], np.int32)
SEPARATOR_CHARACTERS = 3  # from which on a line of them separates
MENU_LINES = 3  # from which on lines of single menu words are a menu


@kernel
def correct(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    untouched: NDArray[np.bool_],
    classes: Classes,
    folding: NDArray[np.int32],
    table: PhraseTable,
    strengths: NDArray[np.int8],
    longest_line_bytes: int,
    most_other_bytes: int,
    least_words: int,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """Corrected texts as UTF-8 and offsets int64[texts + 1], and how many lines of each were cut.

    ``folding`` is `folding_table()`, ``strengths`` are those of the phrases by their number. ``least_words`` above 0
    asks for C4's line rules.
    """
    out = np.empty(offsets[-1] - offsets[0], np.uint8)
    out_offsets = np.zeros(len(offsets), np.int64)
    cut_lines = np.zeros(len(offsets) - 1, np.int32)
    size = 0
    scratch = np.empty(longest_line_bytes + 1, np.int32)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        if untouched[document]:
            size = copy(data[start:end], out, size)
        else:
            begins = line_begins(data, start, end)
            kinds = np.full(len(begins) - 1, KEEP, np.int32)
            for line in range(len(kinds)):
                first, last = begins[line], begins[line + 1] - 1
                if last - first <= longest_line_bytes:
                    points = fold_line(data, first, last, folding, scratch)
                    kinds[line] = kind_of_line(points, classes, table, strengths, most_other_bytes)
                if kinds[line] == KEEP and least_words and not c4_keeps(data, first, last, classes, least_words):
                    kinds[line] = CUT
            cut_menus_and_separators(kinds)
            for line in range(len(kinds)):
                cut_lines[document] += kinds[line] == CUT
            size = write_lines(data, begins, kinds, out, size)
        out_offsets[document + 1] = size
    return out[:size], out_offsets, cut_lines


@kernel
def line_begins(data: NDArray[np.uint8], start: int, end: int) -> NDArray[np.int64]:
    """Where each line of data[start:end] begins, and the place after the line feed that the last one would have."""
    begins = np.empty(end - start + 2, np.int64)
    begins[0] = start
    count = np.uint64(1)
    for at in range(start, end):  # without a branch
        begins[count] = at + 1
        count += np.uint64(data[at] == LINE_FEED)
    begins[count] = end + 1
    return begins[: count + np.uint64(1)]


@kernel
def kind_of_line(
    points: Points, classes: Classes, table: PhraseTable, strengths: NDArray[np.int8], most_other_bytes: int
) -> int:
    """What a line is, given as `fold_line` has it."""
    if not len(points):
        return BLANK
    seen = table.seen
    together = alone = strong = other = at = 0
    while at < len(points):
        place = -1
        if at + 1 < len(points) and seen[slot_of_pair(pair_of(points[at], points[at + 1]))]:
            place = phrase_at(points, at, len(points), classes, table)
        if place >= 0:
            strength = strengths[table.numbers[place]]
            together += strength == TOGETHER
            alone += strength == ALONE
            strong += strength == WITHIN
            at += table.begins[place + 1] - table.begins[place]
        else:
            other += letter_bytes(points[at], classes)
            at += 1
        if is_word_part(classes, points[at - 1]):  # no phrase begins within a word
            while at < len(points) and is_word_part(classes, points[at]):
                other += letter_bytes(points[at], classes)
                at += 1
        if other > most_other_bytes:
            return KEEP
    if other:
        # A sentence may have such phrases for its topic: “公司的版权所有者可以规定转载请注明出处。”
        sentence = is_stop(points[-1]) and (strong == 1 or 2 * other > most_other_bytes)
        return CUT if strong and not sentence else KEEP
    if strong or alone or together > 1:
        return CUT
    return MENU if together else separator(points)


@kernel
def letter_bytes(point: int, classes: Classes) -> int:
    """How many bytes of UTF-8 a character has that a line is judged by: a letter, or one of which no menu is made."""
    known = (class_of(classes, point) & LETTER) != 0 or is_code(point)
    return 0 if not known else 1 if point < 0x80 else 2 if point < 0x800 else 3


@cache
def folding_table() -> NDArray[np.int32]:
    """[TABLE_END] lower case and half-width form of a code point; # for digits, -1 for what is invisible."""
    tables = character_tables()
    folding = tables.lower.copy()
    folding[(tables.classes & SPACE) != 0] = SPACE_POINT
    folding[(tables.classes & DIGIT) != 0] = NUMBER_SIGN
    folding[0xFF01:0xFF5F] = folding[0x21:0x7F]
    # Soft hyphen, zero-width space, word joiner, byte-order mark; the joiners U+200C and U+200D have a meaning.
    folding[[0xAD, 0x200B, 0x2060, 0xFEFF]] = -1
    return folding


@kernel
def fold_line(data: NDArray[np.uint8], first: int, last: int, folding: NDArray[np.int32], scratch: Points) -> Points:
    """A line as `folding_table` has it: each number as #, white space as one space, none around nor beside Han."""
    count = 0
    before = SPACE_POINT
    at = first
    while at < last:
        point = int(data[at])
        if point < 0x80 and before < EAST_ASIAN:
            folded = int(folding[point])
            scratch[count] = folded
            count += (folded != before) | ((folded != SPACE_POINT) & (folded != NUMBER_SIGN))
            before = folded
            at += 1
            continue
        width = 1 if point < 0x80 else 2 if point < 0xE0 else 3 if point < 0xF0 else 4
        if width > 1:
            point &= 0xFF >> (width + 1)
            for follower in range(at + 1, at + width):
                point = (point << 6) | (int(data[follower]) & 0x3F)
        at += width
        if point < TABLE_END:
            point = int(folding[point])
        if point < 0 or (point == before and point in (SPACE_POINT, NUMBER_SIGN)):
            continue
        if point == SPACE_POINT and before >= EAST_ASIAN:
            continue
        count -= count > 0 and before == SPACE_POINT and point >= EAST_ASIAN
        scratch[count] = before = point
        count += 1
    return scratch[: count - 1] if count and before == SPACE_POINT else scratch[:count]


@kernel
def is_stop(point: int) -> bool:
    """An ideographic full stop, or an exclamation or question mark, which are folded to half width."""
    return point == 0x3002 or point == 0x21 or point == 0x3F


@kernel
def is_code(point: int) -> bool:
    """; = \\ _ $ { or }, of which no menu is made."""
    known = point == 0x3B or point == 0x3D or point == 0x5C or point == 0x5F or point == 0x24
    return known or point == 0x7B or point == 0x7D


@kernel
def separator(points: Points) -> int:
    """The character of a line made of that alone; KEEP for another line."""
    character = points[0]
    known = False
    for each in SEPARATORS:
        known = known or each == character
    count = 0
    for point in points:
        if point == character:
            count += 1
        elif point != SPACE_POINT:
            return KEEP
    return int(character) if known and count >= SEPARATOR_CHARACTERS else KEEP


@kernel
def c4_keeps(data: NDArray[np.uint8], first: int, last: int, classes: Classes, least_words: int) -> bool:
    """Whether a line ends a sentence and has enough words, each Han character as one (C4, section 2.2)."""
    points = decode(data, first, last)
    end = len(points)
    while end and class_of(classes, points[end - 1]) & SPACE:
        end -= 1
    if not end:
        return True
    words, within = 0, False
    for at in range(end):
        kind = class_of(classes, points[at])
        word = (kind & SPACE) == 0
        words += (word and not within) or (kind & HAN) != 0
        within = word
    return words >= least_words and (class_of(classes, points[end - 1]) & SENTENCE_END) != 0


@kernel
def cut_menus_and_separators(kinds: NDArray[np.int32]) -> None:
    """Lines of single menu words become CUT where several come in a row, as does a separator right after its like."""
    menu = 0
    before = KEEP
    for line in range(len(kinds) + 1):
        kind = kinds[line] if line < len(kinds) else KEEP
        if kind == BLANK:
            continue
        if kind in (MENU, CUT):
            menu += 1
        else:
            if menu >= MENU_LINES:
                for at in range(line):
                    back = line - 1 - at
                    if kinds[back] != BLANK and kinds[back] != MENU and kinds[back] != CUT:
                        break
                    if kinds[back] == MENU:
                        kinds[back] = CUT
            menu = 0
            if kind > CUT and kind == before:
                kinds[line] = CUT
        before = kind


@kernel
def write_lines(
    data: NDArray[np.uint8], begins: NDArray[np.int64], kinds: NDArray[np.int32], out: NDArray[np.uint8], size: int
) -> int:
    """Append the lines that stay, without invisible characters, with one blank line in a row at most and none first."""
    begun = size
    blank = False
    plain = not has_invisible(data[begins[0] : begins[-1] - 1])
    for line in range(len(kinds)):
        if kinds[line] == BLANK:
            blank = True
        if kinds[line] == BLANK or kinds[line] == CUT:
            continue
        if size > begun:
            out[size] = LINE_FEED
            size += 1
            if blank:
                out[size] = LINE_FEED
                size += 1
        blank = False
        at, end = begins[line], begins[line + 1] - 1
        if plain:
            size = copy(data[at:end], out, size)
            continue
        while at < end:
            skipped = invisible_bytes(data, at, end)
            if skipped:
                at += skipped
            else:
                out[size] = data[at]
                size += 1
                at += 1
    if size > begun and len(kinds) > 1 and kinds[-1] == BLANK:  # files end with a line feed
        out[size] = LINE_FEED
        size += 1
    return size


@kernel
def copy(source: NDArray[np.uint8], out: NDArray[np.uint8], size: int) -> int:
    """Append bytes; return the new size."""
    end = size + len(source)
    target = out[size:end]
    for at in range(len(source)):
        target[at] = source[at]
    return end


@kernel
def has_invisible(data: NDArray[np.uint8]) -> bool:
    """Whether `invisible_bytes` finds any: a loop without branches, of which vectors are made."""
    found = np.uint8(0)
    first, second, third = data[:-2], data[1:-1], data[2:]
    for at in range(len(third)):
        a, b, c = first[at], second[at], third[at]
        three = (b == 0x80) & (c == 0x8B) | (b == 0x81) & (c == 0xA0)
        found |= np.uint8((a == 0xC2) & (b == 0xAD) | (a == 0xE2) & three | (a == 0xEF) & (b == 0xBB) & (c == 0xBF))
    return found != 0 or (len(data) > 1 and data[-2] == 0xC2 and data[-1] == 0xAD)


@kernel
def invisible_bytes(data: NDArray[np.uint8], at: int, end: int) -> int:
    """How many bytes the character here has if it is one of those that `folding_table` drops, else 0."""
    byte = data[at]
    if byte == 0xC2 and at + 1 < end and data[at + 1] == 0xAD:
        return 2
    if at + 2 < end and (byte == 0xE2 or byte == 0xEF):
        second, third = data[at + 1], data[at + 2]
        if byte == 0xE2 and ((second == 0x80 and third == 0x8B) or (second == 0x81 and third == 0xA0)):
            return 3
        if byte == 0xEF and second == 0xBB and third == 0xBF:
            return 3
    return 0
