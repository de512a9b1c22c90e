"""HTML to blocks of text: a compiled tokeniser that walks once over the bytes of pages and never builds a tree.

It follows the tokenisation of the HTML Living Standard (13.2.5: tags, attributes, comments, raw text, character
references) and keeps, instead of a tree, a stack of the sections that are open. Time and memory are linear in the
input, whatever it holds: every byte is consumed once, and a search in the stack has a bound. Numba checks no bounds, so
every read here stands behind a comparison with `end`; the tests run it once with checks.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.html_tables import (
    BLOCK,
    CONTAINER,
    EXCUSE,
    HIDDEN,
    HINTED,
    MAIN,
    MARKS_AT,
    OF_LEADING,
    OF_REFERENCE,
    OF_ROLE,
    OF_TAG,
    OF_WORD,
    PRE,
    RAW,
    SPACED,
    TAG_BITS,
    WHOLE,
    HtmlTables,
    Tag,
)
from fromscratch.corpus.kernels import HASH_FACTOR, kernel, slot_of

__all__ = ["BULLET", "NEW_CELL", "NEW_LINE", "NEW_PARAGRAPH", "Block", "Blocks", "Page", "are_sound", "read_blocks"]

Bytes = NDArray[np.uint8]
Table = NDArray[np.int32]
Keys = NDArray[np.uint64]
Values = NDArray[np.int64]


class Block(IntEnum):
    """Columns of a block: a run of text without a boundary of paragraphs, items or cells."""

    START = 0  # in the text
    END = 1
    LINKED_BYTES = 2  # of its text, within links and buttons
    MARKS = 3  # of the sections that it is in
    LEAD = 4  # how it is set off from the block before: NEW_CELL, NEW_LINE or NEW_PARAGRAPH
    MARKER = 5  # its number in an ordered list, BULLET in another list, or 0
    LEVEL = 6  # of lists around it


class Page(IntEnum):
    """Columns of a page."""

    FIRST_BLOCK = 0
    LAST_BLOCK = 1  # beyond its last
    TITLE_START = 2  # in the text
    TITLE_END = 3
    WHOLE = 4  # whether it is a document and no fragment


class Blocks(NamedTuple):
    text: Bytes  # UTF-8: spaces collapsed, references resolved
    blocks: Table  # int32[blocks, Block]
    pages: Table  # int32[pages, Page]


class Now(IntEnum):
    """Where the tokeniser stands: what changes from tag to tag."""

    LENGTH = 0  # of the text
    START = 1  # of the block under way
    SPACE = 2  # pending: 1, or 2 if a line ended there
    LINKED_BYTES = 3
    LINK = 4  # whether in a link
    LINK_START = 5
    LEAD = 6
    HELD = 7  # the lead is decided until a block has come
    FRESH = 8  # a list or table has begun and had no block yet
    IN_ROW = 9  # the row had a block
    MARKER = 10
    DEPTH = 11  # of the stack
    BEYOND = 12  # sections open beyond the stack's end
    BLOCKS = 13


class Open(IntEnum):
    """Columns of the stack of open sections; the lowest entry is the page."""

    TAG = 0
    MARKS = 1
    NESTED = 2  # elements of the same name within, of a kind that is not on the stack by itself
    LIST = 3  # where in the stack the innermost list is, or 0
    LEVEL = 4
    ITEMS = 5


BLOCK_COLUMNS, PAGE_COLUMNS, NOW_ENTRIES, OPEN_COLUMNS = len(Block), len(Page), len(Now), len(Open)
TAG_MASK = (1 << TAG_BITS) - 1
NEW_CELL, NEW_LINE, NEW_PARAGRAPH = 0, 1, 2
BULLET = -1
DEEPEST = 512  # as in browsers
SEARCHED = 64  # how far down an end tag looks for its element
WHOLE_WITHIN = 4096  # bytes in which a document shows that it is one
TAB, LINE_FEED, CARRIAGE_RETURN, BLANK, DELETE = 0x09, 0x0A, 0x0D, 0x20, 0x7F
NO_BREAK_SPACE, REPLACEMENT = 0xA0C202, 0xBDBFEF03  # packed: bytes of UTF-8 over their number
SOFT_HYPHEN, ZERO_WIDTH_SPACE, BYTE_ORDER_MARK = 0xADC202, 0x8B80E203, 0xBFBBEF03
# Windows-1252, which numeric references to C1 controls mean.
REMAPPED = np.array(
    [ord(bytes([code]).decode("cp1252", errors="replace")) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else code
     for code in range(0x80, 0xA0)], np.int64
)  # fmt: skip


@kernel
def are_sound(data: Bytes, starts: Values, ends: Values) -> NDArray[np.bool_]:
    """Which pages data[starts[i]:ends[i]] are valid UTF-8 without zero bytes (RFC 3629)."""
    sound = np.ones(len(starts), np.bool_)
    for page in range(len(starts)):
        at, end = starts[page], ends[page]
        while at < end and sound[page]:
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
def read_blocks(data: Bytes, starts: Values, ends: Values, keys: Keys, values: Values) -> tuple[Bytes, Table, Table]:
    """The parts of `Blocks` for the pages data[starts[i]:ends[i]], each valid UTF-8."""
    total = 0
    for page in range(len(starts)):
        total += ends[page] - starts[page]
    # No reference is shorter than 5/6 of what it stands for, no block than `<p>` and a letter. What stays unused of
    # this memory is never touched and so never taken.
    text = np.empty(total * 6 // 5 + 16, np.uint8)
    blocks = np.empty((total // 4 + 2 * len(starts) + 2, BLOCK_COLUMNS), np.int32)
    pages = np.zeros((len(starts), PAGE_COLUMNS), np.int32)
    stack = np.zeros((DEEPEST, OPEN_COLUMNS), np.int32)
    now = np.zeros(NOW_ENTRIES, np.int64)
    for page in range(len(starts)):
        length, count = now[Now.LENGTH], now[Now.BLOCKS]
        now[:] = 0
        now[Now.LENGTH], now[Now.BLOCKS], now[Now.START], now[Now.DEPTH] = length, count, length, 1
        pages[page, Page.FIRST_BLOCK] = count
        stack[0, :] = 0
        read_page(data, starts[page], ends[page], keys, values, text, blocks, stack, now, pages[page])
        pages[page, Page.LAST_BLOCK] = now[Now.BLOCKS]
    return text[: now[Now.LENGTH]], blocks[: now[Now.BLOCKS]], pages


@kernel
def read_page(
    data: Bytes,
    start: int,
    end: int,
    keys: Keys,
    values: Values,
    text: Bytes,
    blocks: Table,
    stack: Table,
    now: Values,
    page: Table,
) -> None:
    at = start
    while at < end:
        at = read_text(data, at, end, keys, values, text, now, stack[now[Now.DEPTH] - 1, Open.MARKS] & PRE)
        if at >= end:
            break
        following = data[at + 1]  # `read_text` stops only where markup begins, so there is one
        if following == 0x2F:  # </
            at = read_end_tag(data, at + 2, end, keys, values, text, blocks, stack, now)
        elif following == 0x21 or following == 0x3F:  # <! or <?
            if at - start < WHOLE_WITHIN and at + 2 < end and lower(data[at + 2]) == 0x64:  # doctype
                page[Page.WHOLE] = 1
            at = skip_declaration(data, at + 1, end)
        else:
            name_start = at + 1
            info, name_end = read_name(data, name_start, end, keys, values)
            if info & WHOLE and at - start < WHOLE_WITHIN:
                page[Page.WHOLE] = 1
            at, marks, link = read_attributes(data, name_end, end, keys, values, info)
            if info & RAW:
                content_end = raw_end(data, at, end, name_start, name_end)
                if info & TAG_MASK == Tag.TITLE and page[Page.TITLE_END] == 0:
                    read_title(data, at, content_end, keys, values, text, blocks, stack, now, page)
                at = content_end
            else:
                open_element(info, marks, link, text, blocks, stack, now)
    end_block(text, blocks, stack, now, NEW_PARAGRAPH)


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
def begins_markup(data: Bytes, at: int, end: int) -> bool:
    """Whether the `<` at this place begins a tag, a comment or a declaration, and is no text."""
    if at + 1 >= end:
        return False
    following = data[at + 1]
    return is_letter(following) or following == 0x2F or following == 0x21 or following == 0x3F


@kernel
def skip_declaration(data: Bytes, at: int, end: int) -> int:
    """Beyond a comment, doctype or processing instruction whose `!` or `?` is here."""
    if at + 2 < end and data[at] == 0x21 and data[at + 1] == 0x2D and data[at + 2] == 0x2D:
        at += 3
        if at < end and data[at] == 0x3E:  # <!-->
            return at + 1
        if at + 1 < end and data[at] == 0x2D and data[at + 1] == 0x3E:  # <!--->
            return at + 2
        while at + 2 < end:
            if data[at] == 0x2D and data[at + 1] == 0x2D:
                if data[at + 2] == 0x3E:
                    return at + 3
                if data[at + 2] == 0x21 and at + 3 < end and data[at + 3] == 0x3E:  # --!>
                    return at + 4
            at += 1
        return end
    while at < end and data[at] != 0x3E:
        at += 1
    return min(at + 1, end)


@kernel
def read_name(data: Bytes, at: int, end: int, keys: Keys, values: Values) -> tuple[int, int]:
    """What the element is whose name begins here, or 0, and where its name ends."""
    hashed = OF_TAG
    while at < end:
        byte = data[at]
        if is_space(byte) or byte == 0x2F or byte == 0x3E:
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
        if byte == 0x3E:
            return at + 1, marks, link
        at += 1
        if is_space(byte) or byte == 0x2F:
            continue
        name = lower(byte)  # its last eight letters
        while at < end:
            byte = data[at]
            if byte == 0x3D or byte == 0x3E or byte == 0x2F or is_space(byte):
                break
            name = (name << 8 | lower(byte)) & 0x7FFFFFFFFFFFFFFF
            at += 1
        while at < end and is_space(data[at]):
            at += 1
        start = stop = at
        if at < end and data[at] == 0x3D:
            start, stop, at = read_value(data, at + 1, end)
        if name == HREF:
            link = True
        elif name == HIDDEN_NAME or (name == ARIA_HIDDEN and stop > start and data[start] | 0x20 == 0x74):  # t(rue)
            marks |= HIDDEN
        elif name == ROLE:
            marks |= hash_look_up(data, start, stop, OF_ROLE, keys, values)
        elif name == STYLE:
            marks |= marks_of_style(data, start, stop)
        elif (name == CLASS or name == ID) and info & CONTAINER:
            marks |= marks_of_words(data, start, stop, keys, values)
    return end, marks, link


def packed_name(name: bytes) -> int:
    return int.from_bytes(name[-8:]) & 0x7FFFFFFFFFFFFFFF


HREF, HIDDEN_NAME, ARIA_HIDDEN = packed_name(b"href"), packed_name(b"hidden"), packed_name(b"aria-hidden")
ROLE, STYLE, CLASS, ID = packed_name(b"role"), packed_name(b"style"), packed_name(b"class"), packed_name(b"id")
NOT_DISPLAYED, NOT_VISIBLE = packed_name(b"lay:none"), packed_name(b"y:hidden")


@kernel
def read_value(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Start and end of the attribute's value after the `=` before this place, and where to go on."""
    while at < end and is_space(data[at]):
        at += 1
    if at < end and (data[at] == 0x22 or data[at] == 0x27):
        quote = data[at]
        start = at = at + 1
        while at < end and data[at] != quote:
            at += 1
        return start, at, min(at + 1, end)
    start = at
    while at < end and data[at] != 0x3E and not is_space(data[at]):
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
            if last == NOT_DISPLAYED or last == NOT_VISIBLE:
                return HIDDEN
    return 0


