"""The main content of pages out of their blocks of text: by length, by share of links, and by what stands around them.

Shallow features of blocks and their neighbours tell running text from boilerplate (Kohlschütter et al., "Boilerplate
Detection using Shallow Text Features", WSDM 2010); short blocks follow what surrounds them (Pomikálek, jusText, 2011).
Lengths are bytes of UTF-8, since a Han character of three says about as much as three letters.
"""

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.extraction.html import BULLET, NEW_CELL, NEW_LINE, NEW_PARAGRAPH, Block, Page, Table
from fromscratch.corpus.extraction.html_syntax import Bytes
from fromscratch.corpus.extraction.html_tables import (
    ARTICLE,
    ASIDE,
    CELL,
    FOOTER,
    HEADER,
    HEADING,
    HIDDEN,
    HINTED,
    MAIN,
    NAVIGATION,
    PRE,
)
from fromscratch.corpus.kernels.measure import kernel

__all__ = ["choose_texts"]

Scores = NDArray[np.float64]

MAIN_SHARE = 0.25  # of a page's own words that its <main> must have to be taken at its word
MOST = 0.75  # of a page's own words: a section with so many is the content, whatever it is called
DECAY = 0.75  # of what is around a block, from one block to the next
REACH = 150.0  # bytes beyond which a block counts no more for its neighbours
LINK_COST = 0.5  # what a byte in a link counts against bytes outside
BLOCK_COST = 10.0  # a block must have this many bytes to speak for itself
ASIDE_COST = 40.0  # more bytes that a block in a header or beside the content must have
SECTIONS = HEADER | ASIDE | NAVIGATION | FOOTER | HINTED | HIDDEN | MAIN | ARTICLE
CELL_LIMIT = 100  # bytes of table cells that share a line
DEEPEST_INDENT = 8


@kernel
def choose_texts(text: Bytes, blocks: Table, pages: Table) -> tuple[Bytes, NDArray[np.int64]]:
    """UTF-8 data and offsets int64[2·pages + 1]: the text of each page and its title, by turns.

    Of a document only the main content is taken, of a fragment all. No title is an empty one.
    """
    room = len(text) + 2
    for row in range(len(blocks)):
        room += 2 * min(blocks[row, Block.LEVEL], DEEPEST_INDENT) + 16
    written = np.empty(room, np.uint8)
    offsets = np.zeros(2 * len(pages) + 1, np.int64)
    length = 0
    for number in range(len(pages)):
        page = pages[number]
        own = blocks[page[Page.FIRST_BLOCK] : page[Page.LAST_BLOCK]]
        keep = choose(own) if page[Page.WHOLE] else np.ones(len(own), np.bool_)
        length = write_blocks(text, own, keep, written, length)
        offsets[2 * number + 1] = length
        for at in range(page[Page.TITLE_START], page[Page.TITLE_END]):
            written[length] = text[at]
            length += 1
        offsets[2 * number + 2] = length
    return written[:length], offsets


@kernel
def choose(blocks: Table) -> NDArray[np.bool_]:
    """Which blocks are main content.

    A section that is named as boilerplate goes, unless most of the page's own words are in it.
    """
    total = named = aside = main = hidden = 0.0
    for row in range(len(blocks)):
        words = own_words(blocks[row])
        marks = blocks[row, Block.MARKS]
        if marks & HIDDEN:
            hidden += words
            continue
        if marks & NAVIGATION:
            continue
        total += words
        if marks & (HEADER | ASIDE):
            aside += words
        if marks & (HINTED | FOOTER):
            named += words
        elif marks & MAIN:
            main += words
    barred = NAVIGATION
    if hidden < MOST * (total + hidden):
        barred |= HIDDEN
    if named < MOST * total:
        barred |= HINTED | FOOTER
    only_main = main > MAIN_SHARE * total
    scores = np.full(len(blocks), -np.inf)
    row = 0
    while row < len(blocks):
        last = row  # of the cells that share a line, which are judged as one
        while last + 1 < len(blocks) and is_joined(blocks[last + 1], blocks[last]):
            last += 1
        marks = blocks[row, Block.MARKS]
        if not marks & barred and (marks & MAIN or not only_main):
            value = 0.0
            for each in range(row, last + 1):
                value += score(blocks[each], aside < MOST * total)
            scores[row : last + 1] = value / (last + 1 - row)
        row = last + 1
    return warmed(blocks, scores)


