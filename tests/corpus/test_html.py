"""Bytes of HTML become text as the standard has it, whatever they are, and in time that grows with their number."""

import html
import html.entities
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.readers.pages import PAGES

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures" / "pages" / "html").rglob("*.html"))


def extracted(*pages: bytes | str) -> list[dict[str, Any]]:
    contents = [page if isinstance(page, bytes) else page.encode() for page in pages]
    given_ = {"kind": ["html"] * len(pages), "content": contents}
    columns = {name: given_.get(name, [None] * len(pages)) for name in PAGES.names}
    rows: list[dict[str, Any]] = extract_text(pa.table(columns, schema=PAGES), ExtractionSettings()).to_pylist()
    return rows


def texts(*pages: bytes | str) -> list[str]:
    return [row["text"] for row in extracted(*pages)]


def test_every_named_reference_means_what_python_says() -> None:
    names = sorted(html.entities.html5)
    found = texts(*(f"<p>x&{name}x" for name in names))
    space = str.maketrans({"\xa0": " ", "\t": " ", "\n": " ", "\xad": None, "\u200b": None})
    wrong = [
        (name, text)
        for name, text in zip(names, found, strict=True)
        if text != html.unescape(f"x&{name}x").translate(space)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("&notit; &notin;", "¬it; ∉"),  # the longest name that is one
        ("&amp &amplt; &AMP;&lt", "& &lt; &<"),
        ("&#20013;&#x6587;&#X6587", "中文文"),
        ("&#128;&#x9F;", "€Ÿ"),  # Windows-1252
        ("&#0; &#xD800; &#1114112; &#99999999999999999999;", "� � � �"),
        ("& &; &# &#; &#x; &#xg; &nosuch; a&b", "& &; &# &#; &#x; &#xg; &nosuch; a&b"),
        ("a < b <3 <", "a < b <3 <"),
        ("a<!-- <b> -- > -->b<!-->c<!--->d<!-- --!>e<?php echo ?>f<![CDATA[g]]>h</ i>j", "abcdefhj"),
        ("a<!-- never closed <p>b", "a"),
        ("a<b title='> <p>'>b</b title=\"</p>\">c<i x=y/>d</i >e<a\nhref\n=\n'>'\n>f</a/>", "abcdef"),
        ("a<b title='never closed>b", "a"),
        ("<script>if (a</b) '</scripty>'</SCRIPT >a<style>b</style><textarea><p>c</textarea>d", "ad"),
        ("<noscript>on</noscript><template>t</template><svg><title>s</title>x</svg><select><option>o</select>a", "a"),
        ("a<script>never closed", "a"),
        ("<P>a<P>b<DIV>c</DIV>d", "a\n\nb\nc\nd"),
        ("a<br>b<br/><br>c<br><br><br><br>d<p><br>e", "a\nb\n\nc\n\nd\n\ne"),
        ("  a \n\t b&nbsp;\xa0c <b> d</b> e", "a b c d e"),
        ("a&shy;b\u200bc\ufeffd\x01e", "abcde"),
        ("<pre>\n  a\n\n\tb &lt;\r\n</pre>c", "  a\n\n\tb <\n\nc"),
        ("<ul><li>a<li><p>b</p><ul><li>c</ul><li>d</ul>e", "• a\n• b\n  • c\n• d\n\ne"),
        ("<ol><li>a<li>b<ul><li>c</ul><li>d</ol><ol><li>e</ol>", "1. a\n2. b\n  • c\n3. d\n\n1. e"),
        ("<dl><dt>a<dd>b<dt>c<dd><p>d</dl>", "a\nb\nc\nd"),
        ("<table><tr><th>a<th>b<tr><td>c<td><p>d</p></table>e", "a\tb\nc\td\n\ne"),
        ("<h2>a<a href=#a>¶</a></h2>b <a href=#b>#</a><a href=c>C#</a>", "a\n\nb C#"),
        ("中<b>文</b>网\n  页，\n「a」 b\nc。<i>字</i> 字", "中文网页，「a」 b c。字 字"),
        ("日\n本 ﻿한\n국", "日本 한 국"),  # Korean has spaces between words
    ],
)
def test_fragments_become_text(source: str, text: str) -> None:
    assert texts(source) == [text]


def test_the_title_is_the_first_and_is_no_text() -> None:
    page = "<!doctype html><title>\n A &amp; <b>\tb </title><svg><title>c</title></svg><title>d</title><p>Words of it."
    assert [(row["title"], row["text"]) for row in extracted(page)] == [("A & <b> b", "Words of it.")]
    assert [row["title"] for row in extracted("<html><title> </title><p>a", "<html><title>never closed")] == [
        None,
        "never closed",
    ]


