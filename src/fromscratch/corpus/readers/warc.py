"""Web-archive files (WARC and WET, ISO 28500): the pages of a crawl, with broken records counted and skipped."""

import re
from collections.abc import Iterator
from typing import IO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.readers.page import Page, Reading
from fromscratch.corpus.readers.streams import TooLarge
from fromscratch.corpus.sources import Kind

__all__ = ["read_warc"]

# How a record begins: as a gzip member, as a zstd frame, or with its version line. Compressed archives have a member
# or a frame for each record, so reading can start again at any of them.
BEGINNINGS = (rb"\x1f\x8b\x08[\x00\x04]", rb"\x28\xb5\x2f\xfd", rb"WARC/[01]\.")
SCAN_BYTES = 1 << 20
KINDS: dict[str | None, Kind] = {"text/html": "html", "application/xhtml+xml": "html", "text/plain": "text"}


def read_warc(stream: IO[bytes], reading: Reading) -> Iterator[Page]:
    """Pages of HTML and plain text that were answered with status 200, and the texts of WET files.

    A broken record ends fastwarc's iteration, so reading starts again at the next beginning of a record. Raises
    FromScratchError for a file without any record.
    """
    beginning = _beginning(stream, reading)
    start: int | None = 0
    reported = False  # whether the record at `start` is known to be broken
    while start is not None:
        last, within = start, False  # the last record begun, and whether it is still being read
        found = False
        stream.seek(start)
        try:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.any_type, auto_decode="all"):
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
        else:
            if not found and not reported:
                reading.report(str(start), "the record is cut off")
            reported = False
        start = _find(stream, beginning, last + 1)


def _beginning(stream: IO[bytes], reading: Reading) -> re.Pattern[bytes]:
    first = stream.read(16)
    for pattern in map(re.compile, BEGINNINGS):
        if pattern.match(first):
            return pattern
    raise FromScratchError(
        f"{reading.place}: not a WARC file (it begins with {first!r})", "a format other than `warc` may read it"
    )


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