@kernel
def is_joined(block: Table, before: Table) -> bool:
    """Whether a block is a cell on one line with the cell before."""
    return bool(block[Block.LEAD] == NEW_CELL and block[Block.END] - before[Block.START] <= CELL_LIMIT)


@kernel
def own_words(block: Table) -> int:
    """Bytes of text outside of links."""
    return int(block[Block.END] - block[Block.START] - block[Block.LINKED_BYTES])


@kernel
def score(block: Table, has_asides: bool) -> float:
    """Bytes that speak for a block, less what speaks against it."""
    marks = block[Block.MARKS]
    cost = 0.0 if marks & (HEADING | PRE) else 2.0 if marks & CELL else BLOCK_COST
    value = own_words(block) - LINK_COST * int(block[Block.LINKED_BYTES]) - cost
    if has_asides and marks & (HEADER | ASIDE) and not marks & ARTICLE:
        value -= ASIDE_COST
    return value


@kernel
def warmed(blocks: Table, scores: Scores) -> NDArray[np.bool_]:
    """Where a block and what is around it come out above zero.

    A block of links belongs to the text before it, as "see also" does, and is not warmed by the text after it, which
    it may be the menu of. Sections that pages set apart do not chill others.
    """
    around = np.zeros((2, len(scores)))
    for side in range(2):
        warmth, section = 0.0, 0
        for step in range(len(scores)):
            row = len(scores) - 1 - step if side else step
            here = blocks[row, Block.MARKS] & SECTIONS
            if here != section:
                warmth = 0.0 if (here | section) & (HEADER | ASIDE) else max(warmth, 0.0)
                section = here
            warmth *= DECAY
            around[side, row] = warmth
            if scores[row] > -np.inf:
                warmth = min(max(warmth + scores[row], -REACH), REACH)
    keep = np.zeros(len(scores), np.bool_)
    for row in range(len(scores)):
        before, after = around[0, row], around[1, row]
        is_linked = own_words(blocks[row]) < blocks[row, Block.LINKED_BYTES]
        keep[row] = scores[row] + (before + min(after, 0.0) if is_linked else before + after) > 0
    return keep


@kernel
def write_blocks(text: Bytes, blocks: Table, keep: NDArray[np.bool_], written: Bytes, length: int) -> int:
    """Append the kept blocks, with what sets them off from each other, and return the length."""
    begun = length
    last = -1
    for row in range(len(blocks)):
        if not keep[row]:
            continue
        block = blocks[row]
        if length > begun:
            lead = block[Block.LEAD]
            if row - last > 1:
                lead = NEW_PARAGRAPH
            elif lead == NEW_CELL and not is_joined(block, blocks[last]):
                lead = NEW_LINE
            if lead == NEW_CELL:
                written[length] = 0x09
                length += 1
            for _ in range(lead):
                written[length] = 0x0A
                length += 1
        if block[Block.MARKER]:
            length = write_marker(block[Block.MARKER], block[Block.LEVEL], written, length)
        for at in range(block[Block.START], block[Block.END]):
            written[length] = text[at]
            length += 1
        last = row
    return length


@kernel
def write_marker(marker: int, level: int, written: Bytes, length: int) -> int:
    """A bullet or the number of a list's item, indented by the lists around the list."""
    for _ in range(2 * (min(level, DEEPEST_INDENT) - 1)):
        written[length] = 0x20
        length += 1
    if marker == BULLET:
        written[length], written[length + 1], written[length + 2] = 0xE2, 0x80, 0xA2
        length += 3
    else:
        digits = 1
        while marker >= 10**digits:
            digits += 1
        for place in range(digits):
            written[length + digits - 1 - place] = 0x30 + marker // 10**place % 10
        written[length + digits] = 0x2E
        length += digits + 1
    written[length] = 0x20
    return length + 1