@kernel
def marks_of_words(data: Bytes, start: int, end: int, keys: Keys, values: Values) -> int:
    """HINTED for the words of boilerplate, `siteFooter` and `site-footer` alike; HIDDEN for a class of that name."""
    marks = 0
    word, stem = OF_WORD, OF_LEADING
    token = word_start = start
    for at in range(start, end + 1):
        byte = data[at] if at < end else BLANK
        if is_letter(byte) and not (0x41 <= byte <= 0x5A and at > word_start and 0x61 <= data[at - 1] <= 0x7A):
            word = (word ^ np.uint64(lower(byte))) * HASH_FACTOR
            stem = (stem ^ np.uint64(lower(byte))) * HASH_FACTOR
            if at - word_start >= 5:
                marks |= look_up(keys, values, stem)
            continue
        if at > word_start:
            found = look_up(keys, values, word)
            if found != HIDDEN or (word_start == token and (byte == BLANK or at == end)):
                marks |= found
        word, stem = OF_WORD, OF_LEADING
        word_start = at + 1
        if is_letter(byte):  # a capital after a small letter
            word = (word ^ np.uint64(lower(byte))) * HASH_FACTOR
            stem = (stem ^ np.uint64(lower(byte))) * HASH_FACTOR
            word_start = at
        elif is_space(byte):
            token = at + 1
    return marks


