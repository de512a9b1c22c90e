"""One HTML page to text, and the child process in which pages are parsed so that a poisonous one harms nobody else.

`extract.py` starts the child as `python -m fromscratch.corpus.extraction.markup KIND`. It reads a group of pages from
stdin and answers each on stdout as soon as it is done, so that its parent knows over which page it died.
"""

import importlib
import re
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO, cast

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree

from fromscratch.corpus.extraction.encodings import decode

__all__ = ["ANSWER", "FAILED", "GROUP", "PAGE", "READY", "UNDECODABLE", "html_text", "main", "precise_text"]

READY = b"ready"  # said once, before anything is asked
GROUP = struct.Struct("<Id")  # number of pages that follow, processor seconds that each may take
PAGE = struct.Struct("<II")  # bytes of the declared charset, of the content
ANSWER = struct.Struct("<Bii")  # outcome, bytes of the title (-1: none), of the text
DONE, FAILED, UNDECODABLE = range(3)

# What only a whole document has. Without it, "main content" has no meaning and nothing may be thrown away.
DOCUMENT = re.compile(r"<\s*(?:!doctype|html|body|head)\b", re.IGNORECASE)
DOCUMENT_WITHIN = 4096
DEPTH_OF_NAVIGATION = 3  # below the body, to which resiliparse expects navigation
SHALLOW_LISTS = "body > ul, body > * > ul, body > * > * > ul"
BLANK_LINES = re.compile(r"\n{3,}")


def html_text(html: str) -> tuple[str | None, str]:
    """Title and text of a page or a fragment, with paragraphs, list items and preformatted lines kept apart.

    Of a whole page only the main content is taken (resiliparse: Bevendorff et al., 2018 and 2023), of a fragment all.
    """
    tree = HTMLTree.parse(html)
    whole = DOCUMENT.search(html, 0, DOCUMENT_WITHIN) is not None
    if whole:
        _lower_lists(tree)
    text = extract_plain_text(tree, main_content=whole, alt_texts=False)
    title = " ".join(tree.title.split()) if whole and tree.title else None
    return title or None, BLANK_LINES.sub("\n\n", text).strip()


def _lower_lists(tree: HTMLTree) -> None:
    """Wrap lists near the root, each of which resiliparse takes for the navigation of a site, whatever it says.

    On plain pages of documentation that rule alone cost up to three quarters of the text. Lower down it looks at the
    share of links, and so lists of links still go.
    """
    for each in tree.body.query_selector_all(SHALLOW_LISTS) if tree.body else ():
        for _ in range(DEPTH_OF_NAVIGATION):
            around = cast(ElementNode, tree.create_element("div"))
            each.replace_with(around)
            around.append_child(each)


def precise_text(html: str) -> tuple[str | None, str]:
    """Title and text of a page by trafilatura (Barbaresi, 2021), set for precision; a fragment is taken whole."""
    if DOCUMENT.search(html, 0, DOCUMENT_WITHIN) is None:
        return html_text(html)
    title = HTMLTree.parse(html).title
    trafilatura = importlib.import_module("trafilatura")  # an optional extra, and slow to load
    text = trafilatura.extract(html, favor_precision=True, include_comments=False, deduplicate=True)
    return " ".join((title or "").split()) or None, text or ""


def main(kind: str) -> None:
    """Answer pages until stdin ends. A page that takes too long ends the process by SIGPROF, whatever it is doing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our stdin
    read = precise_text if kind == "trafilatura" else html_text
    pages, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while head := pages.read(GROUP.size):
        count, timeout_seconds = GROUP.unpack(head)
        for charset, content in [_receive(pages) for _ in range(count)]:
            signal.setitimer(signal.ITIMER_PROF, timeout_seconds)
            answer = _answer(charset, content, read)
            signal.setitimer(signal.ITIMER_PROF, 0)
            answers.write(answer)
            answers.flush()


def _receive(pages: BinaryIO) -> tuple[str | None, bytes]:
    charset_bytes, content_bytes = PAGE.unpack(pages.read(PAGE.size))
    charset = pages.read(charset_bytes).decode()
    return charset or None, pages.read(content_bytes)


def _answer(charset: str | None, content: bytes, read: Callable[[str], tuple[str | None, str]]) -> bytes:
    outcome, title, text = DONE, None, ""
    try:
        html = decode(content, charset)
        if html is None:
            outcome = UNDECODABLE
        else:
            title, text = read(html)
    except Exception:  # whatever a page can make a parser raise: it is that page's outcome and is recorded as such
        outcome = FAILED
    title_utf8, text_utf8 = (title or "").encode(errors="replace"), text.encode(errors="replace")
    title_bytes = -1 if title is None else len(title_utf8)
    return ANSWER.pack(outcome, title_bytes, len(text_utf8)) + title_utf8 + text_utf8


if __name__ == "__main__":
    main(sys.argv[1])
