"""Tasks to tables: every page of a task's files, streamed in batches of bounded size."""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa

from fromscratch.corpus.readers.archives import Member, damage_named, open_members
from fromscratch.corpus.readers.docstrings import read_docstrings
from fromscratch.corpus.readers.formats import format_of
from fromscratch.corpus.readers.page import Page, Reading, Unreadable
from fromscratch.corpus.readers.plan import ReadTask
from fromscratch.corpus.readers.records import (
    read_csv,
    read_json_lines,
    read_json_records,
    read_json_values,
    read_parquet,
)
from fromscratch.corpus.readers.remote import open_binary
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
LISTED_PLACES = 100  # of one file; the others are counted


def read_pages(task: ReadTask) -> "PageTables":
    """The pages of a task as tables of ``PAGES``, and what could not be read of them."""
    return PageTables(task)


class PageTables:
    """An iterator over a task's tables; ``unreadable`` is complete when it is exhausted.

    What is damaged, too large, or not what the recipe says (a record, or a whole file) is put on ``unreadable`` as
    ``{"source", "place", "why"}`` and passed over. Iterating raises FromScratchError for what the system or a store
    refuses, since that would be a different corpus tomorrow.
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
        for member, stream in self._files():
            place, unread = self._task.prefix + member.name, 0

            def report(number: str | None, why: str, place: str = place) -> None:
                nonlocal unread
                unread += 1
                if unread <= LISTED_PLACES:
                    self._report(place if number is None else f"{place}#{number}", why)

            reading = Reading(place, int(source.largest_megabytes * 1e6), report)
            style = format_of(member.name, source.format, self._task.source)
            try:
                with damage_named(place):
                    for page in _read_file(stream, member, style, reading):
                        yield place, page
            except TooLarge as error:
                report(None, str(error))
            except Unreadable as error:
                report(None, f"{error.message.removeprefix(f'{place}: ')}; {error.hint}")
            except pa.ArrowException as error:
                report(None, f"a damaged file ({str(error)[:200]})")
            if unread > LISTED_PLACES:
                self._report(place, f"{unread - LISTED_PLACES:,} places more")

    def _files(self) -> Iterator[tuple[Member, IO[bytes]]]:
        task = self._task
        if not task.archived:
            for member in task.members:
                with damage_named(task.prefix + member.name), open_binary(f"{task.container}/{member.name}") as stream:
                    yield member, stream
            return
        unread = {each.name: each for each in task.members}
        try:
            for name, stream in open_members(task.container, unread):
                yield unread.pop(name), stream
        except Unreadable as error:  # between two members, or in the list of them
            for name in unread:
                self._report(task.prefix + name, error.message)

    def _report(self, place: str, why: str) -> None:
        self.unreadable.append({"source": self._task.source, "place": place, "why": why})


def _read_file(stream: IO[bytes], member: Member, style: Format, reading: Reading) -> Iterator[Page]:
    if isinstance(style, WarcFormat):  # whose records are compressed each by itself
        yield from read_warc(stream, reading, member.span)
        return
    stream = unpacked(stream, member.name)
    match style:
        case HtmlFormat():
            yield Page("html", read_whole(stream, reading.limit_bytes))
        case TextFormat():
            strip = None if style.strip == "nothing" else style.strip
            yield Page("text", read_whole(stream, reading.limit_bytes), strip=strip)
        case CodeFormat():
            yield Page("code", read_whole(stream, reading.limit_bytes))
        case JsonLinesFormat():
            yield from read_json_lines(stream, style, reading, member.span)
        case CsvFormat():
            yield from read_csv(stream, style, reading)
        case JsonRecordsFormat():
            yield from read_json_records(stream, style, reading)
        case JsonValuesFormat():
            yield from read_json_values(stream, style, reading)
        case ParquetFormat():
            yield from read_parquet(stream, style, reading, member.span)
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
