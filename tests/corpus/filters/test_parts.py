"""Mixed documents: a Chinese and an English part are judged each by its own bounds, and the part that passes stays."""

import numpy as np
import pytest

from fromscratch.corpus.filters.parts import Mixed
from fromscratch.corpus.filters.quality import Quality
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, fixture_pages

ENGLISH, CHINESE = (
    [
        line.strip()
        for line in fixture_pages(f"html/udhr/{name}.html").texts[0].as_py().split("\n")
        if line.endswith(end)
    ]
    for name, end in (("eng", "."), ("cmn_hans", "。"))
)
BAD_ENGLISH = ["Cheap pills cheap pills cheap pills, buy the best cheap pills and cheap pills now!"] * 6
BAD_CHINESE = ["优惠优惠优惠，最新优惠活动，优惠多多，点击领取优惠，优惠优惠，最新优惠活动！"] * 6


def result(lines: list[str], language: str = "zh", quality: Quality | None = None) -> tuple[str | None, str, str]:
    """Reason, text and language that are left."""
    batch = batch_of(["\n".join(lines)], language)
    verdict = (quality or Quality()).judge(batch)
    text = (batch.texts if verdict.texts is None else verdict.texts)[0].as_py()
    return verdict.reasons[0], text, verdict.columns.get("language", batch.languages)[0]


def interleaved(first: list[str], second: list[str]) -> list[str]:
    return [line for pair in zip(first, second, strict=False) for line in pair]


def test_a_document_whose_parts_are_both_good_stays_as_it_is() -> None:
    lines = interleaved(CHINESE[:12], ENGLISH[:12])
    assert result(lines) == (None, "\n".join(lines), "zh")
    assert result(lines, "en") == (None, "\n".join(lines), "en")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_of_two_parts_the_good_one_stays_in_its_order(language: str) -> None:
    assert result(interleaved(CHINESE[:6], BAD_ENGLISH), language) == (None, "\n".join(CHINESE[:6]), "zh")
    assert result(interleaved(BAD_CHINESE, ENGLISH[8:14]), language) == (None, "\n".join(ENGLISH[8:14]), "en")


def test_a_document_goes_when_both_parts_fail() -> None:
    batch = batch_of(["\n".join(interleaved(BAD_CHINESE, BAD_ENGLISH))], "zh")
    verdict = Quality().judge(batch)
    assert verdict.reasons[0] == "repeated_lines" and verdict.evidence is not None
    assert verdict.evidence[0].startswith("of its part in en: duplicate_line_share is 0.8")


def test_short_lines_go_with_the_part_before_them() -> None:
    lines = ["Title", *CHINESE[:6], "", "SELECT 1", *BAD_ENGLISH, "Sub heading", CHINESE[7]]
    assert result(lines)[1] == "\n".join(["Title", *CHINESE[:6], "", "SELECT 1", CHINESE[7]])


def test_english_terms_within_chinese_sentences_make_no_part() -> None:
    line = "使用 PostgreSQL 数据库的 SELECT 语句查询 INFORMATION_SCHEMA 里第{}个 TABLE 的 COLUMN。"
    lines = [line.format(each) for each in "一二三四五六"]
    assert result(lines)[1:] == ("\n".join(lines), "zh")


def test_a_small_part_is_no_part_and_code_is_not_looked_at() -> None:
    lines = [*CHINESE[:30], BAD_ENGLISH[0]]
    assert result(lines)[1:] == ("\n".join(lines), "zh")
    mixed = interleaved(CHINESE[:6], BAD_ENGLISH)
    assert result(mixed, "code")[1:] == ("\n".join(mixed), "code")
    assert result(mixed, quality=Quality(mixed=Mixed(least_letters=10_000)))[1] == "\n".join(mixed)


def test_a_document_is_judged_alike_in_any_batch() -> None:
    texts = [
        "\n".join(each) for each in (interleaved(CHINESE[:6], BAD_ENGLISH), CHINESE, interleaved(BAD_CHINESE, ENGLISH))
    ]
    batch = batch_of(texts, "zh")
    whole = Quality().judge(batch)
    assert whole.texts is not None
    for place in range(3):
        alone = Quality().judge(batch.take(np.array([place])))
        assert alone.reasons[0] == whole.reasons[place]
        assert (alone.texts if alone.texts is not None else batch.texts.slice(place, 1))[0] == whole.texts[place]


def test_what_is_left_of_real_pages_put_together_is_the_golden_text(golden: Golden) -> None:
    english = fixture_pages("html/en/sqlite/*.html").texts.to_pylist()
    chinese = fixture_pages("html/zh/libreoffice/*.html").texts.to_pylist()
    batch = batch_of([f"{first}\n{second}" for first, second in zip(english, chinese, strict=False)], "zh")
    verdict = Quality().judge(batch)
    texts = batch.texts if verdict.texts is None else verdict.texts
    languages = verdict.columns.get("language", batch.languages)
    golden.check(
        "corpus/filters/parts.json",
        [
            {"verdict": reason or "keep", "language": language, "characters": [len(before), len(after.as_py())]}
            for reason, language, before, after in zip(
                verdict.reasons, languages, batch.texts.to_pylist(), texts, strict=True
            )
        ],
    )