def test_all_encodings_of_a_page_and_its_neighbours_give_the_same() -> None:
    page = "<html><meta charset={}><p>人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。"
    encodings = ("utf-8", "gb18030", "utf-16", "utf-8-sig")
    rows = extracted(
        *(page.format(each).encode(each) for each in encodings), b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9
    )
    assert {row["text"] for row in rows[:-1]} == {"人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。"}
    assert (rows[-1]["text"], rows[-1]["error"]) == ("", "undecodable")


PIECES = [
    *(
        "<",
        ">",
        "</",
        "<!--",
        "-->",
        "--!>",
        "<![CDATA[",
        "<?",
        "&",
        "&#",
        "&#x",
        "&#x110000;",
        "&nGt;",
        "&notin;",
        "&lt",
    ),
    *("<p ", "<a href='", '"', "'", "=", "/", " ", "\n", "<script>", "</script", "<title>", "</title>", "<textarea>"),
    *(
        "<ul>",
        "<ol>",
        "</ol>",
        "<li>",
        "<tr>",
        "<td>",
        "<table>",
        "</table>",
        "<pre>\n",
        "</pre>",
        "<br>",
        "\r\n",
        "\0",
    ),
    *("<div hidden>", "<span hidden>", "</span>", "</div>", "<main>", "</main>", "<nav>", "<style>", "<svg><title>"),
    *(
        "<div class='nav",
        "<div style='display: none'>",
        "<!doctype",
        "<html>",
        "<a href=x>#</a>",
        "\xa0",
        "\xad",
        "中",
        "𠀀",
    ),
    *("words of a text, ", "。", "<b>", "</b>", "<h1>", "<section class=sidebar>", "<label>", "<dd>", "<hr>", "<body>"),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=60).map("".join).map(str.encode) | st.binary(), max_size=5))
def test_anything_gives_valid_text_the_same_alone_as_among_others(pages: list[bytes]) -> None:
    together = texts(*pages)  # Arrow's conversion to Python raises for what is not UTF-8
    assert together == [text for page in pages for text in texts(page)]
    for text in together:
        assert text == text.strip("\n") and "\n\n\n\n" not in text and not set(text) & set("\0\x01\x7f\ufeff")


def mutated(seed: int, count: int) -> list[bytes]:
    """Cut pages with random pieces put in and bytes changed."""
    chance = random.Random(seed)
    pages = []
    for _ in range(count):
        page = bytearray(chance.choice(FIXTURES).read_bytes())
        page = page[chance.randrange(len(page)) :][: chance.randrange(1, 6000)]
        for _ in range(chance.randrange(20)):
            at = chance.randrange(len(page) + 1)
            page[at : at + chance.choice((0, 0, 1, 9))] = chance.choice(PIECES).encode() * chance.choice((1, 1, 40))
            page[chance.randrange(len(page) or 1) :][:1] = bytes([chance.randrange(256)])
        pages.append(bytes(page))
    return pages


def test_mutated_pages_never_crash_and_never_touch_their_neighbours() -> None:
    for seed in range(10):
        pages = mutated(seed, 40)
        together = texts(*pages)
        assert together[::7] == [text for page in pages[::7] for text in texts(page)]
    assert sum(map(bool, together)) > 20


TRAPS = {
    "open": "<div>x",
    "closed": "</div>",
    "mixed": "<section></nav><p></b>",
    "hidden": "<span hidden>x",
    "comments": "<!-- ",
    "attributes": "<p a=1 b='",
    "items": "<ul><li>x",
    "cells": "<table><td>x",
    "references": "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "longer": "&nGt;",
    "raw": "<script></scrip ",
    "titles": "<title><",
}


@pytest.mark.parametrize("trap", TRAPS)
def test_no_page_takes_more_time_than_its_bytes(trap: str) -> None:
    page = TRAPS[trap].encode() * (2_000_000 // len(TRAPS[trap]))
    begun = time.process_time()
    extracted(b"<html>" + page, page)
    assert time.process_time() - begun < 2  # work that grows with the square would be hours


CHECKED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_html import TRAPS, mutated, texts
for seed in range(100, 140):
    texts(*mutated(seed, 100))
for trap in TRAPS.values():
    texts(trap * 1000, "<html>" + trap * 1000)
"""


@pytest.mark.slow
def test_no_read_is_out_of_bounds(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CHECKED, str(Path(__file__).parent)]
    subprocess.run(command, env=environment, check=True)
