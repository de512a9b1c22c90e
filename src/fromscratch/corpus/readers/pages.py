"""Tasks to tables: every page of a task's files, streamed in batches of bounded size."""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa

from fromscratch.corpus.readers.archives import damage_named, open_members
from fromscratch.corpus.readers.docstrings import read_docstrings
from fromscratch.corpus.readers.formats import format_of
from fromscratch.corpus.readers.page import Page, Reading
from fromscratch.corpus.readers.plan import ReadTask
from fromscratch.corpus.readers.records import (
    read_csv,
    read_json_lines,
    read_json_records,
    read_json_values,
    read_parquet,
)
from fromscratch.corpus.readers.streams import TooLarge, read_whole, unpacked
from fromscratch.corpus.readers.warc import read_warc
from fromscratch.corpus.sources import (
    CodeFormat,
    CsvFormat,
    DocstringsFormat,
    Format,
    HtmlFormat,
    JsonLinesFormat,
    JsonRecordsFormat,
    JsonValuesFormat,
    ParquetFormat,
    TextFormat,
    WarcFormat,
)

__all__ = ["PAGES", "PageTables", "read_pages"]

PAGES = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("url", pa.string()),  # the page's own address, else archive or folder, file, and number in the file
        pa.field("title", pa.string()),  # null when the file tells none
        pa.field("license", pa.string()),
        pa.field("language_hint", pa.string()),  # null when the recipe gives none
        pa.field("kind", pa.string()),  # "html", "text" or "code"
        pa.field("content", pa.large_binary()),  # as read, unpacked and not decoded
        pa.field("charset", pa.string()),  # as declared outside the content; null when not
        pa.field("strip", pa.string()),  # boilerplate to cut from the text: "gutenberg" or null
    ]
)
BATCH_BYTES = 4_000_000
BATCH_PAGES = 4_096


def read_pages(task: ReadTask) -> "PageTables":
    """The pages of a task as tables of ``PAGES``, and what could not be read of them."""
    return PageTables(task)


class PageTables:
    """An iterator over a task's tables; ``unreadable`` is complete when it is exhausted.

    Iterating raises FromScratchError for a damaged file. A page too large, a broken WARC record or a malformed line is
    put on ``unreadable`` as ``{"place", "why"}`` and passed over.
    """

    def __init__(self, task: ReadTask) -> None:
        self.unreadable: list[dict[str, str]] = []
        self._task = task
        self._tables = self._read()

    def __iter__(self) -> Iterator[pa.Table]:
        return self

    def __next__(self) -> pa.Table:
        return next(self._tables)

    def _read(self) -> Iterator[pa.Table]:
        rows: list[tuple[str, Page]] = []
        size = 0
        for place, page in self._pages():
            rows.append((place, page))
            size += len(page.content)
            if size >= BATCH_BYTES or len(rows) >= BATCH_PAGES:
                yield _table(self._task, rows)
                rows, size = [], 0
        if rows:
            yield _table(self._task, rows)

    def _pages(self) -> Iterator[tuple[str, Page]]:
        source = self._task.settings
        for name, stream in _open(self._task):
            place = self._task.prefix + name

            def report(number: str | None, why: str, place: str = place) -> None:
                self.unreadable.append({"place": place if number is None else f"{place}#{number}", "why": why})

            reading = Reading(place, int(source.largest_megabytes * 1e6), report)
            style = format_of(name, source.format, self._task.source)
            with damage_named(place):
                try:
                    for page in _read_file(stream, name, style, reading):
                        yield place, page
                except TooLarge as error:
                    report(None, str(error))


def _open(task: ReadTask) -> Iterator[tuple[str, IO[bytes]]]:
    if not task.container.is_dir():
        yield from open_members(task.container, task.members)
        return
    for name in task.members:
        with damage_named(task.prefix + name), (task.container / name).open("rb") as stream:
            yield name, stream


def _read_file(stream: IO[bytes], name: str, style: Format, reading: Reading) -> Iterator[Page]:
    if isinstance(style, WarcFormat):  # whose records are compressed each by itself
        yield from read_warc(stream, reading)
        return
    stream = unpacked(stream, name)
    match style:
        case HtmlFormat():
            yield Page("html", read_whole(stream, reading.limit_bytes))
        case TextFormat():
            strip = None if style.strip == "nothing" else style.strip
            yield Page("text", read_whole(stream, reading.limit_bytes), strip=strip)
        case CodeFormat():
            yield Page("code", read_whole(stream, reading.limit_bytes))
        case JsonLinesFormat():
            yield from read_json_lines(stream, style, reading)
        case CsvFormat():
            yield from read_csv(stream, style, reading)
        case JsonRecordsFormat():
            yield from read_json_records(stream, style, reading)
        case JsonValuesFormat():
            yield from read_json_values(stream, style, reading)
        case ParquetFormat():
            yield from read_parquet(stream, style, reading)
        case DocstringsFormat():
            yield from read_docstrings(stream, style, reading)
        case _:
            raise AssertionError(f"{style.kind} is left to the file's name and has been resolved before")


def _table(task: ReadTask, rows: list[tuple[str, Page]]) -> pa.Table:
    source, pages = task.settings, [page for _, page in rows]
    columns = {
        "source": [task.source] * len(rows),
        "domain": [source.domain] * len(rows),
        "url": [page.url or (place if page.number is None else f"{place}#{page.number}") for place, page in rows],
        "title": [page.title for page in pages],
        "license": [task.license] * len(rows),
        "language_hint": [source.language] * len(rows),
        "kind": [page.kind for page in pages],
        "content": [page.content for page in pages],
        "charset": [page.charset for page in pages],
        "strip": [page.strip for page in pages],
    }
    return pa.table(columns, schema=PAGES)
