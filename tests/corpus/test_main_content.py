"""Of a page what it says is kept, and what stands around that on every page of its site goes."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.extraction import extract
from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.readers.pages import PAGES

FIXTURES = Path(__file__).parent.parent / "fixtures" / "pages" / "html"
ENGLISH = "Isolation means that a change made in one connection is not seen in another before it is complete."
CHINESE = "隔离是指一个连接所做的更改在完成之前，不会被另一个连接看到。这是数据库的一个基本性质。"
MENU = "<ul><li><a href=/>Home</a><li><a href=/news>News of today</a><li><a href=/contact>Contact us</a></ul>"


def table_of(*pages: bytes | str, **columns: Any) -> pa.Table:
    contents = [page if isinstance(page, bytes) else page.encode() for page in pages]
    given = {"kind": ["html"] * len(pages), "content": contents, **columns}
    return pa.table({name: given.get(name, [None] * len(pages)) for name in PAGES.names}, schema=PAGES)


def text_of(body: str) -> str:
    text: str = extract_text(table_of(f"<!doctype html><body>{body}"), ExtractionSettings())["text"][0].as_py()
    return text


@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
@pytest.mark.parametrize(
    "boilerplate",
    [
        f"<nav>{MENU}<p>{ENGLISH}</p></nav>",
        f"<div role=navigation>{ENGLISH}</div>",
        f"<div class='col site-footer'><p>{ENGLISH}</div>",
        f"<div id=mainMenu><p>{ENGLISH}</div>",
        f"<div class=cookieBanner><p>{ENGLISH}</div>",
        f"<div class=guanggao><p>{CHINESE}</div>",
        f"<footer><p>{ENGLISH}</footer>",
        f"<div hidden><p>{ENGLISH}</div>",
        f"<div style='color: red; display : none'><p>{ENGLISH}</div>",
        f"<div class='box hidden'><p>{ENGLISH}</div>",
        f"<div aria-hidden=true><p>{ENGLISH}</div>",
        "<aside><p>Short advice.</aside>",
        "<header><a href=/>Name</a> Slogan of the site</header>",
    ],
)
def test_boilerplate_goes_before_and_after_the_content(boilerplate: str, words: str) -> None:
    content = f"<div class='overflow-hidden has-sidebar'><h1>Heading</h1><p>{words}</p><p>{words}</p></div>"
    expected = f"Heading\n\n{words}\n\n{words}"
    assert text_of(boilerplate + content) == expected
    assert text_of(content + boilerplate) == expected


@pytest.mark.parametrize(
    "content",
    [
        f"<header><h2>Preamble</h2><p>{ENGLISH}</p><p>{CHINESE}</p></header>",
        f"<main><div class=sidebar><p>{ENGLISH}</p></div></main>",
        f"<div class='menu'><p>{ENGLISH}</p><p>{CHINESE}</p></div>",  # all that the page has
        f"<div style='display:none'><p>{ENGLISH}</p></div>",  # shown by a script
        f"<div class='nav-wrapper'><p>{ENGLISH}</p></div>",
        f"<div class=section id=search><p>{ENGLISH}</p></div>",
        f"<h3>Navigation</h3><p>{ENGLISH}</p>",
        "<h1>Accept</h1><p>Takes the line over.</p>",
        f"<p>{ENGLISH} <a href=x>{CHINESE}</a></p>",
        f"<table><tr><td><a href=x>begin()</a><td>{ENGLISH}<tr><td><a href=x>end()</a><td>{ENGLISH}</table>",
        "<pre>x = 1\ny = 2</pre>",
    ],
)
def test_content_stays_whatever_it_is_called(content: str) -> None:
    plain = text_of(content)
    words = {word for source in (ENGLISH, CHINESE) if source in content for word in source.split()}
    assert words <= set(plain.split())
    assert plain


def test_links_go_with_the_text_before_them_and_not_with_the_text_after() -> None:
    assert text_of(f"{MENU}<p>{ENGLISH}</p>") == ENGLISH
    assert text_of(f"<p>{ENGLISH}</p>{MENU}").startswith(f"{ENGLISH}\n\n• Home\n• News of today")
    assert text_of(f"{MENU * 9}<p>{ENGLISH}</p>{MENU * 9}").count("Home") < 3


def test_what_main_holds_is_taken_at_its_word() -> None:
    around = f"<div><p>{ENGLISH.upper()}</p></div>"
    assert text_of(f"{around}{MENU}<main>{MENU}<p>{ENGLISH}</p></main>{around}") == ENGLISH
    assert text_of(f"{around}<main></main>").count(ENGLISH.upper()) == 1, "unless there is next to nothing in it"


def test_parts_of_a_line_that_are_hidden_go_without_the_line() -> None:
    line = "<p>Press <span hidden>Command <span>now</span></span><b>Ctrl</b> and then any of those keys.<br hidden>"
    assert text_of(f"{line}<p>{ENGLISH}") == f"Press Ctrl and then any of those keys.\n\n{ENGLISH}"


@pytest.mark.parametrize(
    "page",
    [
        "en/sqlite/isolation.html",
        "en/sqlite/aff_short.html",
        "en/postgresql/wal-intro.html",
        "en/postgresql/tutorial-window.html",
        "zh/libreoffice/shared_main0227.html",
        "zh/libreoffice/swriter_guide_finding.html",
        "udhr/cmn_hant.html",
    ],
)
def test_real_pages_give_the_text_that_was_read_and_found_good(page: str, golden: Any) -> None:
    (row,) = extract_text(table_of((FIXTURES / page).read_bytes()), ExtractionSettings()).to_pylist()
    golden.check(f"corpus/extract/{Path(page).stem}.txt", f"{row['title']}\n=====\n{row['text']}\n")


def test_pages_that_come_with_an_error_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    read_blocks = extract.read_blocks
    monkeypatch.setattr(extract, "read_blocks", lambda *spans: seen.append(len(spans[1])) or read_blocks(*spans))
    table = table_of("<p>a", "<p>b", "<p>c", "<p>d").append_column("error", pa.array([None, "too_large", None, "seen"]))
    result = extract_text(table, ExtractionSettings())
    assert result["text"].to_pylist() == ["a", "", "c", ""]
    assert result["error"].to_pylist() == [None, "too_large", None, "seen"]
    assert result.schema.names == [*PAGES.names, "text", "error"]
    assert seen == [2]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FromScratchError, match=r"pip install \"fromscratch\[trafilatura\]\""):
        extract_text(table_of("<p>a"), ExtractionSettings(kind="trafilatura"))