@kernel
def raw_end(data: Bytes, at: int, end: int, name_start: int, name_end: int) -> int:
    """Where the end tag of the raw text begins whose start tag has this name, or the end."""
    length = name_end - name_start
    while at + length + 1 < end:
        if data[at] == 0x3C and data[at + 1] == 0x2F:
            same = 0
            while same < length and lower(data[at + 2 + same]) == lower(data[name_start + same]):
                same += 1
            after = at + 2 + length
            if same == length and (after >= end or data[after] <= BLANK or data[after] == 0x3E or data[after] == 0x2F):
                return at
        at += 1
    return end


@kernel
def read_reference(data: Bytes, at: int, end: int, keys: Keys, values: Values) -> tuple[int, int]:
    """The character reference whose `&` is here as packed UTF-8, and where to go on; the `&` itself if it is none."""
    if at + 2 < end and data[at + 1] == 0x23:  # &#
        return read_number(data, at, end)
    hashed = OF_REFERENCE
    found = 1 | 0x26 << 8
    after = at + 1
    reach = min(end, at + 34)
    place = at + 1
    while place < reach:
        byte = data[place]
        if not (is_letter(byte) or 0x30 <= byte <= 0x39 or byte == 0x3B):
            break
        hashed = (hashed ^ np.uint64(byte)) * HASH_FACTOR
        place += 1
        if byte == 0x3B or place - at <= 7:  # those without a semicolon have up to six letters
            value = look_up(keys, values, hashed)
            if value:
                found, after = value, place
        if byte == 0x3B:
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
        return 1 | 0x26 << 8, at + 1
    if place < end and data[place] == 0x3B:
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
        value |= np.int64(data[at + place]) << (8 * place + 8)
    return value, at + width


