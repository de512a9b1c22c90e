"""HTML to blocks of text: one compiled walk over the bytes of pages, which never builds a tree.

What it keeps instead is a stack of the sections that are open. Time and memory are linear in the input, whatever it
holds: every byte is consumed once, and a search in the stack has a bound. So nothing can hang it, as pages can hang
parsers that build trees, and it runs in the process of its caller.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.extraction.html_syntax import (
    BLANK,
    LESS_THAN,
    LINE_FEED,
    Bytes,
    Keys,
    Values,
    begins_markup,
    find_text_end,
    is_letter,
    is_space,
    is_wide,
    lower,
    raw_end,
    read_attributes,
    read_character,
    read_name,
    read_reference,
    skip_declaration,
)
from fromscratch.corpus.extraction.html_tables import (
    ALONE,
    ASIDE,
    BLOCK,
    CONTAINER,
    EXCUSE,
    HIDDEN,
    HINTED,
    MAIN,
    MARKS_AT,
    PRE,
    RAW,
    SILENT,
    SPACED,
    TAG_BITS,
    WHOLE,
    Tag,
)
from fromscratch.corpus.kernels.measure import kernel

__all__ = ["BULLET", "NEW_CELL", "NEW_LINE", "NEW_PARAGRAPH", "Block", "Page", "Table", "read_blocks"]

Table = NDArray[np.int32]


class Block(IntEnum):
    """Columns of a block: a run of text without a boundary of paragraphs, items or cells."""

    START = 0  # in the text
    END = 1
    LINKED_BYTES = 2  # of its text, within links, buttons and labels of forms
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


class Now(IntEnum):
    """Where the walk stands: what changes from tag to tag."""

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
DELETE = 0x7F
# Packed characters: the bytes of their UTF-8 over the number of these.
LITERAL_LESS_THAN, NO_BREAK_SPACE, SOFT_HYPHEN = 1 | LESS_THAN << 8, 0xA0C202, 0xADC202
ZERO_WIDTH_SPACE, BYTE_ORDER_MARK = 0x8B80E203, 0xBFBBEF03


@kernel
def read_blocks(data: Bytes, starts: Values, ends: Values, keys: Keys, values: Values) -> tuple[Bytes, Table, Table]:
    """Text, blocks int32[blocks, Block] and pages int32[pages, Page] of the pages data[starts[i]:ends[i]] in UTF-8,
    which are shorter than 1.7 GB together.

    In the text spaces are collapsed and character references resolved. ``keys`` and ``values`` are `html_tables()`.
    """
    total = 0
    for number in range(len(starts)):
        total += ends[number] - starts[number]
    # No reference is shorter than 5/6 of what it stands for, and no block than `<p>` and a letter. What stays unused of
    # this memory is never touched and so never taken.
    text = np.empty(total * 6 // 5 + 16, np.uint8)
    blocks = np.empty((total // 4 + 2 * len(starts) + 2, BLOCK_COLUMNS), np.int32)
    stack = np.zeros((DEEPEST, OPEN_COLUMNS), np.int32)
    pages = np.zeros((len(starts), PAGE_COLUMNS), np.int32)
    now = np.zeros(NOW_ENTRIES, np.int64)
    for number in range(len(starts)):
        length, count = now[Now.LENGTH], now[Now.BLOCKS]
        now[:] = 0
        now[Now.LENGTH], now[Now.BLOCKS], now[Now.START], now[Now.DEPTH] = length, count, length, 1
        pages[number, Page.FIRST_BLOCK] = count
        read_page(data, starts[number], ends[number], keys, values, text, blocks, stack, now, pages[number])
        pages[number, Page.LAST_BLOCK] = now[Now.BLOCKS]
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
        marks = stack[now[Now.DEPTH] - 1, Open.MARKS]
        at = (
            find_text_end(data, at, end)
            if marks & SILENT
            else read_text(data, at, end, keys, values, text, now, marks & PRE)
        )
        if at >= end:
            break
        following = data[at + 1]  # there is one, or no markup would begin here
        if following == 0x2F:  # </
            at = read_end_tag(data, at + 2, end, keys, values, text, blocks, stack, now)
        elif following == 0x21 or following == 0x3F:  # <! or <?
            if at - start < WHOLE_WITHIN and at + 2 < end and lower(data[at + 2]) == 0x64:  # doctype
                page[Page.WHOLE] = 1
            at = skip_declaration(data, at + 1, end)
        else:
            at = read_start_tag(
                data, at + 1, end, keys, values, text, blocks, stack, now, page, at - start < WHOLE_WITHIN
            )
    end_block(text, blocks, stack, now, NEW_PARAGRAPH)


@kernel
def read_start_tag(
    data: Bytes,
    name_start: int,
    end: int,
    keys: Keys,
    values: Values,
    text: Bytes,
    blocks: Table,
    stack: Table,
    now: Values,
    page: Table,
    is_early: bool,
) -> int:
    """Open the element whose name begins here, and return where its tag, or its raw text, ends."""
    info, name_end = read_name(data, name_start, end, keys, values)
    if info & WHOLE and is_early:
        page[Page.WHOLE] = 1
    at, marks, link = read_attributes(data, name_end, end, keys, values, info)
    if not info & RAW:
        open_element(info, marks, link, text, blocks, stack, now)
        return at
    content_end = raw_end(data, at, end, name_start, name_end)
    if info & TAG_MASK == Tag.TITLE and page[Page.TITLE_END] == 0:
        read_title(data, at, content_end, keys, values, text, blocks, stack, now, page)
    return content_end


@kernel
def read_text(
    data: Bytes, at: int, end: int, keys: Keys, values: Values, text: Bytes, now: Values, preformatted: int
) -> int:
    """Append the text up to the next markup, and return where that is."""
    begun = length = now[Now.LENGTH]
    start, space = now[Now.START], now[Now.SPACE]
    while at < end:
        byte = data[at]
        if BLANK < byte < DELETE and byte != LESS_THAN and byte != 0x26:  # &
            if space:
                length = write_space(text, start, length, space, byte, 0)
                space = 0
            text[length] = byte
            length += 1
            at += 1
            continue
        if byte == LESS_THAN and begins_markup(data, at, end):
            break
        if byte == 0x26:  # not in a function of its own, which took a third of the speed
            value, at = read_reference(data, at, end, keys, values)
        elif byte > DELETE:
            value, at = read_character(data, at, end)
        else:
            value, at = 1 | int(byte) << 8, at + 1
        first, second = value >> 8 & 0xFF, value >> 16 & 0xFF
        if is_space(first) or value == NO_BREAK_SPACE:
            if not preformatted:
                space = max(space, 2 if first == LINE_FEED else 1)
            elif first != 0x0D and (length > start or first != LINE_FEED):  # a line feed that begins it is none
                text[length] = first if first < DELETE else BLANK
                length += 1
        elif first > BLANK and value not in (1 | DELETE << 8, SOFT_HYPHEN, ZERO_WIDTH_SPACE, BYTE_ORDER_MARK):
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
            length = now[Now.LENGTH]
            if now[Now.SPACE]:
                length = write_space(text, now[Now.START], length, 1, LESS_THAN, 0)
            text[length] = LESS_THAN
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
        block[Block.MARKS], block[Block.LEVEL] = stack[top, Open.MARKS], stack[top, Open.LEVEL]
        block[Block.LEAD], block[Block.MARKER] = now[Now.LEAD], now[Now.MARKER]
        now[Now.BLOCKS] += 1
        now[Now.LEAD], now[Now.HELD], now[Now.FRESH], now[Now.MARKER], now[Now.IN_ROW] = NEW_LINE, 0, 0, 0, 1
    now[Now.LENGTH] = now[Now.START] = length
    now[Now.SPACE] = now[Now.LINKED_BYTES] = 0
    if not now[Now.HELD]:
        now[Now.LEAD] = max(now[Now.LEAD], lead)


@kernel
def open_element(info: int, marks: int, link: bool, text: Bytes, blocks: Table, stack: Table, now: Values) -> None:
    tag = info & TAG_MASK
    if tag == Tag.A or tag == Tag.BUTTON or tag == Tag.LABEL:
        now[Now.LINK] = link or tag != Tag.A
        now[Now.LINK_START] = now[Now.LENGTH]
    elif tag == Tag.BR:
        break_line(text, now)
    if info & BLOCK:
        end_block(text, blocks, stack, now, NEW_PARAGRAPH if info & SPACED else NEW_LINE)
        close_implied(tag, stack, now)
    marks |= info >> MARKS_AT
    if marks & HIDDEN and not info & BLOCK:
        marks |= SILENT  # part of a line, whose other parts are seen
    if marks & EXCUSE:
        marks &= ~(HINTED | ASIDE)
    if info & CONTAINER or (marks & (HIDDEN | HINTED) and info and tag != Tag.BR and tag != Tag.HR):
        push(tag, marks & ~(EXCUSE | ALONE), stack, now)
    elif info and stack[now[Now.DEPTH] - 1, Open.TAG] == tag:
        stack[now[Now.DEPTH] - 1, Open.NESTED] += 1
    begin_item(tag, stack, now)


@kernel
def break_line(text: Bytes, now: Values) -> None:
    """End the line, though not to leave more than one empty."""
    length, ended = now[Now.LENGTH], 0
    while length - ended > now[Now.START] and ended < 2 and text[length - ended - 1] == LINE_FEED:
        ended += 1
    if length > now[Now.START] and ended < 2:
        text[length] = LINE_FEED
        now[Now.LENGTH] += 1
    now[Now.SPACE] = 0


@kernel
def begin_item(tag: int, stack: Table, now: Values) -> None:
    """How the first block of an item, row or cell is set off and marked."""
    if tag == Tag.UL or tag == Tag.OL or tag == Tag.TABLE:
        now[Now.FRESH] = stack[now[Now.DEPTH] - 1, Open.LEVEL] < 2  # a list within a list is not set off
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
    data: Bytes, at: int, end: int, keys: Keys, values: Values, text: Bytes, blocks: Table, stack: Table, now: Values
) -> int:
    """Close the element whose name begins here, and return where its tag ends."""
    if at >= end or not is_letter(data[at]):
        return skip_declaration(data, at, end)  # a bogus comment
    info, at = read_name(data, at, end, keys, values)
    at, _, _ = read_attributes(data, at, end, keys, values, 0)
    tag = info & TAG_MASK
    if tag == Tag.A or tag == Tag.BUTTON or tag == Tag.LABEL:
        now[Now.LINK] = 0
        drop_permalink(text, now)
    if info & BLOCK:
        end_block(text, blocks, stack, now, NEW_PARAGRAPH if info & SPACED else NEW_LINE)
    if info:
        close_element(tag, bool(info & CONTAINER), stack, now)
    return at


@kernel
def drop_permalink(text: Bytes, now: Values) -> None:
    """Take back a link that is nothing but #, ¶ or §, by which headings link to themselves."""
    begun, length = max(now[Now.LINK_START], now[Now.START]), now[Now.LENGTH]
    start = begun + (length > begun and text[begun] == BLANK)
    if (length - start == 1 and text[start] == 0x23) or (
        length - start == 2 and text[start] == 0xC2 and (text[start + 1] == 0xB6 or text[start + 1] == 0xA7)
    ):
        now[Now.LENGTH], now[Now.SPACE] = begun, start - begun
        now[Now.LINKED_BYTES] -= length - begun


@kernel
def close_element(tag: int, is_container: bool, stack: Table, now: Values) -> None:
    """Close the nearest element of the tag and what is open within it; no cell is left but by a table's own parts."""
    if is_container and now[Now.BEYOND]:
        now[Now.BEYOND] -= 1
        return
    is_part = tag == Tag.TABLE or tag == Tag.TR or tag == Tag.TD or tag == Tag.TH
    depth = now[Now.DEPTH]
    for place in range(depth - 1, max(depth - SEARCHED, 0), -1):
        found = stack[place, Open.TAG]
        if found == tag and stack[place, Open.NESTED]:
            stack[place, Open.NESTED] -= 1
            return
        if found == tag:
            now[Now.DEPTH] = place
            return
        if not is_container or ((found == Tag.TD or found == Tag.TH) and not is_part):
            return
