"""Contamination: what shares an n-gram with a benchmark is found in any case and punctuation, and nothing else is."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.filters.contamination import Contamination
from fromscratch.corpus.settings import CorpusSettings
from tests.conftest import Golden
from tests.corpus.filters.pages import batch_of, fixture_pages, judged, judged_pages

QUESTION = "Which of these gases makes up most of the air that we breathe on Earth every day of our lives?"
CHINESE = "下列各句中，没有语病且句意明确的一句是哪一句？请结合上下文仔细说明你的理由。"
MIXED = "请用 Python 写一个函数 reverse_words，把 the quick brown fox 这样的句子按单词倒序输出。"
PROSE = "It was a long summer, and nobody in the village could remember one like it. " * 6


def read(name: str) -> Iterator[tuple[str, str]]:
    yield from {"exam": [("exam#1", "Too short."), ("exam#2", QUESTION)], "gaokao": [("g#1", CHINESE), ("g#2", MIXED)]}[
        name
    ]


@pytest.fixture
def contamination(tmp_path: Path) -> Contamination:
    each = Contamination(benchmarks=("exam", "gaokao"))
    each.prepare(tmp_path, read)
    return each


@pytest.mark.parametrize(
    ("text", "item"),
    [
        (PROSE + QUESTION, "exam, exam#2: Which of these gases makes up most of the air that we breathe"),
        (
            "(b) WHICH of these\n gases — makes up most of the 'air' that we breathe on mars",
            "exam, exam#2: WHICH of these",
        ),
        ("Which of these gases makes up most of the air that we inhale on Earth every day of our lives", None),
        ("了解：下列各句中没有语病，且句意明确的一句是哪一句请结合上下文", "gaokao, g#1: 下列各句中没有语病"),
        ("下列各句中，没有语病且句意明确的一句是哪一句？请结合全文", None),
        ("问：请用python写一个函数reverse words把the quick brown fox这样的句子", "gaokao, g#2: 请用python"),
        ("too short", None),
        ("", None),
    ],
)
def test_what_is_found(contamination: Contamination, tmp_path: Path, text: str, item: str | None) -> None:
    reason, evidence = judged(contamination, batch_of([text], models=tmp_path))[0]
    assert reason == (None if item is None else "contaminated")
    assert item is None or (evidence or "").startswith(item)


def test_exactly_the_documents_that_share_thirteen_words_are_found(tmp_path: Path) -> None:
    draw = random.Random(7)
    words = [f"w{number}" for number in range(4)]
    items = [" ".join(draw.choices(words, k=draw.randint(5, 30))) for _ in range(40)]
    texts = [" ".join(draw.choices(words, k=60)) for _ in range(60)]
    each = Contamination(benchmarks=("b",), words=7)
    each.prepare(tmp_path, lambda name: ((f"{name}#{number}", item) for number, item in enumerate(items)))

    def grams(text: str) -> set[tuple[str, ...]]:
        parts = text.split()
        return {tuple(parts[at : at + 7]) for at in range(len(parts) - 6)}

    of_items = set().union(*map(grams, items))
    expected = ["contaminated" if grams(text) & of_items else None for text in texts]
    assert 10 < sum(reason is not None for reason in expected) < 60
    assert [reason for reason, _ in judged(each, batch_of(texts, models=tmp_path))] == expected


def test_a_match_can_be_cut_with_what_is_around_it(tmp_path: Path) -> None:
    each = Contamination(benchmarks=("exam",), matched="cut", margin_characters=21, most_cuts=2)
    each.prepare(tmp_path, read)
    middle = f"{PROSE}Before the question. {QUESTION} After the question. {PROSE}"
    batch = batch_of([middle, QUESTION, f"{PROSE}{QUESTION}" * 3, PROSE], models=tmp_path)
    assert [reason for reason, _ in judged(each, batch)] == [None, "contaminated", "contaminated", None]
    texts = each.judge(batch).texts
    assert texts is not None
    assert texts.to_pylist()[0].split("\n\n")[0] == PROSE.strip()
    assert "gases" not in texts[0].as_py() and texts[0].as_py().endswith(PROSE.strip())
    assert texts.to_pylist()[1:] == batch.texts.to_pylist()[1:]


def test_a_collision_of_hashes_drops_nothing(contamination: Contamination, tmp_path: Path) -> None:
    path = tmp_path / "benchmark-items.json"
    path.write_text(path.read_text(encoding="utf-8").replace("gases", "fluid"), encoding="utf-8")
    assert judged(contamination, batch_of([QUESTION], models=tmp_path)) == [(None, None)]


def test_without_benchmarks_nothing_is_prepared_or_dropped(tmp_path: Path) -> None:
    Contamination().prepare(tmp_path, read)
    assert not list(tmp_path.iterdir())
    assert judged(Contamination(), batch_of([QUESTION], models=tmp_path)) == [(None, None)]


def test_benchmarks_must_be_among_the_examples() -> None:
    source = {"kind": "files", "path": "x", "domain": "web", "license": "CC0-1.0"}
    corpus = {"sources": {"s": source}, "examples": {"mmlu": source}}
    CorpusSettings.model_validate({**corpus, "filters": {"contamination": {"benchmarks": ("mmlu",)}}})
    with pytest.raises(FromScratchError) as refused:
        validate_settings(CorpusSettings, {**corpus, "filters": {"contamination": {"benchmarks": ["mmul"]}}}, "r.toml")
    assert "`filters.contamination.benchmarks` names 'mmul'" in refused.value.message
    assert refused.value.hint == "did you mean `mmlu`?"


def test_verdicts_on_real_pages_are_the_golden_ones(golden: Golden, tmp_path: Path) -> None:
    pages = fixture_pages("html/en/sqlite/nulls.html", "text/en/tempest_gut.txt", "text/zh/sanguo_001.txt").texts
    each = Contamination(benchmarks=("pages",))
    each.prepare(tmp_path, lambda name: ((f"{name}#{place}", pages[place].as_py()[900:1100]) for place in range(3)))
    golden.check("corpus/filters/contamination.json", judged_pages(each, tmp_path))
