"""Web-archive files (WARC and WET, ISO 28500): the pages of a crawl, with broken records counted and skipped."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from fromscratch.corpus.readers.page import Page, Reading, Span, Unreadable
from fromscratch.corpus.readers.streams import TooLarge
from fromscratch.corpus.sources import Kind

__all__ = ["read_warc"]

# How a record begins: as a gzip member, as a zstd frame, or with its version line. Compressed archives have a member
# or a frame for each record, so reading can start again at any of them.
GZIP, ZSTD, PLAIN = (re.compile(each) for each in (rb"\x1f\x8b\x08[\x00\x04]", rb"\x28\xb5\x2f\xfd", rb"WARC/[01]\."))
LENGTH = re.compile(rb"\r\nContent-Length: *(\d{1,18})\r\n", re.IGNORECASE)
SCAN_BYTES = 1 << 18
HEAD_BYTES = 1 << 14  # more than any record's header has
KINDS: dict[str | None, Kind] = {"text/html": "html", "application/xhtml+xml": "html", "text/plain": "text"}


def read_warc(stream: IO[bytes], reading: Reading, span: Span = (0, None)) -> Iterator[Page]:
    """Pages of HTML and plain text that were answered with status 200, and the texts of WET files.

    Of a span, the records from the first that begins within it to the first that begins behind it: whatever the cuts,
    each record falls to one span. (Where a crawl has itself fetched a WARC file, a cut within that record may begin
    with the records of the inner file.) A broken record ends fastwarc's iteration, so reading starts again at the next
    sound beginning. Raises Unreadable for a file without any record.
    """
    beginning = _beginning(stream, reading)
    start = _first_record(stream, beginning, span[0])
    end = None if span[1] is None else _first_record(stream, beginning, span[1])
    reported = False  # whether the record at `start` is known to be broken
    while start is not None and (end is None or start < end):
        last, within = start, False  # the last record begun, and whether it is still being read
        found = False
        search: Callable[..., int | None] = _first_record
        stream.seek(start)
        try:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.any_type, auto_decode="all"):
                if end is not None and record.stream_pos >= end:
                    return
                last, found, within = record.stream_pos, True, True
                page = _page(record, reading)
                within = False
                if page is not None:
                    yield page
        except OSError as error:
            if within:
                reading.report(str(last), str(error))
            elif found:
                reading.report(None, f"{error}, in the record after the one at byte {last:,}")
            elif not reported:
                reading.report(str(start), str(error))
            reported = found and not within
            search = _find  # the next one may be broken, too, and is to be counted
        else:
            if not found and not reported:
                reading.report(str(start), "the record is cut off")
            reported = False
        start = search(stream, beginning, last + 1)


def _beginning(stream: IO[bytes], reading: Reading) -> re.Pattern[bytes]:
    """How the records of this file begin. Its own beginning may be damaged."""
    first = stream.read(SCAN_BYTES)
    for search in (re.Pattern.match, re.Pattern.search):
        for pattern in (GZIP, ZSTD, PLAIN):
            if search(pattern, first):
                return pattern
    raise Unreadable(
        f"{reading.place}: not a WARC file (it begins with {first[:16]!r})", "a format other than `warc` may read it"
    )


def _first_record(stream: IO[bytes], beginning: re.Pattern[bytes], cut: int) -> int | None:
    """The offset of the first record that begins at or after the cut; both spans beside a cut find the same one."""
    start: int | None = cut
    while start and (start := _find(stream, beginning, start)) is not None and not _is_record(stream, beginning, start):
        start += 1
    return start


def _is_record(stream: IO[bytes], beginning: re.Pattern[bytes], start: int) -> bool:
    """Whether the bytes at ``start``, which look like the beginning of a record, are one."""
    stream.seek(start)
    head = stream.read(HEAD_BYTES)
    try:
        if beginning is GZIP:
            return b"WARC/".startswith(zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 5))  # it may be cut
        if beginning is ZSTD:
            return bytes(pa.CompressedInputStream(pa.BufferReader(head), "zstd").read(5)) == b"WARC/"
    except (zlib.error, OSError):
        return False
    body, length = head.find(b"\r\n\r\n") + 4, LENGTH.search(head)
    if body < 4 or length is None or length.end() > body:
        return False
    stream.seek(start + body + int(length[1]))  # a page may show a record; only a real one ends where it says
    return stream.read(4) == b"\r\n\r\n"


def _find(stream: IO[bytes], beginning: re.Pattern[bytes], start: int) -> int | None:
    """The next offset at or after ``start`` where a record may begin."""
    stream.seek(start)
    tail = b""
    while chunk := stream.read(SCAN_BYTES):
        window = tail + chunk
        if match := beginning.search(window):
            return start + match.start()
        tail = window[-8:]
        start += len(window) - len(tail)
    return None


def _page(record: WarcRecord, reading: Reading) -> Page | None:
    """The page in a record, or None where it has none for us. Raises OSError for a record that is not all there."""
    number = str(record.stream_pos)
    if not (record.headers.get("Content-Length") or "").isdigit():
        raise OSError("a record without a length")  # where a file was cut within a header
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>") or None
    if record.record_type == WarcRecordType.conversion:
        kind: Kind | None = "text"
    elif record.record_type == WarcRecordType.response and record.is_http:
        if record.http_headers is None or record.http_headers.status_code is None:
            raise OSError("a response without an HTTP header")
        kind = KINDS.get(record.http_content_type) if record.http_headers.status_code == 200 else None
    else:
        kind = None
    if kind is None:
        return None
    stated_bytes = record.content_length
    content = record.reader.read(reading.limit_bytes + 1)
    if len(content) > reading.limit_bytes:
        reading.report(number, str(TooLarge(reading.limit_bytes)))
        return None
    encoded = record.http_headers is not None and any(
        record.http_headers.get(name) for name in ("Content-Encoding", "Transfer-Encoding")
    )
    if not encoded and len(content) < stated_bytes:
        raise OSError(f"the record ends after {len(content):,} of {stated_bytes:,} bytes")
    return Page(kind, content, number, url, charset=record.http_charset)
