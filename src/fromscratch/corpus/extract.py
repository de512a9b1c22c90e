"""Raw pages to text: HTML in a guarded child process, plain text and code in this one."""

import atexit
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import IO, NamedTuple

import pyarrow as pa

from fromscratch.corpus.encodings import decode
from fromscratch.corpus.markup import ANSWER, FAILED, GROUP, PAGE, READY, UNDECODABLE

__all__ = ["REFUSALS", "extract_text"]

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


class Extracted(NamedTuple):
    text: str
    title: str | None
    error: str | None  # one of REFUSALS, or None


def extract_text(table: pa.Table, timeout_seconds: float) -> pa.Table:
    """The pages of a reader's table with two columns more: ``text`` and, null where there is one, ``error``.

    A null title is filled from an HTML page's own. ``error`` is one of ``REFUSALS`` and goes with an empty text. A page
    that keeps the parser longer than ``timeout_seconds`` of processor time, or kills it, is recorded as such and costs
    nothing else.
    """
    kinds = table["kind"].to_pylist()
    contents = table["content"].to_pylist()
    charsets = table["charset"].to_pylist()
    strips = table["strip"].to_pylist()
    markup = [number for number, kind in enumerate(kinds) if kind == "html"]
    parsed = _parse([(charsets[each], contents[each]) for each in markup], timeout_seconds) if markup else iter(())
    results: list[Extracted] = []
    for kind, content, charset, strip in zip(kinds, contents, charsets, strips, strict=True):
        results.append(next(parsed) if kind == "html" else _plain(content, charset, strip))
    titles = [title or result.title for title, result in zip(table["title"].to_pylist(), results, strict=True)]
    return (
        table.set_column(table.schema.get_field_index("title"), "title", pa.array(titles, pa.string()))
        .append_column("text", pa.array([each.text for each in results], pa.large_string()))
        .append_column("error", pa.array([each.error for each in results], pa.string()))
    )


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


def _parse(pages: Sequence[RawPage], timeout_seconds: float) -> Iterator[Extracted]:
    """Text of HTML pages, in groups that bound what waits in the pipes."""
    parser = _parser(os.getpid())
    group: list[RawPage] = []
    size = 0
    for page in pages:
        group.append(page)
        size += len(page[1])
        if size >= GROUP_BYTES or len(group) >= GROUP_PAGES:
            yield from parser.parse(group, timeout_seconds)
            group, size = [], 0
    if group:
        yield from parser.parse(group, timeout_seconds)


@cache
def _parser(process: int) -> "_GuardedParser":
    """One child for all tables of a process, as starting it costs more than parsing a table."""
    del process  # the key alone: a forked process must not share its parent's pipes
    parser = _GuardedParser()
    atexit.register(parser.close)
    return parser


class _GuardedParser:
    """A child process that parses pages, started when needed and replaced when a page has hung or killed it.

    An alarm in this process would not do: a signal handler waits until the parser returns to Python, and a crash of
    the parser is no signal.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def parse(self, pages: Sequence[RawPage], timeout_seconds: float) -> Iterator[Extracted]:
        """One result for each page, in order. ``timeout_seconds`` is processor time, for each page anew."""
        done = 0
        try:
            while done < len(pages):
                child = self._child = self._child or _start()
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


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fromscratch.corpus.markup"]
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
