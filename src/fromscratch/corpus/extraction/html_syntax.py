"""The syntax of HTML in compiled functions over bytes: tags, attributes, comments, raw text, character references.

After the tokenisation of the HTML Living Standard (13.2.5), with two liberties: `<!--` in a script hides no end tag,
and of attributes only those are read that tell boilerplate from content. Numba checks no bounds, so every read stands
behind a comparison with `end`; and what a function has looked at it has consumed, so that a page takes time in
proportion to its bytes. Numba does not see a change of this file or of `html_tables.py` when it decides whether the
machine code of `html.py` is stale: after one, delete `__pycache__/html*.nb?`.
"""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.extraction.html_tables import (
    ALONE,
    HIDDEN,
    NAMED,
    OF_BEGINNING,
    OF_REFERENCE,
    OF_ROLE,
    OF_TAG,
    OF_WORD,
)
from fromscratch.corpus.kernels.measure import HASH_FACTOR, kernel, slot_of

__all__ = [
    "BLANK",
    "LESS_THAN",
    "LINE_FEED",
    "Bytes",
    "Keys",
    "Values",
    "are_sound",
    "begins_markup",
    "find_text_end",
    "is_letter",
    "is_space",
    "is_wide",
    "lower",
    "raw_end",
    "read_attributes",
    "read_character",
    "read_name",
    "read_reference",
    "skip_declaration",
]

Bytes = NDArray[np.uint8]
Keys = NDArray[np.uint64]
Values = NDArray[np.int64]

STRIDE = 16  # bytes looked at at once
TAB, LINE_FEED, CARRIAGE_RETURN, BLANK = 0x09, 0x0A, 0x0D, 0x20
AMPERSAND, LESS_THAN, GREATER_THAN, SLASH, EQUALS, SEMICOLON = 0x26, 0x3C, 0x3E, 0x2F, 0x3D, 0x3B
EXCLAMATION, QUESTION, HYPHEN, NUMBER_SIGN, QUOTE, APOSTROPHE = 0x21, 0x3F, 0x2D, 0x23, 0x22, 0x27
LITERAL_AMPERSAND = 1 | AMPERSAND << 8  # a character packed: the bytes of its UTF-8 over their number
REPLACEMENT = 0xBDBFEF03
# Windows-1252, which numeric references to C1 controls mean.
REMAPPED = np.array([ord(bytes([code]).decode("cp1252", errors="replace")) for code in range(0x80, 0xA0)], np.int64)


def packed_name(name: bytes) -> int:
    return int.from_bytes(name[-8:]) & 0x7FFFFFFFFFFFFFFF


HREF, HIDDEN_NAME, ARIA_HIDDEN = packed_name(b"href"), packed_name(b"hidden"), packed_name(b"aria-hidden")
ROLE, STYLE, CLASS, ID = packed_name(b"role"), packed_name(b"style"), packed_name(b"class"), packed_name(b"id")
NOT_DISPLAYED, NOT_VISIBLE = packed_name(b"lay:none"), packed_name(b"y:hidden")


@kernel
def are_sound(data: Bytes, starts: Values, ends: Values) -> NDArray[np.bool_]:
    """Which pages data[starts[i]:ends[i]] are valid UTF-8 without zero bytes (RFC 3629)."""
    sound = np.ones(len(starts), np.bool_)
    for page in range(len(starts)):
        at, end = starts[page], ends[page]
        while at < end and sound[page]:
            while at + STRIDE <= end:
                strange = np.uint8(0)
                for place in range(np.uintp(at), np.uintp(at + STRIDE)):
                    strange |= np.uint8(data[place] - 1) & np.uint8(0x80) | data[place] & np.uint8(0x80)
                if strange:
                    break
                at += STRIDE
            if at == end:
                break
            byte = data[at]
            if 0 < byte < 0x80:
                at += 1
                continue
            width = 0 if byte < 0xC2 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF5 else 0
            if width == 0 or at + width > end:
                sound[page] = False
                break
            second = data[at + 1]
            lowest = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80  # else it could be written shorter
            highest = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF  # no surrogates, not beyond Unicode
            sound[page] = lowest <= second <= highest
            for place in range(2, width):
                sound[page] &= data[at + place] >> 6 == 2
            at += width
    return sound


@kernel
def lower(byte: int) -> int:
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@kernel
def is_letter(byte: int) -> bool:
    return 0x61 <= (byte | 0x20) <= 0x7A


@kernel
def is_space(byte: int) -> bool:
    return byte == BLANK or (TAB <= byte <= CARRIAGE_RETURN and byte != 0x0B)


@kernel
def look_up(keys: Keys, values: Values, key: np.uint64) -> int:
    slot = slot_of(keys, key)
    return int(values[slot]) if keys[slot] == key else 0


@kernel
def find(data: Bytes, at: int, end: int, byte: int) -> int:
    """Where this byte comes next, or the end."""
    while at + STRIDE <= end:
        found = False
        for place in range(np.uintp(at), np.uintp(at + STRIDE)):
            found |= data[place] == byte
        if found:
            break
        at += STRIDE
    while at < end and data[at] != byte:
        at += 1
    return at


