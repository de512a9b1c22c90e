"""A raw page on its way from a reader to the table, and what a reader is given beside the stream."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.sources import Kind

__all__ = ["Page", "Reading", "Span", "Unreadable"]

Span = tuple[int, int | None]  # of a file's bytes: a reader takes the records that begin within; no end is the file's


class Unreadable(FromScratchError):
    """A file that is damaged, or not what the recipe says that it is. It costs itself alone, unless no file is left."""


class Page(NamedTuple):
    """One document as it was read; `number` tells the pages of one file apart."""

    kind: Kind
    content: bytes
    number: str | None = None
    url: str | None = None
    title: str | None = None
    charset: str | None = None  # as declared outside the content, such as by HTTP
    strip: str | None = None  # boilerplate to cut from the text, such as "gutenberg"


@dataclass(frozen=True)
class Reading:
    """The file at hand."""

    place: str
    """Archive and member, or path below the source's folder: for messages and addresses."""
    limit_bytes: int
    """What a page may have; longer ones are reported and left out."""
    report: Callable[[str | None, str], None]
    """Called with a page's number, or None for the file, and why it could not be read."""