@kernel
def is_wide(first: int, second: int) -> bool:
    """Whether a character that begins so is kana, Han or full-width: lines of these are joined without a space."""
    return 0xE3 <= first <= 0xE9 or (first == 0xEF and 0xBC <= second <= 0xBD)


@kernel
def read_text(
    data: Bytes, at: int, end: int, keys: Keys, values: Values, text: Bytes, now: Values, preformatted: int
) -> int:
    """Append the text up to the next markup, and return where that is."""
    begun = length = now[Now.LENGTH]
    start, space = now[Now.START], now[Now.SPACE]
    while at < end:
        byte = data[at]
        if BLANK < byte < DELETE and byte != 0x3C and byte != 0x26:
            if space:
                length = write_space(text, start, length, space, byte, 0)
                space = 0
            text[length] = byte
            length += 1
            at += 1
            continue
        if byte == 0x3C:
            if begins_markup(data, at, end):
                break
            value, at = 1 | 0x3C << 8, at + 1
        elif byte == 0x26:
            value, at = read_reference(data, at, end, keys, values)
        elif byte <= DELETE:
            value, at = 1 | np.int64(byte) << 8, at + 1
        else:
            value, at = read_character(data, at, end)
        first, second = value >> 8 & 0xFF, value >> 16 & 0xFF
        if is_space(first) or value == NO_BREAK_SPACE:
            if not preformatted:
                space = max(space, 2 if first == LINE_FEED else 1)
            elif first == CARRIAGE_RETURN:
                continue
            elif length > start or first != LINE_FEED:
                text[length] = first if first < DELETE else BLANK
                length += 1
            continue
        if first < BLANK or first == DELETE or value in (SOFT_HYPHEN, ZERO_WIDTH_SPACE, BYTE_ORDER_MARK):
            continue
        if space:
            length = write_space(text, start, length, space, first, second)
            space = 0
        for place in range(value & 0xFF):
            text[length] = value >> (8 * place + 8) & 0xFF
            length += 1
    if now[Now.LINK]:
        now[Now.LINKED_BYTES] += length - begun
    now[Now.LENGTH], now[Now.SPACE] = length, space
    return at


@kernel
def write_space(text: Bytes, start: int, length: int, space: int, first: int, second: int) -> int:
    """A space, unless at the beginning of a block or line, or where a line ends between two wide characters."""
    if length == start or text[length - 1] == LINE_FEED:
        return length
    if space == 2 and length - start >= 3 and is_wide(first, second) and is_wide(text[length - 3], text[length - 2]):
        return length
    text[length] = BLANK
    return length + 1