@kernel
def begins_markup(data: Bytes, at: int, end: int) -> bool:
    """Whether the `<` at this place begins a tag, a comment or a declaration, and is no text."""
    if at + 1 >= end:
        return False
    following = data[at + 1]
    return is_letter(following) or following in (SLASH, EXCLAMATION, QUESTION)


@kernel
def skip_declaration(data: Bytes, at: int, end: int) -> int:
    """Beyond a comment, doctype or processing instruction whose `!` or `?` is here."""
    if at + 2 < end and data[at] == EXCLAMATION and data[at + 1] == HYPHEN and data[at + 2] == HYPHEN:
        at += 3
        if at < end and data[at] == GREATER_THAN:  # <!-->
            return at + 1
        if at + 1 < end and data[at] == HYPHEN and data[at + 1] == GREATER_THAN:  # <!--->
            return at + 2
        while at + 2 < end:
            if data[at] == HYPHEN and data[at + 1] == HYPHEN:
                if data[at + 2] == GREATER_THAN:
                    return at + 3
                if data[at + 2] == EXCLAMATION and at + 3 < end and data[at + 3] == GREATER_THAN:  # --!>
                    return at + 4
            at += 1
        return end
    while at < end and data[at] != GREATER_THAN:
        at += 1
    return min(at + 1, end)


@kernel
def find_text_end(data: Bytes, at: int, end: int) -> int:
    """Where markup begins next, or the end."""
    while at < end and not (data[at] == LESS_THAN and begins_markup(data, at, end)):
        at += 1
    return at


@kernel
def read_name(data: Bytes, at: int, end: int, keys: Keys, values: Values) -> tuple[int, int]:
    """What the element is whose name begins here, or 0, and where its name ends."""
    hashed = OF_TAG
    while at < end:
        byte = data[at]
        if is_space(byte) or byte in (SLASH, GREATER_THAN):
            break
        hashed = (hashed ^ np.uint64(lower(byte))) * HASH_FACTOR
        at += 1
    return look_up(keys, values, hashed), at


@kernel
def read_attributes(data: Bytes, at: int, end: int, keys: Keys, values: Values, info: int) -> tuple[int, int, bool]:
    """Beyond the tag; the marks that its attributes give; whether it has an address."""
    marks = 0
    link = False
    while at < end:
        byte = data[at]
        if byte == GREATER_THAN:
            return at + 1, marks, link
        at += 1
        if is_space(byte) or byte == SLASH:
            continue
        name = lower(byte)  # its last eight letters
        while at < end:
            byte = data[at]
            if byte in (EQUALS, GREATER_THAN, SLASH) or is_space(byte):
                break
            name = (name << 8 | lower(byte)) & 0x7FFFFFFFFFFFFFFF
            at += 1
        while at < end and is_space(data[at]):
            at += 1
        start = stop = at
        if at < end and data[at] == EQUALS:
            start, stop, at = read_value(data, at + 1, end)
        if name == HREF:
            link = True
        elif name == HIDDEN_NAME or (name == ARIA_HIDDEN and stop > start and data[start] | 0x20 == 0x74):  # t(rue)
            marks |= HIDDEN
        elif name == ROLE:
            marks |= hash_look_up(data, start, stop, OF_ROLE, keys, values)
        elif name == STYLE:
            marks |= marks_of_style(data, start, stop)
        elif name in (CLASS, ID) and info & NAMED:
            marks |= marks_of_words(data, start, stop, keys, values)
    return end, marks, link


