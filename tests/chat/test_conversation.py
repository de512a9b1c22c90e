"""Conversations are cleaned, and what is dropped has a reason."""

import pytest

from fromscratch.chat.conversation import Drop, clean, fits_language


def talk(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


def contents(cleaned: object) -> list[str]:
    assert isinstance(cleaned, tuple), cleaned
    return [message["content"] for message in cleaned]


def test_a_question_without_an_answer_is_cut_off() -> None:
    assert contents(clean(talk("Hi", " Hello! \n", "How are you?"), "en")) == ["Hi", "Hello!"]


@pytest.mark.parametrize(
    ("turns", "language", "reason"),
    [
        (talk("Hi"), None, "no_answer"),
        ([], None, "no_answer"),
        (talk("Hi", "  "), None, "empty_message"),
        (talk("Hi", "你好"), "en", "wrong_language"),
        (talk("你是什么语言编写的", "Python"), "zh", "wrong_language"),
        (talk("Do you feel?", "do you feel"), "en", "echo"),
        (talk("a", "b", "什么？", "什么。"), None, "echo"),
        ([{"role": "assistant", "content": "Hi"}], None, "wrong_order"),
        ([*talk("Hi", "Hello"), {"role": "assistant", "content": "Again"}], None, "wrong_order"),
        ([*talk("Hi"), {"role": "system", "content": "Be kind."}, *talk("", "x")[1:]], None, "wrong_order"),
    ],
)
def test_what_cannot_be_learnt_from_is_dropped_with_its_reason(
    turns: list[dict[str, str]], language: str | None, reason: str
) -> None:
    assert clean(turns, language) == Drop(reason)


def test_a_system_message_may_come_first() -> None:
    turns = [{"role": "system", "content": "Be kind."}, *talk("Hi", "Hello")]
    assert contents(clean(turns, "en")) == ["Be kind.", "Hi", "Hello"]


def test_half_width_punctuation_after_han_becomes_full_width_in_chinese_alone() -> None:
    turns = talk("你好吗?", "是的, 我用 Python 3.11.很好. 好吧.")
    assert contents(clean(turns, "zh")) == ["你好吗？", "是的，我用 Python 3.11.很好。好吧。"]
    assert contents(clean(turns, None)) == ["你好吗?", "是的, 我用 Python 3.11.很好. 好吧."]


def test_english_takes_no_han_character_and_chinese_needs_one() -> None:
    assert fits_language("Beijing (北京)", "zh") and not fits_language("Beijing (北京)", "en")
    assert fits_language("22", "en") and not fits_language("22", "zh")
    assert fits_language("22", None)
