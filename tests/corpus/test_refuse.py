"""Refusals: pages go before they are parsed for address, size, bytes or language, and hardly a good one with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.corpus.filters.language import Language
from fromscratch.corpus.filters.refusals import Refusals
from fromscratch.corpus.readers.pages import PAGES
from fromscratch.corpus.refuse import refuse_pages
from tests.conftest import Golden

FIXTURES = Path(__file__).parent.parent / "fixtures" / "pages"
GERMAN = "Wir Menschen werden frei und gleich an Würde und Rechten geboren, mit Vernunft und Gewissen begabt. " * 9
ENGLISH = "Nobody in the village could remember a summer as long and as dry as this one had turned out to be. " * 9
RUSSIAN = "Все люди рождаются свободными и равными в своём достоинстве и правах, они наделены разумом. " * 9
CHINESE = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。" * 15
JAPANESE = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。" * 15


def refused(
    contents: list[bytes],
    settings: Refusals | None = None,
    keep: tuple[str, ...] = ("en", "zh", "code"),
    models: Path = FIXTURES,
    seen: dict[bytes, str] | None = None,
    **columns: list[Any],
) -> list[tuple[str | None, str | None]]:
    count = len(contents)
    row: dict[str, list[Any]] = {name: ["x"] * count for name in PAGES.names}
    row |= {"content": contents, "kind": ["html"] * count, "language_hint": [None] * count, **columns}
    ids = np.array([f"id{number}" for number in range(count)], object)
    pages = pa.table(row, schema=PAGES)
    found = refuse_pages(pages, ids, settings or Refusals(), Language(keep=keep), models, {} if seen is None else seen)
    return list(zip(found.reasons.tolist(), found.evidence.tolist(), strict=True))


def page(text: str) -> bytes:
    return f"<html><head><style>p {{ }}</style></head><body><p>{text}</p><!-- {ENGLISH} --></body></html>".encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ENGLISH, None),
        (CHINESE, None),
        (GERMAN, "foreign_language"),
        (RUSSIAN, "foreign_script"),
        (JAPANESE, "foreign_script"),
        (GERMAN + ENGLISH + ENGLISH, None),
        (RUSSIAN + ENGLISH, None),
        (CHINESE + JAPANESE[:100], None),
        (GERMAN[:300], None),
        ("", None),
    ],
)
def test_a_page_goes_for_its_language_when_nearly_all_of_it_is_foreign(text: str, reason: str | None) -> None:
    assert refused([page(text)])[0][0] == reason


def test_what_is_in_scripts_and_comments_does_not_count() -> None:
    script = f"<script>var s = '{ENGLISH}' < 1;</script><!-- > {ENGLISH} --><STYLE>{ENGLISH}</STYLE>"
    assert refused([script.encode() + page(RUSSIAN)]) == [
        ("foreign_script", "100% of 684 letters are not of a kept language: Cyrillic")
    ]


def test_a_language_that_is_kept_or_named_by_the_source_is_not_foreign() -> None:
    assert refused([page(GERMAN)], keep=("de",)) == [(None, None)]
    assert refused([page(RUSSIAN)], keep=("en", "ru")) == [(None, None)]
    assert refused([page(JAPANESE)], keep=("en", "ja")) == [(None, None)]
    assert refused([page(ENGLISH)], keep=("zh",))[0][0] == "foreign_script"
    assert refused([page(RUSSIAN)], language_hint=["en"]) == [(None, None)]
    assert refused([page(RUSSIAN)], Refusals(least_foreign_letters=None)) == [(None, None)]


def test_other_encodings_and_plain_texts_are_left_to_the_filters() -> None:
    assert (
        refused([page(RUSSIAN).decode().encode("cp1251"), page(CHINESE).decode().encode("gb18030")])
        == [(None, None)] * 2
    )
    assert refused([RUSSIAN.encode()], kind=["text"]) == [(None, None)]


def test_the_same_bytes_are_parsed_once_in_a_shard() -> None:
    seen: dict[bytes, str] = {}
    first = refused([page(ENGLISH), page(CHINESE), page(ENGLISH)], seen=seen)
    assert first == [(None, None), (None, None), ("same_payload", "the same bytes as id0")]
    assert refused([page(CHINESE), b"x"], seen=seen) == [("same_payload", "the same bytes as id1"), (None, None)]
    assert refused([b"a", b"a"], kind=["text", "text"]) == [(None, None)] * 2


def test_pages_beyond_the_bounds_of_size_go() -> None:
    settings = Refusals(least_bytes=3, most_html_bytes=10)
    contents = [b"ab", b"abc", b"x" * 10, b"x" * 11, b"y" * 11]
    kinds = ["html", "html", "html", "html", "text"]
    expected = ["too_few_bytes", None, None, "too_many_bytes", None]
    assert [reason for reason, _ in refused(contents, settings, kind=kinds)] == expected
    assert refused(contents, settings, kind=kinds)[3][1] == "11 bytes"


def test_listed_hosts_and_words_of_addresses_go(tmp_path: Path) -> None:
    settings = Refusals(hosts=("bad",), url_words=("words",))
    lists = {"bad": "# a list\nspam.example\nwww.ads.net\n", "words": "casino\n博彩\n"}
    settings.prepare(tmp_path, lambda name: iter([(name, lists[name])]))
    expected = {
        "https://spam.example/a": ("listed_host", "spam.example"),
        "http://user@Cdn.Spam.example:80/": ("listed_host", "spam.example"),
        "https://ads.net?x": ("listed_host", "ads.net"),
        "https://notspam.example/": (None, None),
        "https://example/": (None, None),
        "https://a.org/best-CASINO/1": ("listed_address", "casino"),
        "https://a.org/casinos": (None, None),
        "https://a.org/博彩网": ("listed_address", "博彩"),
        "archive.zip!casino/spam.example": (None, None),
    }
    contents = [str(number).encode() for number in range(len(expected))]
    assert refused(contents, settings, models=tmp_path, url=list(expected)) == list(expected.values())


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    paths = sorted(FIXTURES.glob("html/**/*.html"))
    verdicts = refused([path.read_bytes() for path in paths])
    names = [path.relative_to(FIXTURES).as_posix() for path in paths]
    golden.check(
        "corpus/refusals.json", {name: reason or "read" for name, (reason, _) in zip(names, verdicts, strict=True)}
    )
    good = [name for name in names if "/en/" in name or "/zh/" in name or name.endswith(("eng.html", "cmn_hans.html"))]
    assert {reason for name, (reason, _) in zip(names, verdicts, strict=True) if name in good} == {None}
    assert json.dumps(verdicts).count("foreign") >= 12