@kernel
def read_title(
    data: Bytes,
    at: int,
    end: int,
    keys: Keys,
    values: Values,
    text: Bytes,
    blocks: Table,
    stack: Table,
    now: Values,
    page: Table,
) -> None:
    """Put the title into the text, where no block has it."""
    end_block(text, blocks, stack, now, NEW_LINE)
    page[Page.TITLE_START] = now[Now.LENGTH]
    while at < end:
        at = read_text(data, at, end, keys, values, text, now, 0)
        if at < end:  # tags are text here
            length = write_space(text, now[Now.START], now[Now.LENGTH], now[Now.SPACE], 0x3C, 0) if now[Now.SPACE] else now[Now.LENGTH]
            text[length] = data[at]
            now[Now.LENGTH], now[Now.SPACE] = length + 1, 0
            at += 1
    page[Page.TITLE_END] = now[Now.START] = now[Now.LENGTH]
    now[Now.SPACE] = now[Now.LINKED_BYTES] = 0


@kernel
def end_block(text: Bytes, blocks: Table, stack: Table, now: Values, lead: int) -> None:
    """Record the block under way, if it has text; the next one is set off by no less than ``lead``."""
    start, length = now[Now.START], now[Now.LENGTH]
    while length > start and text[length - 1] <= BLANK:
        length -= 1
    if length > start:
        top = now[Now.DEPTH] - 1
        block = blocks[now[Now.BLOCKS]]
        block[Block.START], block[Block.END] = start, length
        block[Block.LINKED_BYTES] = min(now[Now.LINKED_BYTES], length - start)
        block[Block.MARKS] = stack[top, Open.MARKS]
        block[Block.LEAD], block[Block.MARKER] = now[Now.LEAD], now[Now.MARKER]
        block[Block.LEVEL] = stack[top, Open.LEVEL]
        now[Now.BLOCKS] += 1
        now[Now.LEAD], now[Now.HELD], now[Now.FRESH], now[Now.MARKER], now[Now.IN_ROW] = NEW_LINE, 0, 0, 0, 1
    now[Now.LENGTH] = now[Now.START] = length
    now[Now.SPACE] = now[Now.LINKED_BYTES] = 0
    if not now[Now.HELD]:
        now[Now.LEAD] = max(now[Now.LEAD], lead)


@kernel
def open_element(info: int, marks: int, link: bool, text: Bytes, blocks: Table, stack: Table, now: Values) -> None:
    tag = info & TAG_MASK
    if tag == Tag.A or tag == Tag.BUTTON:
        now[Now.LINK] = link or tag == Tag.BUTTON
        now[Now.LINK_START] = now[Now.LENGTH]
    elif tag == Tag.BR:
        length = now[Now.LENGTH]
        lines = 0
        while length - lines > now[Now.START] and lines < 2 and text[length - lines - 1] == LINE_FEED:
            lines += 1
        if length > now[Now.START] and lines < 2:
            text[length] = LINE_FEED
            now[Now.LENGTH] += 1
        now[Now.SPACE] = 0
    if info & BLOCK:
        end_block(text, blocks, stack, now, NEW_PARAGRAPH if info & SPACED else NEW_LINE)
        close_implied(tag, stack, now)
    marks |= info >> MARKS_AT
    if marks & EXCUSE:
        marks &= ~HINTED
    if info & CONTAINER or marks & (HIDDEN | HINTED):
        push(tag, marks, stack, now)
    elif info and stack[now[Now.DEPTH] - 1, Open.TAG] == tag:
        stack[now[Now.DEPTH] - 1, Open.NESTED] += 1
    begin_item(tag, stack, now)


@kernel
def begin_item(tag: int, stack: Table, now: Values) -> None:
    """How the first block of an item, row or cell is set off and marked."""
    if tag == Tag.UL or tag == Tag.OL or tag == Tag.TABLE:
        now[Now.FRESH] = 1
    elif tag == Tag.LI or tag == Tag.TR or tag == Tag.DT or tag == Tag.DD:
        if not now[Now.FRESH]:
            now[Now.LEAD] = NEW_LINE
        now[Now.HELD], now[Now.IN_ROW], now[Now.LINK] = 1, 0, 0
        if tag == Tag.LI:
            around = stack[now[Now.DEPTH] - 1, Open.LIST]
            stack[around, Open.ITEMS] += 1
            now[Now.MARKER] = stack[around, Open.ITEMS] if stack[around, Open.TAG] == Tag.OL else BULLET
    elif tag == Tag.TD or tag == Tag.TH:
        if now[Now.IN_ROW]:
            now[Now.LEAD] = NEW_CELL
        now[Now.HELD], now[Now.LINK] = 1, 0


