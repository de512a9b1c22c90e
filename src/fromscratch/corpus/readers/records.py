"""Readers of files that hold many records: JSON lines, CSV, JSON and Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fromscratch.corpus.extraction.encodings import sniff_encoding
from fromscratch.corpus.readers.page import Page, Reading, Span, Unreadable
from fromscratch.corpus.readers.streams import TooLarge, read_whole
from fromscratch.corpus.sources import (
    CsvFormat,
    JsonLinesFormat,
    JsonRecordsFormat,
    JsonValuesFormat,
    ParquetFormat,
    RecordFormat,
)

__all__ = ["read_csv", "read_json_lines", "read_json_records", "read_json_values", "read_parquet"]

SNIFFED_BYTES = 1 << 16
DAMAGED_PARQUET = (pa.ArrowException, OSError, EOFError, ValueError, OverflowError, MemoryError)
PARQUET_ROWS = 512  # at a time: what is in memory is bounded by these, not by the file's row groups


class Record(NamedTuple):
    """``number`` is the record's place in its file, counted from 0, whether or not the others were readable."""

    number: int | str
    text: str
    title: str | None = None
    url: str | None = None


def read_json_lines(
    stream: IO[bytes], style: JsonLinesFormat, reading: Reading, span: Span = (0, None)
) -> Iterator[Page]:
    """A record a line. Lines that are no JSON object with the text's key are reported; Unreadable when all are.

    Of a span, the lines that begin within it. Lines have their number in a whole file, `@` and their offset in a part.
    """

    def records() -> Iterator[Record]:
        good, refused = 0, ""
        for number, line in _lines(stream, reading) if span == (0, None) else _lines_within(stream, reading, span):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                refused = f"no JSON ({error})"
            else:
                text = item.get(style.text) if isinstance(item, dict) else None
                if isinstance(text, str):
                    good += 1
                    yield Record(number, text, _string(item.get(style.title)), _string(item.get(style.url)))
                    continue
                keys = ", ".join(item) if isinstance(item, dict) else type(item).__name__
                refused = f"no text under the key {style.text!r} (found: {keys:.200})"
            reading.report(str(number), refused)
        if refused and not good:
            raise Unreadable(
                f"{reading.place}: not one line is a record; the last has {refused}",
                "set the format's `text` to the key that holds the text",
            )

    return _pages(records(), style, reading)


def _lines(stream: IO[bytes], reading: Reading) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of at most the limit; a longer one is reported and given as an empty line."""
    number = 0
    while line := stream.readline(reading.limit_bytes + 1):
        if len(line) > reading.limit_bytes:
            reading.report(str(number), str(TooLarge(reading.limit_bytes)))
            _skip_line(stream, line)
            line = b"\n"
        yield number, line
        number += 1


def _lines_within(stream: IO[bytes], reading: Reading, span: Span) -> Iterator[tuple[str, bytes]]:
    """The same of the lines that begin in a span, with their offsets."""
    start, end = span
    if start:
        stream.seek(start - 1)
        _skip_line(stream, stream.readline(SNIFFED_BYTES))
        start = stream.tell()
    while (end is None or start < end) and (line := stream.readline(reading.limit_bytes + 1)):
        if len(line) > reading.limit_bytes:
            reading.report(f"@{start}", str(TooLarge(reading.limit_bytes)))
            _skip_line(stream, line)
            line = b"\n"
        yield f"@{start}", line
        start = stream.tell()


def _skip_line(stream: IO[bytes], line: bytes) -> None:
    """Read on to the end of a line, of which this is a part."""
    while line and not line.endswith(b"\n"):
        line = stream.readline(SNIFFED_BYTES)


def read_csv(stream: IO[bytes], style: CsvFormat, reading: Reading) -> Iterator[Page]:
    """A record a row under the names in the first line, in whatever encoding the file's beginning shows."""
    csv.field_size_limit(reading.limit_bytes)
    beginning = stream.read(SNIFFED_BYTES)
    text = io.TextIOWrapper(
        io.BufferedReader(_Replayed(beginning, stream)), sniff_encoding(beginning), errors="replace", newline=""
    )
    rows = csv.reader(text, delimiter=style.delimiter)
    names = next(rows, [])
    absent = {"", *style.absent}
    for name in (*style.text, *([style.title] if style.title else [])):
        if name not in names:
            raise Unreadable(
                f"{reading.place}: there is no column {name!r}",
                f"the first line names {', '.join(map(repr, names)) or 'none'}",
            )
    places = [names.index(each) for each in style.text]
    title_place = names.index(style.title) if style.title else None

    def records() -> Iterator[Record]:
        number = 0
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                reading.report(str(number), str(error))
                row = []
            if row is None:
                return
            cells = [row[each].strip() for each in places if each < len(row)]
            lines = [each for each in cells if each not in absent]
            title = row[title_place] if title_place is not None and title_place < len(row) else None
            yield Record(number, "\n".join(lines), title)
            number += 1

    return _pages(records(), style, reading)


