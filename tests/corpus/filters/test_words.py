"""Word lists: many different listed words drop a document, sober texts and single words stay."""

from pathlib import Path

import pytest

from fromscratch.corpus.filters.words import Words
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, judged, judged_pages

PLAIN = "The committee met on Tuesday and agreed on a budget for the coming year. " * 3


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hot milf jizz, blowjob and cumshots for free! " + PLAIN, "en", "listed_words"),
        ("骚货操逼，鸡巴肉棒，欢迎观看最新视频。" * 4, "zh", "listed_words"),
        ("The vagina, the vulva and the clitoris are sex organs. " + PLAIN, "en", None),
        ("本案被告人强奸、轮奸妇女，卖淫嫖娼，依法判处有期徒刑。", "zh", None),
        ("其他妈妈的推荐，妈妈的书，他妈妈也喜欢。", "zh", None),
        ("Scunthorpe has a class of assassins who title titans. " + PLAIN, "en", None),
        ("milf = blowjob(jizz)", "code", None),
        (PLAIN, "en", None),
        ("", "en", None),
    ],
)
def test_verdicts_on_short_texts(text: str, language: str, expected: str | None) -> None:
    assert judged(Words(), batch_of([text], language))[0][0] == expected


def test_both_bounds_must_be_exceeded() -> None:
    text = "A milf, a blowjob and jizz. " + PLAIN
    assert judged(Words(least_different=4), batch_of([text]))[0] == (None, None)
    assert judged(Words(least_share=0.2), batch_of([text]))[0] == (None, None)
    reason, evidence = judged(Words(), batch_of([text]))[0]
    assert (reason, evidence) == ("listed_words", "3 listed words, 6.1% of the characters: milf, blowjob, jizz")


def test_every_listed_word_is_counted_in_the_column() -> None:
    verdict = Words().judge(batch_of(["milf MILF", "sex", PLAIN]))
    assert verdict.columns["listed_words"].tolist() == [2, 0, 0]


def test_the_lists_of_the_recipe_count_as_well(tmp_path: Path) -> None:
    words = Words(built_in=(), lists=("spam",), least_different=2)
    assert words.reads == {"lists": ("spam",)}
    words.prepare(tmp_path, lambda name: iter([(name, "cheap pills\n\n 网上赌场 \n"), ("more", "cheap loans")]))
    batch = batch_of(["Cheap pills and cheap loans!", "网上赌场 cheap loans", "milf blowjob jizz"], models=tmp_path)
    assert [reason for reason, _ in judged(words, batch)] == ["listed_words", "listed_words", None]


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden) -> None:
    golden.check("corpus/filters/words.json", judged_pages(Words()))
