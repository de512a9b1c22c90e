"""Raw pages to text: HTML by kernels here or a parser in a guarded child, plain text and code as they are."""

import atexit
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.extraction.encodings import decode
from fromscratch.corpus.extraction.html import read_blocks
from fromscratch.corpus.extraction.html_syntax import are_sound
from fromscratch.corpus.extraction.html_tables import html_tables
from fromscratch.corpus.extraction.main_content import choose_texts
from fromscratch.corpus.extraction.markup import ANSWER, FAILED, GROUP, PAGE, READY, UNDECODABLE
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.kernels.text_buffers import text_buffers, whole

__all__ = ["REFUSALS", "compile_extraction", "extract_text"]

REFUSALS = ("extractor_timeout", "extractor_failed", "undecodable", "no_text")
GROUP_PAGES = 512
GROUP_BYTES = 4_000_000

RawPage = tuple[str | None, bytes]  # declared charset, content

# https://www.gutenberg.org/policy/ and, for files before 2004, the end of their "small print".
GUTENBERG_START = re.compile(
    r"^.*(?:\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG|\*END[* ]*THE SMALL PRINT).*\n", re.MULTILINE | re.IGNORECASE
)
GUTENBERG_END = re.compile(
    r"^.*(?:\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG|^\W*END OF (?:THE |THIS )?PROJECT GUTENBERG).*$",
    re.MULTILINE | re.IGNORECASE,
)


Columns = tuple[pa.LargeStringArray, pa.StringArray, pa.StringArray]  # text, title, error


class Extracted(NamedTuple):
    text: str
    title: str | None
    error: str | None  # one of REFUSALS, or None


def extract_text(table: pa.Table, settings: ExtractionSettings) -> pa.Table:
    """The pages of a reader's table with two columns more: ``text`` and, null where there is one, ``error``.

    A null title is filled from an HTML page's own. ``error`` is one of ``REFUSALS`` and goes with an empty text; a page
    that comes with an ``error`` keeps it and is not looked at. A page that keeps a parser longer than
    ``settings.timeout_seconds`` of processor time, or kills it, is recorded as such and costs nothing else.

    Raises FromScratchError where ``settings.kind`` needs a package that is not installed.
    """
    given = table.schema.get_field_index("error")
    errors = table["error"].combine_chunks() if given >= 0 else pa.nulls(len(table), pa.string())
    left = pc.is_null(errors)
    html = pc.and_(left, pc.equal(table["kind"].combine_chunks(), "html"))
    other = pc.and_(left, pc.invert(html))
    parts = (
        _read_html(table if pc.all(html).as_py() else table.filter(html), settings),
        _read_plain(table.filter(other)),
        _columns(Extracted("", None, error) for error in errors.filter(pc.invert(left)).to_pylist()),
    )
    # Back into the table's order: where each of its rows is in the parts, one after the other.
    order = np.concatenate([np.flatnonzero(each) for each in (html, other, pc.invert(left))])
    texts, titles, errors = (
        pa.concat_arrays(columns).take(pa.array(np.argsort(order))) for columns in zip(*parts, strict=True)
    )
    at = table.schema.get_field_index("title")
    table = table.drop_columns(["error"]) if given >= 0 else table
    table = table.set_column(at, "title", pc.coalesce(table["title"], titles))
    return table.append_column("text", texts).append_column("error", errors)


def compile_extraction() -> None:
    """Run the kernels once, so that worker processes find the machine code on disk."""
    _read_by_density(pa.array([b"<p>A page."], pa.large_binary()), pa.nulls(1, pa.string()))


def _columns(extracted: Iterable[Extracted]) -> Columns:
    texts, titles, errors = list(zip(*extracted, strict=True)) or ((), (), ())
    return pa.array(texts, pa.large_string()), pa.array(titles, pa.string()), pa.array(errors, pa.string())


def _read_html(table: pa.Table, settings: ExtractionSettings) -> Columns:
    if settings.kind == "density":
        return _read_by_density(whole(table["content"]), whole(table["charset"]))
    if settings.kind == "trafilatura" and importlib.util.find_spec("trafilatura") is None:
        raise FromScratchError(
            "`corpus.extraction.kind` = trafilatura needs a package that is not installed",
            'pip install "fromscratch[trafilatura]", or choose density or resiliparse',
        )
    pages = zip(table["charset"].to_pylist(), table["content"].to_pylist(), strict=True)
    return _columns(_parse(list(pages), settings))


def _read_by_density(contents: pa.LargeBinaryArray, charsets: pa.StringArray) -> Columns:
    """In this process, as the kernels can neither hang nor crash."""
    if not len(contents):
        return _columns(())
    strange = ~are_sound(*_spans(contents))
    undecodable = np.zeros(len(contents), np.bool_)
    if strange.any():  # not UTF-8: these go through Python's decoders one by one
        decoded = [
            decode(content.as_py(), charset.as_py())
            for content, charset in zip(contents.filter(strange), charsets.filter(strange), strict=True)
        ]
        undecodable[strange] = [each is None for each in decoded]
        recoded = pa.array([(each or "").encode(errors="replace") for each in decoded], pa.large_binary())
        contents = pc.replace_with_mask(contents, pa.array(strange), recoded)
    data, offsets = choose_texts(*read_blocks(*_spans(contents), *html_tables()))
    both = pa.LargeStringArray.from_buffers(2 * len(contents), pa.py_buffer(offsets), pa.py_buffer(data))
    texts = both.take(pa.array(np.arange(0, len(both), 2)))
    titles = pc.cast(both.take(pa.array(np.arange(1, len(both), 2))), pa.string())
    titles = pc.if_else(pc.equal(titles, ""), None, titles)
    empty = pc.if_else(pc.equal(texts, ""), "no_text", None)
    return texts, titles, pc.if_else(pa.array(undecodable), "undecodable", empty)