class _Replayed(io.RawIOBase):
    """A stream whose beginning has been looked at."""

    def __init__(self, beginning: bytes, rest: IO[bytes]) -> None:
        self._beginning, self._rest = memoryview(beginning), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._beginning[: len(buffer)] or self._rest.read(len(buffer))
        self._beginning = self._beginning[len(chunk) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def read_json_records(stream: IO[bytes], style: JsonRecordsFormat, reading: Reading) -> Iterator[Page]:
    """The items of one array or object. Items without a text are reported."""
    whole = _json(stream, reading)
    if not isinstance(whole, dict | list):
        raise Unreadable(f"{reading.place}: neither an array nor an object", "read it as another format")

    def records() -> Iterator[Record]:
        pairs: Iterable[tuple[Any, Any]] = (
            whole.items() if isinstance(whole, dict) else ((None, each) for each in whole)
        )
        for number, (key, item) in enumerate(pairs):
            text = item.get(style.text) if style.text and isinstance(item, dict) else item
            if not isinstance(text, str):
                reading.report(str(number), f"no text under the key {style.text!r}" if style.text else "not a string")
                continue
            title = item.get(style.title) if style.title and isinstance(item, dict) else key
            yield Record(number, text, _string(title))

    return _pages(records(), style, reading)


def read_json_values(stream: IO[bytes], style: JsonValuesFormat, reading: Reading) -> Iterator[Page]:
    """Every string under the key, inner objects before the ones around them."""
    found: list[str] = []

    def collect(item: dict[str, Any]) -> None:  # returns nothing, so that no tree of the whole file is built
        value = item.get(style.key)
        if isinstance(value, str):
            found.append(value)

    _json(stream, reading, collect)
    return _pages((Record(number, text) for number, text in enumerate(found)), style, reading)


def _json(stream: IO[bytes], reading: Reading, collect: Any = None) -> Any:
    try:
        return json.loads(read_whole(stream, reading.limit_bytes), object_hook=collect)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{reading.place}: not valid JSON ({error})", "mend the file or exclude it") from None


def read_parquet(stream: IO[bytes], style: ParquetFormat, reading: Reading, span: Span = (0, None)) -> Iterator[Page]:
    """A record a row; a null is an empty text. Of a span, the row groups that begin within it.

    A damaged row group is reported, and the others are read. Raises Unreadable for a file that is no Parquet or lacks
    the column of the text.
    """
    try:
        file = pq.ParquetFile(stream, pre_buffer=False)
        names = file.schema_arrow.names
        groups = _row_groups(file.metadata, span)
    except DAMAGED_PARQUET as error:
        raise Unreadable(f"{reading.place}: a damaged Parquet file ({_first_line(error)})", "get it again") from None
    if style.text not in names:
        raise Unreadable(f"{reading.place}: there is no column {style.text!r}", f"it has {', '.join(names)}")
    wanted = [each for each in (style.text, style.title, style.url) if each in names]

    def records() -> Iterator[Record]:
        for group, number in groups:
            try:
                for batch in file.iter_batches(PARQUET_ROWS, row_groups=[group], columns=wanted):
                    columns = {name: batch.column(name).to_pylist() for name in wanted}
                    nothing = [None] * batch.num_rows
                    rows = (columns[style.text], columns.get(style.title, nothing), columns.get(style.url, nothing))
                    for text, title, url in zip(*rows, strict=True):
                        yield Record(number, _string(text) or "", _string(title), _string(url))
                        number += 1
            except DAMAGED_PARQUET as error:
                reading.report(str(number), f"a damaged row group ({_first_line(error)}), from here to its end")

    return _pages(records(), style, reading)


def _row_groups(metadata: pq.FileMetaData, span: Span) -> list[tuple[int, int]]:
    """The row groups whose first byte is in the span, and the number of the first row of each."""
    chosen, first = [], 0
    start, end = span
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = (group.column(each) for each in range(group.num_columns))
        at = min((each.dictionary_page_offset or each.data_page_offset for each in columns), default=0)
        if start <= at and (end is None or at < end):
            chosen.append((number, first))
        first += group.num_rows
    return chosen


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _string(value: Any) -> str | None:
    """A string that UTF-8 can hold (JSON can spell lone surrogates, which it cannot), or None for anything else."""
    if isinstance(value, str):
        value = value.encode(errors="replace")
    return value.decode(errors="replace") if isinstance(value, bytes) and value else None


def _pages(records: Iterable[Record], style: RecordFormat, reading: Reading) -> Iterator[Page]:
    """Records as pages, the too short left out and the rest joined where the format asks for it."""
    waiting: list[Record] = []
    characters = 0
    for record in records:
        if len(record.text.strip()) < style.least_characters:
            continue
        waiting.append(record)
        characters += len(record.text)
        if characters >= style.join_characters:
            yield from _page(waiting, style, reading)
            waiting, characters = [], 0
    if waiting:
        yield from _page(waiting, style, reading)


def _page(records: list[Record], style: RecordFormat, reading: Reading) -> Iterator[Page]:
    first, last = records[0], records[-1]
    number = str(first.number) if first is last else f"{first.number}-{last.number}"
    content = "\n\n".join(each.text for each in records).encode(errors="replace")  # as in _string
    if len(content) > reading.limit_bytes:
        reading.report(number, str(TooLarge(reading.limit_bytes)))
    elif first is last:
        yield Page(style.content, content, number, first.url, first.title, "utf-8")
    else:
        yield Page(style.content, content, number, charset="utf-8")
