"""Titles are asked about and the text's first sentences answer; held-out documents are never told."""

from pathlib import Path

import pytest

from fromscratch.chat.conversation import Drop
from fromscratch.chat.derived import derived_conversation, derived_conversations, sentences
from fromscratch.chat.dialogue_sources import DerivedDialogues
from tests.make_corpus import make_corpus

IDIOMS = DerivedDialogues(source="idioms", questions=("{title}是什么意思？", "请解释{title}。"), language="zh")
PAGES = DerivedDialogues(source="pages", questions=("What is {title}?",))


def asked_and_answered(title: str | None, text: str, source: DerivedDialogues = PAGES) -> list[str]:
    found = derived_conversation(title, text, source, source.questions[0])
    assert not isinstance(found, Drop), found
    return [message["content"] for message in found]


def test_sentences_end_where_english_and_chinese_end_them() -> None:
    assert sentences("He met Mr. Smith of the U.S. Army, c. 14 A.D. in Rome. They talked! “Yes.” And") == [
        "He met Mr. Smith of the U.S. Army, c. 14 A.D. in Rome.",
        " They talked!",
        " “Yes.”",
    ]
    assert sentences("比喻多余。也说“画蛇”。后来") == ["比喻多余。", "也说“画蛇”。"]
    assert sentences("Yahoo! is a site. It is old.") == ["Yahoo! is a site.", " It is old."]
    assert sentences("Version 3.11 is out.") == ["Version 3.11 is out."]


def test_the_answer_is_the_first_whole_sentence_below_the_title() -> None:
    assert asked_and_answered("画蛇添足", "画蛇添足\n比喻做多余的事。反而不好。\n出处：《战国策》。", IDIOMS) == [
        "画蛇添足是什么意思？",
        "比喻做多余的事。",
    ]


def test_a_title_is_asked_about_as_the_answer_says_it() -> None:
    assert asked_and_answered("Hat", "A hat is a head covering.")[0] == "What is a hat?"
    assert asked_and_answered("Psycho (1960 film)", "Psycho is a film.")[0] == "What is Psycho?"
    assert asked_and_answered("Market failure", "In trade, market failure is a loss.")[0] == "What is market failure?"
    assert asked_and_answered("Zambia", "Zambia is a country.")[0] == "What is Zambia?"


@pytest.mark.parametrize(
    ("title", "text", "changes", "reason"),
    [
        (None, "A hat is a hat.", {}, "no_title"),
        ("Hat", "Hat", {}, "no_whole_sentence"),
        ("Hat", "A hat, which\nis a hat.", {}, "no_whole_sentence"),
        ("Hat", "A hat is a hat.", {"least_characters": 20}, "too_short"),
        ("Hat", "A hat is a hat.", {"most_characters": 9}, "too_long"),
        ("Hat", "A hat is a [?] hat.", {"refuse_characters": "[]"}, "refused_character"),
        ("Hat", "Some hats are hats.", {"answer_pattern": "An? .* is "}, "no_match"),
    ],
)
def test_documents_without_a_good_answer_are_dropped_with_the_reason(
    title: str | None, text: str, changes: dict[str, object], reason: str
) -> None:
    source = PAGES.model_copy(update=changes)
    assert derived_conversation(title, text, source, source.questions[0]) == Drop(reason)


def test_only_documents_of_the_source_that_were_not_held_out_are_used(tmp_path: Path) -> None:
    rows = [
        {"source": "idioms", "title": "一", "text": "比喻一。"},
        {"source": "idioms", "title": "二", "text": "比喻二。", "split": "heldout"},
        {"source": "idioms", "title": "三", "text": "比喻三。", "reason": "too_short"},
        {"source": "pages", "title": "四", "text": "比喻四。"},
    ]
    corpus = make_corpus(tmp_path / "corpus", rows)
    found = list(derived_conversations(corpus.path, IDIOMS, seed=0))
    assert [turns[1]["content"] for _, turns in found if not isinstance(turns, Drop)] == ["比喻一。"]


def test_the_wording_depends_on_the_document_and_the_seed_alone(tmp_path: Path) -> None:
    rows = [{"source": "idioms", "title": f"第{n}条", "text": f"比喻第{n}种。"} for n in range(40)]
    corpus = make_corpus(tmp_path / "corpus", rows)

    def questions(seed: int) -> list[str]:
        return [turns[0]["content"] for _, turns in derived_conversations(corpus.path, IDIOMS, seed)]

    assert questions(1) == questions(1) != questions(2)
    wordings = {question[0] for question in questions(1)}
    assert wordings == {"第", "请"}, "both wordings occur"
