"""What the HTML kernels look up: elements, character references, the words by which pages name boilerplate."""

import html.entities
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fromscratch.corpus.kernels.measure import HASH_FACTOR, HASH_START, hash_table, slot_of

__all__ = [
    "ALONE",
    "ARTICLE",
    "ASIDE",
    "BLOCK",
    "CELL",
    "CONTAINER",
    "EXCUSE",
    "FOOTER",
    "HEADER",
    "HEADING",
    "HIDDEN",
    "HINTED",
    "MAIN",
    "MARKS_AT",
    "NAMED",
    "NAVIGATION",
    "OF_BEGINNING",
    "OF_REFERENCE",
    "OF_ROLE",
    "OF_TAG",
    "OF_WORD",
    "PRE",
    "RAW",
    "SILENT",
    "SPACED",
    "TAG_BITS",
    "WHOLE",
    "HtmlTables",
    "Tag",
    "html_tables",
]

# Where the hash begins: different for each kind of names.
OF_TAG, OF_REFERENCE, OF_WORD, OF_BEGINNING, OF_ROLE = (
    np.uint64((int(HASH_START) ^ kind) * int(HASH_FACTOR) & (1 << 64) - 1) for kind in (1, 2, 3, 4, 5)
)


class Tag(IntEnum):
    """Elements that the kernels treat each in its own way; the others are told by their traits alone."""

    OTHER = 0
    A = 1
    BR = 2
    BUTTON = 3
    DD = 4
    DL = 5
    DT = 6
    HR = 7
    LI = 8
    OL = 9
    P = 10
    TABLE = 11
    TD = 12
    TH = 13
    TITLE = 14
    TR = 15
    UL = 16
    DIV = 17
    ARTICLE = 18
    ASIDE = 19
    BLOCKQUOTE = 20
    FOOTER = 21
    FORM = 22
    HEADER = 23
    MAIN = 24
    NAV = 25
    PRE = 26
    SECTION = 27
    HEADING = 28
    FIGURE = 29
    BODY = 30
    SPAN = 31
    OTHER_BLOCK = 32
    LABEL = 33


# Marks of a section, which hold for all that is in it, and of a block.
NAVIGATION, HEADER, FOOTER, ASIDE, HIDDEN, HINTED, MAIN, ARTICLE, PRE, HEADING, CELL, SILENT = (
    1 << bit for bit in range(12)
)

# What an element is: its tag in the lowest bits, then traits, then the marks that it gives.
TAG_BITS = 6
BLOCK, SPACED, CONTAINER, RAW, WHOLE, NAMED = (1 << bit for bit in range(TAG_BITS, TAG_BITS + 6))
MARKS_AT = TAG_BITS + 6