def _spans(contents: pa.LargeBinaryArray) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    data, offsets = text_buffers(contents.view(pa.large_string()))
    return data, offsets[:-1], offsets[1:]


def _read_plain(table: pa.Table) -> Columns:
    columns = (table[name].to_pylist() for name in ("content", "charset", "strip"))
    return _columns(_plain(*row) for row in zip(*columns, strict=True))


def _plain(content: bytes, charset: str | None, strip: str | None) -> Extracted:
    text = decode(content, charset)
    if text is None:
        return Extracted("", None, "undecodable")
    if strip == "gutenberg":
        text = _without_gutenberg(text)
    return Extracted(text, None, None if text.strip() else "no_text")


def _without_gutenberg(text: str) -> str:
    """The book between Project Gutenberg's header and footer; a text without them stays as it is."""
    start = max((match.end() for match in GUTENBERG_START.finditer(text, 0, len(text) // 2)), default=0)
    end = GUTENBERG_END.search(text, start)
    return text[start : end.start() if end else len(text)].strip()


def _parse(pages: Sequence[RawPage], settings: ExtractionSettings) -> Iterator[Extracted]:
    """Text of HTML pages, in groups that bound what waits in the pipes."""
    if not pages:
        return
    parser = _parser(os.getpid(), settings.kind)
    group: list[RawPage] = []
    size = 0
    for page in pages:
        group.append(page)
        size += len(page[1])
        if size >= GROUP_BYTES or len(group) >= GROUP_PAGES:
            yield from parser.parse(group, settings.timeout_seconds)
            group, size = [], 0
    if group:
        yield from parser.parse(group, settings.timeout_seconds)


@cache
def _parser(process: int, kind: str) -> "_GuardedParser":
    """One child for all tables of a process, as starting it costs more than parsing a table."""
    del process  # the key alone: a forked process must not share its parent's pipes
    parser = _GuardedParser(kind)
    atexit.register(parser.close)
    return parser


class _GuardedParser:
    """A child process that parses pages, started when needed and replaced when a page has hung or killed it.

    An alarm in this process would not do: a signal handler waits until the parser returns to Python, and a crash of
    the parser is no signal.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._child: subprocess.Popen[bytes] | None = None

    def parse(self, pages: Sequence[RawPage], timeout_seconds: float) -> Iterator[Extracted]:
        """One result for each page, in order. ``timeout_seconds`` is processor time, for each page anew."""
        done = 0
        try:
            while done < len(pages):
                child = self._child = self._child or _start(self._kind)
                _send(child, pages[done:], timeout_seconds)
                while done < len(pages) and self._child is not None:
                    result = _receive(child)
                    if result is None:
                        self.close()
                        timed_out = child.returncode == -signal.SIGPROF
                        result = Extracted("", None, "extractor_timeout" if timed_out else "extractor_failed")
                    done += 1
                    yield result
        finally:
            if done < len(pages):  # the caller has given up; what is still under way must not answer the next group
                self.close()

    def close(self) -> None:
        """End the child, if it has not ended by itself."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            with suppress(BrokenPipeError):
                _pipe(self._child.stdin).close()
            _pipe(self._child.stdout).close()
            self._child = None


def _start(kind: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fromscratch.corpus.extraction.markup", kind]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if _pipe(child.stdout).read(len(READY)) != READY:  # or every page would be recorded as a failure
        child.communicate()
        raise RuntimeError(f"the HTML parser's process ended with status {child.returncode} before it was ready")
    return child


def _send(child: subprocess.Popen[bytes], pages: Sequence[RawPage], timeout_seconds: float) -> None:
    """The child takes in all pages before it answers the first, so that neither waits for the other's full pipe."""
    with suppress(BrokenPipeError):  # it has died, which the answers' end will tell
        stdin = _pipe(child.stdin)
        stdin.write(GROUP.pack(len(pages), timeout_seconds))
        for charset, content in pages:
            name = (charset or "").encode()
            stdin.write(PAGE.pack(len(name), len(content)) + name)
            stdin.write(content)
        stdin.flush()


def _receive(child: subprocess.Popen[bytes]) -> Extracted | None:
    """The next answer, or None when the child has died over it."""
    stdout = _pipe(child.stdout)
    head = stdout.read(ANSWER.size)
    if len(head) < ANSWER.size:
        return None
    outcome, title_bytes, text_bytes = ANSWER.unpack(head)
    body = stdout.read(max(title_bytes, 0) + text_bytes)
    title = body[:title_bytes].decode() if title_bytes >= 0 else None
    text = body[max(title_bytes, 0) :].decode()
    error = {FAILED: "extractor_failed", UNDECODABLE: "undecodable"}.get(outcome)
    return Extracted(text, title, error or (None if text else "no_text"))


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