@kernel
def push(tag: int, marks: int, stack: Table, now: Values) -> None:
    depth = now[Now.DEPTH]
    if depth >= DEEPEST:
        now[Now.BEYOND] += 1
        return
    stack[depth] = stack[depth - 1]
    if marks & MAIN:  # what contains the main content is no boilerplate, whatever its name
        stack[depth, Open.MARKS] &= HIDDEN
    stack[depth, Open.MARKS] |= marks
    stack[depth, Open.TAG] = tag
    stack[depth, Open.NESTED] = stack[depth, Open.ITEMS] = 0
    if tag == Tag.UL or tag == Tag.OL:
        stack[depth, Open.LIST] = depth
        stack[depth, Open.LEVEL] += 1
    now[Now.DEPTH] = depth + 1


@kernel
def close_implied(tag: int, stack: Table, now: Values) -> None:
    """End what a start tag ends that needs no end tag: a marked paragraph, and the item, row or cell before."""
    if stack[now[Now.DEPTH] - 1, Open.TAG] == Tag.P:
        now[Now.DEPTH] -= 1
    if tag == Tag.LI:
        unwind(stack, now, Tag.UL, Tag.OL)
    elif tag == Tag.DT or tag == Tag.DD:
        unwind(stack, now, Tag.DL, Tag.DL)
    elif tag == Tag.TR:
        unwind(stack, now, Tag.TABLE, Tag.TABLE)
    elif tag == Tag.TD or tag == Tag.TH:
        unwind(stack, now, Tag.TR, Tag.TABLE)


@kernel
def unwind(stack: Table, now: Values, first: int, second: int) -> None:
    """Close what is open above the nearest element of either tag, if one is near."""
    depth = now[Now.DEPTH]
    for place in range(depth - 1, max(depth - SEARCHED, 0), -1):
        if stack[place, Open.TAG] == first or stack[place, Open.TAG] == second:
            now[Now.DEPTH], now[Now.BEYOND] = place + 1, 0
            return


@kernel
def read_end_tag(
    data: Bytes,
    at: int,
    end: int,
    keys: Keys,
    values: Values,
    text: Bytes,
    blocks: Table,
    stack: Table,
    now: Values,
) -> int:
    """Close the element whose name begins here, and return where its tag ends."""
    if at >= end or not is_letter(data[at]):
        return skip_declaration(data, at, end)  # a bogus comment
    info, at = read_name(data, at, end, keys, values)
    at, _, _ = read_attributes(data, at, end, keys, values, 0)
    tag = info & TAG_MASK
    if tag == Tag.A or tag == Tag.BUTTON:
        now[Now.LINK] = 0
        start, length = max(now[Now.LINK_START], now[Now.START]), now[Now.LENGTH]
        # A sign by which a heading links to itself.
        if (length - start == 1 and text[start] == 0x23) or (
            length - start == 2 and text[start] == 0xC2 and (text[start + 1] == 0xB6 or text[start + 1] == 0xA7)
        ):
            now[Now.LENGTH] = start
            now[Now.LINKED_BYTES] -= length - start
    if info & BLOCK:
        end_block(text, blocks, stack, now, NEW_PARAGRAPH if info & SPACED else NEW_LINE)
    if info:
        close_element(tag, bool(info & CONTAINER), stack, now)
    return at


@kernel
def close_element(tag: int, container: bool, stack: Table, now: Values) -> None:
    if container and now[Now.BEYOND]:
        now[Now.BEYOND] -= 1
        return
    depth = now[Now.DEPTH]
    for place in range(depth - 1, max(depth - SEARCHED, 0), -1):
        found = stack[place, Open.TAG]
        if found == tag:
            if stack[place, Open.NESTED]:
                stack[place, Open.NESTED] -= 1
            else:
                now[Now.DEPTH] = place
            return
        if not container or (found == Tag.TD or found == Tag.TH) and tag != Tag.TABLE and tag != Tag.TR and tag != Tag.TD and tag != Tag.TH:
            return
