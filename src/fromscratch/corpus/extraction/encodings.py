"""Bytes to text: marked, declared and guessed encodings, with Chinese ones told from Western ones."""

import codecs
import re
from collections.abc import Iterator

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

__all__ = ["decode", "sniff_encoding"]

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins alike
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# `<meta charset=…>`, `<meta … content="text/html; charset=…">`, and the declarations of XML, CSS and Python.
DECLARATION = re.compile(rb"""(?:charset|coding)\s*[=:]\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
DECLARED_WITHIN_BYTES = 1024
GUESSED_FROM_BYTES = 1 << 16
# Pages name an older set and use the newer one that contains it.
LARGER_SETS = {"gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949"}
DAMAGE_TOLERATED = 0.1  # undecodable parts of what is not ASCII: a wrong encoding spoils nearly all of that
CONTROLS_TOLERATED = 0.01  # control characters of all characters: binary files have far more
CONTROLS = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")


def decode(content: bytes, declared: str | None = None) -> str | None:
    """The text of a page, or None for what is no text in any encoding. Line ends become ``\\n``; a mark is dropped.

    Tried in order: the byte-order mark, UTF-8, the encoding in ``declared`` (as HTTP has it), the one that the page
    itself declares, the one that uchardet guesses, and Windows-1252, which decodes nearly everything.
    """
    for encoding in _candidates(content, declared):
        text = _decode_as(content, encoding)
        if text is not None:
            return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return None


def sniff_encoding(beginning: bytes) -> str:
    """The encoding of a stream that begins with these bytes; a character may be cut at their end."""
    for encoding in _candidates(beginning, None):
        try:
            codecs.getincrementaldecoder(encoding)().decode(beginning)
        except UnicodeDecodeError:
            continue
        return encoding
    return "utf-8"


def _candidates(content: bytes, declared: str | None) -> Iterator[str]:
    for mark, encoding in MARKS:
        if content.startswith(mark):
            yield encoding
            return
    if wide := _unmarked_utf16(content):
        yield wide
    yield "utf-8"
    if declared:
        yield from _python_name(declared)
    if match := DECLARATION.search(content, 0, DECLARED_WITHIN_BYTES):
        yield from _python_name(match[1].decode("ascii"))
    yield from _python_name(detect_encoding(content, max_len=GUESSED_FROM_BYTES, html5_compatible=False) or "")
    yield "cp1252"


def _python_name(label: str) -> Iterator[str]:
    """Python's name for a label of the WHATWG Encoding Standard; nothing for an unknown label."""
    name = map_encoding_to_html5(label.strip().lower(), fallback_utf8=False)
    if name is not None and name != "utf-8":  # UTF-8 has been tried
        yield LARGER_SETS.get(name, name)


def _unmarked_utf16(content: bytes) -> str | None:
    """Told by the zero bytes that ASCII has in UTF-16: nearly all of them on one side of the pairs."""
    if b"\0" not in content[:DECLARED_WITHIN_BYTES] or len(content) % 2:
        return None
    beginning = content[:GUESSED_FROM_BYTES]
    first, second = beginning[::2].count(0), beginning[1::2].count(0)
    if max(first, second) < len(beginning) / 20 or min(first, second) > max(first, second) / 20:
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def _decode_as(content: bytes, encoding: str) -> str | None:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode(encoding, errors="replace")
        others = len(text) - len(text.encode("ascii", errors="ignore"))
        if text.count("\ufffd") > DAMAGE_TOLERATED * others:
            return None
    else:
        if encoding == "utf-8" and "\0" not in text:
            return text  # the common case, without a search
    if len(CONTROLS.findall(text)) > CONTROLS_TOLERATED * len(text):
        return None
    return text.replace("\0", "")
