"""The measuring kernel: one compiled pass over Arrow's string buffers yields every metric of every document.

A document is decoded once into code points; what follows walks over these, its words and its lines. The definitions
stand in `metrics.py`; tests/corpus/test_kernels.py has them again in plain Python and compares. All of it stays in one
file, because numba reuses its machine code until the file of the function that is called first changes.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.characters import (
    BASE64,
    BULLET,
    CODE_SYMBOL,
    COMMON_HAN,
    DIGIT,
    GARBLED,
    HAN,
    KANA,
    LETTER,
    SENTENCE_END,
    SENTENCE_STOP,
    SPACE,
    TABLE_END,
)
from fromscratch.corpus.kernels.metrics import Metric

__all__ = [
    "GRAM_FACTOR",
    "HASH_FACTOR",
    "HASH_START",
    "Classes",
    "Lower",
    "class_of",
    "decode",
    "kernel",
    "lower_of",
    "measure",
    "spread",
]

F = TypeVar("F", bound=Callable[..., Any])
Points = NDArray[np.int32]  # a text as code points
Places = NDArray[np.int32]  # where its words begin, or end
Kinds = NDArray[np.uint16]  # the class bits of its characters
Hashes = NDArray[np.uint64]  # of its words; 64 bits, so that two words in one document do not meet by chance
Row = NDArray[np.float32]  # its metrics
Classes = NDArray[np.uint16]
Lower = NDArray[np.int32]

METRICS = len(Metric)
SHORT_LINE_CHARACTERS = 30  # FineWeb
MENU_LINES = 5
ENCODED_RUN_CHARACTERS = 64  # StarCoder 2
ENCODED_BYTES = 8  # StarCoder 2

HASH_START = np.uint64(0xCBF29CE484222325)  # FNV-1a, over code points instead of bytes
HASH_FACTOR = np.uint64(0x100000001B3)
GRAM_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def points_of(text: str) -> Points:
    return np.array([ord(character) for character in text], np.int32)


# Numba compiles these in as constants.
STOP_WORDS = np.array(  # Gopher's, each of up to four letters as one number
    [int.from_bytes(word) for word in (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")]
)
ALL_FOUND = (1 << len(STOP_WORDS)) - 1
STOP_WORD_STARTS = np.array([chr(point) in "bothawBOTHAW" for point in range(0x80)])
LOREM_IPSUM = points_of("lorem ipsum")
HTTP, HTTPS, WWW = points_of("http://"), points_of("https://"), points_of("www.")
# ASCII characters where an address or the filler text may begin: others are passed over at once.
WATCHED = np.array([chr(point) in "HhWwLl" for point in range(0x80)])
BLOCK = 256  # characters in which these are looked for at a time
# What characters are counted by: the classes below SENTENCE_END, and in that one's place CODE_SYMBOL.
CODE_SYMBOL_SHIFT = (CODE_SYMBOL // SENTENCE_END).bit_length() - 1  # its bit, next to those that are counted
COUNTED, COUNTED_KINDS = SENTENCE_END - 1, 2 * SENTENCE_END
# What words are made by: a state is whether a word has begun, and what it has so far, Han or other letters and digits.
OUTSIDE, WITHOUT_CORE, WITH_LETTERS, WITH_HAN = 0, 8, 16, 24
STATES, BEGINS, ENDS = 24, 1, 2  # the bits of a step: the new state, and whether a word begins or the one before ends
WORD_KINDS = SPACE | LETTER | DIGIT | HAN  # the bits of a class that decide
ELLIPSIS, FULL_STOP, NUMBER_SIGN, LINE_FEED = 0x2026, 0x2E, 0x23, 0x0A


def word_step(state: int, kind: int) -> int:
    """The step from a state at a character of these class bits."""
    if kind & SPACE:
        return OUTSIDE | (ENDS if state != OUTSIDE else 0)
    core = WITH_HAN if kind & HAN else WITH_LETTERS if kind & (LETTER | DIGIT) else WITHOUT_CORE
    if state == OUTSIDE:
        return core | BEGINS
    if WITHOUT_CORE not in (state, core) and WITH_HAN in (state, core):
        return core | ENDS | BEGINS
    return state if core == WITHOUT_CORE else core


# For each kind of character one number, of which a state is the place of the step: shifting is quicker than looking up.
WORD_STEPS = np.array(
    [sum(word_step(state, kind) << state for state in range(0, 32, 8)) for kind in range(WORD_KINDS + 1)], np.uint32
)


def kernel(function: F) -> F:
    """Compile on first call, without the interpreter lock, and keep the machine code on disk.

    It lies beside the module or else in the user's cache folder; where neither can be written, each process compiles
    anew.
    """
    try:
        return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


@kernel
def measure(data: NDArray[np.uint8], offsets: NDArray[np.int64], classes: Classes, lower: Lower) -> NDArray[np.float32]:
    """Metrics float32[documents, metrics] of the texts data[offsets[i]:offsets[i + 1]], each valid UTF-8.

    ``classes`` and ``lower`` are the tables of `characters.character_tables`.
    """
    rows = np.zeros((len(offsets) - 1, METRICS), np.float32)
    for document in range(len(offsets) - 1):
        points = decode(data, offsets[document], offsets[document + 1])
        kinds, breaks, number_signs = measure_characters(points, classes, lower, rows[document])
        starts, ends, hashes = measure_words(points, kinds, lower, number_signs, rows[document])
        measure_lines(points, kinds, breaks, rows[document])
        measure_grams(len(points), starts, ends, hashes, rows[document])
    return rows


@kernel
def decode(data: NDArray[np.uint8], start: int, end: int) -> Points:
    """Code points of data[start:end], which is valid UTF-8 as Arrow promises."""
    points = np.empty(end - start, np.int32)
    count = 0
    at = start
    while at < end:
        byte = np.int32(data[at])
        if byte < 0x80:
            points[count] = byte
            at += 1
        elif byte < 0xE0:
            points[count] = ((byte & 0x1F) << 6) | (data[at + 1] & 0x3F)
            at += 2
        elif byte < 0xF0:
            points[count] = ((byte & 0x0F) << 12) | ((data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F)
            at += 3
        else:
            high = ((byte & 0x07) << 18) | ((data[at + 1] & 0x3F) << 12)
            points[count] = high | ((data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F)
            at += 4
        count += 1
    return points[:count]


@kernel
def class_of(classes: Classes, point: int) -> int:
    """The class bits of a code point; beyond the table lie Han characters, then marks, then private planes."""
    if point < TABLE_END:
        return int(classes[point])
    if point < 0x40000:
        return HAN | LETTER
    return GARBLED if point >= 0xF0000 else 0


@kernel
def lower_of(lower: Lower, point: int) -> int:
    return int(lower[point]) if point < TABLE_END else point


@kernel
def spread(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: every bit of the value reaches all bits of the result."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def slot_of(keys: Hashes, key: np.uint64) -> int:
    """Where ``key`` is, or belongs, in an open hash table whose length is a power of two; 0 marks an empty slot."""
    mask = np.uint64(len(keys) - 1)
    slot = spread(key) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@kernel
def hash_table(entries: int) -> Hashes:
    """An empty table that is at most half full with this many entries."""
    size = 4
    while size < 2 * entries:
        size *= 2
    return np.zeros(size, np.uint64)


@kernel
def add(keys: Hashes, key: np.uint64) -> bool:
    """Put ``key`` into the table; true if it was there before."""
    slot = slot_of(keys, key)
    known = bool(keys[slot] == key)
    keys[slot] = key
    return known


@kernel
def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


@kernel
def matches(points: Points, at: int, lower: Lower, pattern: Points) -> bool:
    """Whether the text goes on with ``pattern`` at this place, whatever the case."""
    if at + len(pattern) > len(points):
        return False
    for offset in range(len(pattern)):  # noqa: SIM110 (numba has no generators)
        if lower_of(lower, points[at + offset]) != pattern[offset]:
            return False
    return True


@kernel
def begins_address(points: Points, at: int, lower: Lower) -> bool:
    letter = lower_of(lower, points[at])
    if letter == HTTP[0]:
        return matches(points, at, lower, HTTP) or matches(points, at, lower, HTTPS)
    return letter == WWW[0] and matches(points, at, lower, WWW)


@kernel
def is_mojibake(first: int, second: int) -> bool:
    """UTF-8 read as Latin-1 or Windows-1252: Â or Ã before a continuation byte, or â before the euro sign."""
    if first == 0xC2 or first == 0xC3:
        return 0x80 <= second < 0xC0 or 0x2013 <= second <= 0x203A or second == 0x20AC or second == 0x2122
    return first == 0xE2 and second == 0x20AC


@kernel
def measure_characters(points: Points, classes: Classes, lower: Lower, row: Row) -> tuple[Kinds, Places, int]:
    """The class bits of each character, the places of line feeds, and how many number signs there are."""
    kinds, breaks = np.empty(len(points), np.uint16), np.empty(len(points) + 1, np.int32)
    of_ascii = np.zeros(0x80, np.int32)  # how many there are of each of these characters
    of_kind = np.zeros(COUNTED_KINDS, np.int32)  # how many characters there are of each combination of classes
    lines = mojibake = 0
    for at in range(len(points)):
        point = points[at]
        kind = class_of(classes, point)
        kinds[at] = kind
        breaks[lines] = at
        lines += point == LINE_FEED
        if point < 0x80:
            of_ascii[point] += 1
        else:
            of_kind[counted(kind)] += 1
            if point <= 0xE2 and at + 1 < len(points) and is_mojibake(point, points[at + 1]):
                mojibake += 2
    for point in range(0x80):
        of_kind[counted(class_of(classes, point))] += of_ascii[point]
    letters = count_of(of_kind, LETTER)
    digits = count_of(of_kind, DIGIT)
    visible = len(points) - count_of(of_kind, SPACE)
    han = count_of(of_kind, HAN)
    in_addresses, lorem = measure_patterns(points, kinds, lower)
    row[Metric.CHARACTERS] = len(points)
    row[Metric.HAN_SHARE] = share(han, letters)
    row[Metric.KANA_SHARE] = share(count_of(of_kind, KANA), letters)
    row[Metric.COMMON_HAN_SHARE] = share(count_of(of_kind, COMMON_HAN), han) if han else 1.0
    row[Metric.LETTER_SHARE] = share(letters, visible)
    row[Metric.DIGIT_SHARE] = share(digits, visible)
    row[Metric.ALPHANUMERIC_SHARE] = share(letters + digits, len(points))
    row[Metric.CODE_SYMBOL_SHARE] = share(count_of(of_kind, SENTENCE_END), visible)
    row[Metric.GARBLED_SHARE] = min(share(count_of(of_kind, GARBLED) + mojibake, len(points)), 1.0)
    row[Metric.URL_SHARE] = share(in_addresses, len(points))
    row[Metric.CURLY_BRACES] = of_ascii[0x7B] + of_ascii[0x7D]
    row[Metric.LOREM_IPSUM] = lorem
    return kinds, breaks[:lines], of_ascii[NUMBER_SIGN]


@kernel
def counted(kind: int) -> int:
    """The combination of classes that a character with these bits is counted by."""
    return kind & COUNTED | (kind & CODE_SYMBOL) >> CODE_SYMBOL_SHIFT


@kernel
def measure_patterns(points: Points, kinds: Kinds, lower: Lower) -> tuple[int, int]:
    """How many characters stand in addresses, and how often the filler text occurs.

    Only blocks with some of their rarer characters are looked at closely.
    """
    in_addresses = lorem = ended = 0  # ended: where the last address did
    for block in range(0, len(points), BLOCK):
        if not may_hold_pattern(points[block : block + BLOCK + len(HTTPS)]):
            continue
        for at in range(block, min(block + BLOCK, len(points))):
            point = points[at]
            if point < 0x80 and WATCHED[point]:
                lorem += (point | 0x20) == LOREM_IPSUM[0] and matches(points, at, lower, LOREM_IPSUM)
                if at >= ended and begins_address(points, at, lower):
                    ended = at
                    while ended < len(points) and not ends_address(points[ended], kinds[ended]):
                        ended += 1
                    in_addresses += ended - at
    return in_addresses, lorem


@kernel
def may_hold_pattern(points: Points) -> bool:
    """Whether there is :/ or ww, or the middle of “lorem ipsum”: a loop without branches, of which vectors are made."""
    found = 0
    first, second, third = points[:-2], points[1:-1], points[2:]
    for at in range(len(third)):
        here, after, behind = first[at], second[at], third[at]
        found |= (here == 0x3A) & (after == 0x2F)
        found |= ((here | 0x20) == WWW[0]) & ((after | 0x20) == WWW[0])
        found |= ((here | 0x20) == LOREM_IPSUM[4]) & (after == LOREM_IPSUM[5]) & ((behind | 0x20) == LOREM_IPSUM[6])
    return found != 0


@kernel
def ends_address(point: int, kind: int) -> bool:
    """White space, East Asian letters, < and >."""
    return (kind & (SPACE | HAN | KANA)) != 0 or point == 0x3C or point == 0x3E


@kernel
def count_of(of_kind: NDArray[np.int32], wanted: int) -> int:
    """How many characters are of a class, given the counts of all combinations."""
    count = 0
    for kind in range(len(of_kind)):
        if kind & wanted:
            count += of_kind[kind]
    return count


@kernel
def measure_words(
    points: Points, kinds: Kinds, lower: Lower, number_signs: int, row: Row
) -> tuple[Places, Places, Hashes]:
    """Starts, ends and hashes of the words; punctuation beside a Han character belongs to that character's word.

    What comes with every word is done without a branch, for where words end is not to be foreseen.
    """
    starts, ends = np.empty(len(points) + 1, np.int32), np.empty(len(points) + 1, np.int32)
    hashes = np.empty(len(points) + 1, np.uint64)
    begun = words = np.uint64(0)  # without a sign, so that numba need not ask whether to count from the end
    hashed = np.uint64(0)
    step = np.uint32(OUTSIDE)
    ellipses = dots = sentences = 0
    stopped = closed = False  # stopped: after a full stop or the like; closed: whatever follows
    for at in range(len(points)):
        point, kind = points[at], kinds[at]
        step = WORD_STEPS[kind & WORD_KINDS] >> (step & np.uint32(STATES))
        begins = np.uint64(step & np.uint32(BEGINS))
        ends[words], hashes[words] = at, hashed
        words += np.uint64((step & np.uint32(ENDS)) >> np.uint32(1))
        starts[begun] = at
        begun += begins
        hashed = (hashed & (begins - np.uint64(1)) ^ np.uint64(point + 1)) * HASH_FACTOR  # what was before goes
        if kind & SENTENCE_STOP:
            stopped, closed = True, closed or point > 0x7F
            dots = dots + 1 if point == FULL_STOP else 0
            if dots == 3 or point == ELLIPSIS:
                ellipses += 1
                dots = 0
        elif stopped:
            sentences += closed or (kind & (SPACE | HAN)) != 0
            stopped = closed = False
            dots = 0
    ends[words], hashes[words] = len(points), hashed
    starts, ends, hashes = starts[:begun], ends[:begun], hashes[:begun]
    characters, alphabetic, stop_words = count_words(points, kinds, starts, ends, lower)
    count = len(starts)
    row[Metric.WORDS] = count
    row[Metric.MEAN_WORD_CHARACTERS] = share(characters, count)
    row[Metric.SYMBOL_WORD_RATIO] = share(max(number_signs, ellipses), count)
    row[Metric.ALPHABETIC_WORD_SHARE] = share(alphabetic, count)
    row[Metric.WORDS_PER_SENTENCE] = count / (sentences + stopped + 1)
    row[Metric.STOP_WORDS] = stop_words
    return starts, ends, hashes


@kernel
def count_words(points: Points, kinds: Kinds, starts: Places, ends: Places, lower: Lower) -> tuple[int, int, int]:
    """Characters of all words, how many words have a letter, and how many of STOP_WORDS there are."""
    characters = alphabetic = found = 0
    for word in range(len(starts)):
        start, end = starts[word], ends[word]
        characters += end - start
        first = start
        while first < end and not kinds[first] & LETTER:
            first += 1
        alphabetic += first < end
        if found != ALL_FOUND and (end - first <= 4 or not kinds[end - 1] & LETTER):  # no stop word has more letters
            found |= stop_word_bit(points, first, end, kinds, lower)
    return characters, alphabetic, sum([(found >> bit) & 1 for bit in range(len(STOP_WORDS))])


@kernel
def stop_word_bit(points: Points, start: int, end: int, kinds: Kinds, lower: Lower) -> int:
    """1 << its number in STOP_WORDS if the word, from its first letter to its last, is a stop word, else 0."""
    while end > start and not kinds[end - 1] & LETTER:
        end -= 1
    if 2 <= end - start <= 4 and points[start] < 0x80 and STOP_WORD_STARTS[points[start]]:
        packed = 0
        for at in range(start, end):
            if points[at] >= 0x80:
                return 0
            packed = packed << 8 | lower_of(lower, points[at])
        for number in range(len(STOP_WORDS)):
            if STOP_WORDS[number] == packed:
                return 1 << number
    return 0


@kernel
def measure_lines(points: Points, kinds: Kinds, breaks: Places, row: Row) -> None:
    lines = characters = longest = short = punctuated = ellipsis = bullets = encoded = 0
    menus = run = run_characters = 0  # run: of short lines that end no sentence
    paragraphs = paragraph_characters = 0
    repeated = repeated_characters = repeated_paragraphs = repeated_paragraph_characters = 0
    seen_lines, seen_paragraphs = hash_table(len(breaks) + 1), hash_table(len(breaks) + 1)
    bytes_written = encoded_bytes(points) >= ENCODED_BYTES
    paragraph = HASH_START
    line_start = 0
    for line in range(len(breaks) + 1):
        at = breaks[line] if line < len(breaks) else len(points)
        start, end = line_start, at
        line_start = at + 1
        while start < end and kinds[start] & SPACE:
            start += 1
        while end > start and kinds[end - 1] & SPACE:
            end -= 1
        length = end - start
        if length:
            hashed = hash_of(points, start, end)
            lines += 1
            characters += length
            longest = max(longest, length)
            short += length <= SHORT_LINE_CHARACTERS
            ends_sentence = (kinds[end - 1] & SENTENCE_END) != 0
            punctuated += ends_sentence
            if length <= SHORT_LINE_CHARACTERS and not ends_sentence:
                run += 1
                run_characters += length
                menus += run_characters if run == MENU_LINES else length if run > MENU_LINES else 0
            else:
                run = run_characters = 0
            bullets += (kinds[start] & BULLET) != 0
            ellipsis += ends_in_ellipsis(points, start, end)
            encoded += length * is_encoded(points[start:end], kinds[start:end], bytes_written)
            if add(seen_lines, hashed):
                repeated += 1
                repeated_characters += length
            paragraph = (paragraph ^ hashed) * GRAM_FACTOR
            paragraph_characters += length
        if paragraph_characters and (length == 0 or at == len(points)):
            paragraphs += 1
            if add(seen_paragraphs, paragraph):
                repeated_paragraphs += 1
                repeated_paragraph_characters += paragraph_characters
            paragraph, paragraph_characters = HASH_START, 0
    row[Metric.LINES] = lines
    row[Metric.MEAN_LINE_CHARACTERS] = share(characters, lines)
    row[Metric.MAX_LINE_CHARACTERS] = longest
    row[Metric.SHORT_LINE_SHARE] = share(short, lines)
    row[Metric.PUNCTUATED_LINE_SHARE] = share(punctuated, lines)
    row[Metric.ELLIPSIS_LINE_SHARE] = share(ellipsis, lines)
    row[Metric.BULLET_LINE_SHARE] = share(bullets, lines)
    row[Metric.ENCODED_LINE_SHARE] = share(encoded, characters)
    row[Metric.MENU_SHARE] = share(menus, characters)
    row[Metric.DUPLICATE_LINE_SHARE] = share(repeated, lines)
    row[Metric.DUPLICATE_LINE_CHARACTER_SHARE] = share(repeated_characters, len(points))
    row[Metric.DUPLICATE_PARAGRAPH_SHARE] = share(repeated_paragraphs, paragraphs)
    row[Metric.DUPLICATE_PARAGRAPH_CHARACTER_SHARE] = share(repeated_paragraph_characters, len(points))


@kernel
def hash_of(points: Points, start: int, end: int) -> np.uint64:
    hashed = HASH_START
    for at in range(start, end - 1, 2):  # by twos, since each product waits for the one before
        hashed = (hashed ^ np.uint64(points[at]) ^ (np.uint64(points[at + 1]) << np.uint64(32))) * GRAM_FACTOR
    if (end - start) & 1:
        hashed = (hashed ^ np.uint64(points[end - 1])) * HASH_FACTOR
    return hashed


@kernel
def ends_in_ellipsis(points: Points, start: int, end: int) -> bool:
    if points[end - 1] == ELLIPSIS:
        return True
    dots = 0
    while end - dots > start and points[end - dots - 1] == FULL_STOP:
        dots += 1
    return dots >= 3


@kernel
def is_encoded(points: Points, kinds: Kinds, bytes_written: bool) -> bool:
    """Whether a line has 64 characters of Base64 in a row, a sixteenth of them digits, or 8 bytes as \\x or 0x.

    With ``bytes_written`` false there are no 8 of these in the whole text.
    """
    if bytes_written and encoded_bytes(points) >= ENCODED_BYTES:
        return True
    begin = 0  # of a run, if it is one: from its end backwards, what is none is soon seen
    while begin + ENCODED_RUN_CHARACTERS <= len(kinds):
        at = begin + ENCODED_RUN_CHARACTERS - 1
        digits = 0
        while at >= begin and kinds[at] & BASE64:
            digits += (kinds[at] & DIGIT) != 0
            at -= 1
        if at < begin:
            at = begin + ENCODED_RUN_CHARACTERS
            while digits * 16 < at - begin and at < len(kinds) and kinds[at] & BASE64:
                digits += (kinds[at] & DIGIT) != 0
                at += 1
            if digits * 16 >= at - begin:
                return True
        begin = at + 1
    return False


@kernel
def encoded_bytes(points: Points) -> int:
    """How often there is \\x or 0x."""
    count = 0
    before, after = points[:-1], points[1:]
    for at in range(len(after)):
        count += (after[at] == 0x78) & ((before[at] == 0x30) | (before[at] == 0x5C))
    return count


@kernel
def measure_grams(characters: int, starts: Places, ends: Places, hashes: Hashes, row: Row) -> None:
    """Shares of the most frequent word n-gram for n = 2, 3, 4, of equally frequent ones the longest; and shares of
    n-grams seen before for n = 5 to 10, of which a repeated one is stepped over whole, so that nothing counts twice.

    An n-gram can be repeated only if the shorter one that it begins with is: each length looks at what the one before
    has left, which of prose is a tenth after 4-grams.
    """
    grams = hashes.copy()
    left, slots = np.arange(len(hashes), dtype=np.int32), np.empty(len(hashes), np.uint64)
    count = len(hashes)
    for length in range(2, 5):
        keys = hash_table(count)
        counts = np.zeros(len(keys), np.int32)
        most, covered = 2, 0
        for number in range(count):
            at = left[number]
            if at + length > len(hashes):
                count = number  # the last few, with too few words after them
                break
            gram = grams[at] * GRAM_FACTOR + hashes[at + length - 1]
            slot = slot_of_gram(keys, gram)
            count_here = counts[slot] + 1
            grams[at], slots[number] = gram, slot
            keys[slot], counts[slot] = gram, count_here
            if count_here >= most:
                here = count_here * (ends[at + length - 1] - starts[at])
                covered = here if count_here > most else max(covered, here)
                most = count_here
        row[Metric.TOP_2_GRAM_SHARE + length - 2] = min(share(covered, characters), 1.0)
        repeated = 0
        for number in range(count):
            left[repeated] = left[number]
            repeated += counts[slots[number]] > 1
        count = repeated
    measure_duplicate_grams(characters, starts, ends, hashes, grams, left[:count], row)


@kernel
def slot_of_gram(keys: Hashes, gram: np.uint64) -> np.uint64:
    """As `slot_of`, for keys that are well mixed already: with one product, and one branch for both comparisons."""
    mask = np.uint64(len(keys) - 1)
    slot = ((gram ^ gram >> np.uint64(32)) * GRAM_FACTOR) >> np.uint64(32) & mask
    while (keys[slot] != 0) & (keys[slot] != gram):
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel
def measure_duplicate_grams(
    characters: int, starts: Places, ends: Places, hashes: Hashes, grams: Hashes, left: Places, row: Row
) -> None:
    """The second half of ``measure_grams``: ``left`` are the places of repeated 4-grams, whose hashes are ``grams``."""
    for length in range(5, 11):
        keys = hash_table(len(left))
        repeated = free = 0
        for at in left:
            if at + length > len(hashes):
                break
            gram = grams[at] * GRAM_FACTOR + hashes[at + length - 1]
            grams[at] = gram
            if at < free:
                continue
            slot = slot_of_gram(keys, gram)
            if keys[slot] == gram:
                for word in range(at, at + length):
                    repeated += ends[word] - starts[word]
                free = at + length
            keys[slot] = gram
        row[Metric.DUPLICATE_5_GRAM_SHARE + length - 5] = share(repeated, characters)
        if not repeated:  # nor is any longer one repeated
            return