ELEMENTS: dict[str, int] = {
    # Contents that are no text of the page: skipped up to the end tag, as a browser without scripts skips them, and
    # beyond that what is no running text (choices of a form, drawings, what is shown when scripts are off).
    **dict.fromkeys(("script", "style", "iframe", "noembed", "noframes", "noscript", "xmp", "template"), RAW),
    **dict.fromkeys(("textarea", "select", "datalist", "svg", "audio", "video", "canvas", "object", "map"), RAW),
    "title": RAW | Tag.TITLE,
    **dict.fromkeys(("html", "head"), WHOLE),
    "body": WHOLE | BLOCK | Tag.BODY,
    "a": Tag.A,
    "button": Tag.BUTTON,
    "label": Tag.LABEL,
    "br": Tag.BR,
    "hr": Tag.HR | BLOCK | SPACED,
    "p": Tag.P | BLOCK | SPACED,
    "div": Tag.DIV | NAMED | BLOCK | CONTAINER,
    "section": Tag.SECTION | NAMED | BLOCK | SPACED | CONTAINER,
    "article": Tag.ARTICLE | BLOCK | SPACED | CONTAINER | ARTICLE << MARKS_AT,
    "main": Tag.MAIN | BLOCK | SPACED | CONTAINER | MAIN << MARKS_AT,
    "nav": Tag.NAV | NAMED | BLOCK | SPACED | CONTAINER | NAVIGATION << MARKS_AT,
    "menu": Tag.UL | NAMED | BLOCK | SPACED | CONTAINER,
    "header": Tag.HEADER | NAMED | BLOCK | SPACED | CONTAINER | HEADER << MARKS_AT,
    "footer": Tag.FOOTER | NAMED | BLOCK | SPACED | CONTAINER | FOOTER << MARKS_AT,
    "aside": Tag.ASIDE | NAMED | BLOCK | SPACED | CONTAINER | ASIDE << MARKS_AT,
    "form": Tag.FORM | NAMED | BLOCK | CONTAINER,
    "blockquote": Tag.BLOCKQUOTE | BLOCK | SPACED | CONTAINER,
    "figure": Tag.FIGURE | BLOCK | SPACED | CONTAINER,
    "pre": Tag.PRE | BLOCK | SPACED | CONTAINER | PRE << MARKS_AT,
    "listing": Tag.PRE | BLOCK | SPACED | CONTAINER | PRE << MARKS_AT,
    "ul": Tag.UL | NAMED | BLOCK | SPACED | CONTAINER,
    "ol": Tag.OL | NAMED | BLOCK | SPACED | CONTAINER,
    "dl": Tag.DL | NAMED | BLOCK | SPACED | CONTAINER,
    "li": Tag.LI | BLOCK | CONTAINER,
    "dt": Tag.DT | BLOCK | CONTAINER,
    "dd": Tag.DD | BLOCK | CONTAINER,
    "table": Tag.TABLE | NAMED | BLOCK | SPACED | CONTAINER,
    "tr": Tag.TR | BLOCK | CONTAINER,
    "td": Tag.TD | NAMED | BLOCK | CONTAINER | CELL << MARKS_AT,
    "th": Tag.TH | BLOCK | CONTAINER | CELL << MARKS_AT,
    **dict.fromkeys(
        (f"h{level}" for level in range(1, 7)), Tag.HEADING | BLOCK | SPACED | CONTAINER | HEADING << MARKS_AT
    ),
    **dict.fromkeys(("address", "center", "details", "dialog", "dir", "fieldset", "hgroup"), Tag.OTHER_BLOCK | BLOCK),
    **dict.fromkeys(("figcaption", "caption", "legend", "summary", "tbody", "thead"), Tag.OTHER_BLOCK | BLOCK),
    **dict.fromkeys(("tfoot", "optgroup", "option", "frameset"), Tag.OTHER_BLOCK | BLOCK),
    "span": Tag.SPAN,
}
ROLES = {
    **dict.fromkeys(("navigation", "menu", "menubar", "menuitem", "tablist", "toolbar"), NAVIGATION),
    "banner": HEADER,
    "contentinfo": FOOTER,
    "complementary": ASIDE,
    **dict.fromkeys(("search", "dialog", "alert", "alertdialog", "tooltip"), HINTED),
    "main": MAIN,
    "article": ARTICLE,
}
EXCUSE, ALONE = 1 << 30, 1 << 29  # takes the others back; holds only of a class or id that is nothing but the word
# Words of `class` and `id`, some in pinyin. After the expressions of resiliparse and of Readability.
VOCABULARY = {
    HINTED: (
        "ad ads adsense adv bottombar breadcrumb breadcrumbs caidan copyright crumb crumbs daohang dibu docnav foot "
        "footer footnav globalnav gotop guanggao lightbox links login logo mainnav megamenu menu menubar menus "
        "mianbaoxie minicart mobilenav modal nav newsletter overlay pager pages paging pagination popup search "
        "searchbar searchbox searchform share sharing shoucang sidenav signin signup sitemap skip skiplink skiplinks "
        "social socialmedia sponsor sponsored submenu subnav subscribe toolbar topbar topmenu topnav youqing"
    ),
    ASIDE: "aside banner dropdown masthead promo promoted related sidebar sphinxsidebar tabs widget widgets",
    HIDDEN | ALONE: "hidden invisible hide",
    # A wrapper says what it wraps, a layout what it stands beside: neither is it. A section is named by its heading.
    EXCUSE: "wrap wrapper has with without no layout",
    EXCUSE | ALONE: "section",
}
BEGINNINGS = "navbar navig navhead navfoot navmenu breadcrumb footer cookie advert paginat sharethis addthis"  # HINTED


class HtmlTables(NamedTuple):
    """One open hash table for all of them; `values[slot_of(keys, hash)]` where `keys` has the hash there."""

    keys: NDArray[np.uint64]
    values: NDArray[np.int64]


def hash_of_name(name: str, kind: np.uint64) -> np.uint64:
    hashed = int(kind)
    for byte in name.encode():
        hashed = (hashed ^ byte) * int(HASH_FACTOR) & (1 << 64) - 1
    return np.uint64(hashed)


def packed(text: str) -> int:
    """Up to six bytes of UTF-8 with their number in the lowest byte."""
    content = text.encode()
    return len(content) | int.from_bytes(content, "little") << 8


@cache
def html_tables() -> HtmlTables:
    """Built once in a process. The names of character references come from Python's `html.entities`."""
    entries = {hash_of_name(name, OF_TAG): value for name, value in ELEMENTS.items()}
    entries |= {hash_of_name(name, OF_REFERENCE): packed(text) for name, text in html.entities.html5.items()}
    entries |= {hash_of_name(name, OF_ROLE): marks for name, marks in ROLES.items()}
    entries |= {hash_of_name(beginning, OF_BEGINNING): HINTED for beginning in BEGINNINGS.split()}
    for value, words in VOCABULARY.items():
        entries |= {hash_of_name(word, OF_WORD): value for word in words.split()}
    keys = hash_table(len(entries))
    values = np.zeros(len(keys), np.int64)
    for key, value in entries.items():
        slot = slot_of(keys, key)
        keys[slot], values[slot] = key, value
    return HtmlTables(keys, values)