@kernel
def read_value(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Start and end of the attribute's value after the `=` before this place, and where to go on."""
    while at < end and is_space(data[at]):
        at += 1
    if at < end and (data[at] == QUOTE or data[at] == APOSTROPHE):
        quote = data[at]
        start = at = at + 1
        at = find(data, at, end, quote)
        return start, at, min(at + 1, end)
    start = at
    while at < end and data[at] != GREATER_THAN and not is_space(data[at]):
        at += 1
    return start, at, at


@kernel
def hash_look_up(data: Bytes, start: int, end: int, kind: np.uint64, keys: Keys, values: Values) -> int:
    """What is known of a value as a whole."""
    hashed = kind
    for at in range(start, end):
        hashed = (hashed ^ np.uint64(lower(data[at]))) * HASH_FACTOR
    return look_up(keys, values, hashed)


@kernel
def marks_of_style(data: Bytes, start: int, end: int) -> int:
    last = 0  # eight letters
    for at in range(start, end):
        if not is_space(data[at]):
            last = (last << 8 | lower(data[at])) & 0x7FFFFFFFFFFFFFFF
            if last in (NOT_DISPLAYED, NOT_VISIBLE):
                return HIDDEN
    return 0


@kernel
def marks_of_words(data: Bytes, start: int, end: int, keys: Keys, values: Values) -> int:
    """HINTED for the words of boilerplate, `siteFooter` and `site-footer` alike; HIDDEN for a class of that name."""
    marks = 0
    word, beginning = OF_WORD, OF_BEGINNING
    token = word_start = start
    for at in range(start, end + 1):
        byte = data[at] if at < end else BLANK
        if is_letter(byte) and not (0x41 <= byte <= 0x5A and at > word_start and 0x61 <= data[at - 1] <= 0x7A):
            word = (word ^ np.uint64(lower(byte))) * HASH_FACTOR
            beginning = (beginning ^ np.uint64(lower(byte))) * HASH_FACTOR
            if at - word_start >= 5:
                marks |= look_up(keys, values, beginning)
            continue
        if at > word_start:
            found = look_up(keys, values, word)
            if not found & ALONE or (word_start == token and is_space(byte)):
                marks |= found
        word, beginning = OF_WORD, OF_BEGINNING
        word_start = at + 1
        if is_letter(byte):  # a capital after a small letter
            word = (word ^ np.uint64(lower(byte))) * HASH_FACTOR
            beginning = (beginning ^ np.uint64(lower(byte))) * HASH_FACTOR
            word_start = at
        elif is_space(byte):
            token = at + 1
    return marks


@kernel
def raw_end(data: Bytes, at: int, end: int, name_start: int, name_end: int) -> int:
    """Where the end tag of the raw text begins whose start tag has this name, or the end."""
    length = name_end - name_start
    while at + length + 1 < end:
        at = find(data, at, end, LESS_THAN)
        if at + length + 1 < end and data[at + 1] == SLASH:
            same = 0
            while same < length and lower(data[at + 2 + same]) == lower(data[name_start + same]):
                same += 1
            after = at + 2 + length
            if same == length and (
                after >= end or data[after] <= BLANK or data[after] == GREATER_THAN or data[after] == SLASH
            ):
                return at
        at += 1
    return end


@kernel
def read_reference(data: Bytes, at: int, end: int, keys: Keys, values: Values) -> tuple[int, int]:
    """The character reference whose `&` is here as packed UTF-8, and where to go on; the `&` itself if it is none."""
    if at + 2 < end and data[at + 1] == NUMBER_SIGN:  # &#
        return read_number(data, at, end)
    hashed = OF_REFERENCE
    found = LITERAL_AMPERSAND
    after = at + 1
    reach = min(end, at + 34)
    place = at + 1
    while place < reach:
        byte = data[place]
        if not (is_letter(byte) or 0x30 <= byte <= 0x39 or byte == SEMICOLON):
            break
        hashed = (hashed ^ np.uint64(byte)) * HASH_FACTOR
        place += 1
        if byte == SEMICOLON or place - at <= 7:  # those without a semicolon have up to six letters
            value = look_up(keys, values, hashed)
            if value:
                found, after = value, place
        if byte == SEMICOLON:
            break
    return found, after


@kernel
def read_number(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The numeric reference whose `&#` is here."""
    place = at + 2
    base = 10
    if place < end and data[place] | 0x20 == 0x78:
        base = 16
        place += 1
    first = place
    code = 0
    while place < end:
        byte = data[place]
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif base == 16 and 0x61 <= (byte | 0x20) <= 0x66:
            digit = (byte | 0x20) - 0x57
        else:
            break
        code = min(code * base + digit, 0x110000)
        place += 1
    if place == first:
        return LITERAL_AMPERSAND, at + 1
    if place < end and data[place] == SEMICOLON:
        place += 1
    if 0x80 <= code < 0xA0:
        code = REMAPPED[code - 0x80]
    if code == 0 or code >= 0x110000 or 0xD800 <= code < 0xE000:
        return REPLACEMENT, place
    return encoded(code), place


@kernel
def encoded(code: int) -> int:
    """A code point as packed UTF-8."""
    if code < 0x80:
        return 1 | code << 8
    if code < 0x800:
        return 2 | (0xC0 | code >> 6) << 8 | (0x80 | code & 0x3F) << 16
    if code < 0x10000:
        return 3 | (0xE0 | code >> 12) << 8 | (0x80 | code >> 6 & 0x3F) << 16 | (0x80 | code & 0x3F) << 24
    high = (0xF0 | code >> 18) << 8 | (0x80 | code >> 12 & 0x3F) << 16
    return 4 | high | (0x80 | code >> 6 & 0x3F) << 24 | (0x80 | code & 0x3F) << 32


@kernel
def read_character(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A character beyond ASCII as packed UTF-8, and where to go on."""
    byte = data[at]
    width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    width = min(width, end - at)
    value = width
    for place in range(width):
        value |= int(data[at + place]) << (8 * place + 8)
    return value, at + width


@kernel
def is_wide(first: int, second: int) -> bool:
    """Whether a character that begins so is kana, Han or full-width: lines of these are joined without a space."""
    return 0xE3 <= first <= 0xE9 or (first == 0xEF and 0xBC <= second <= 0xBD)
