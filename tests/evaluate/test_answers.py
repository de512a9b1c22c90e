"""Answers are greedy, end by themselves or at the limit, and their language is that of their script."""

import pytest
from tokenizers import Tokenizer

from fromscratch.evaluate import answers as module
from fromscratch.evaluate.answers import Answer, answers, language_of, same_language
from fromscratch.evaluate.questions import QUESTIONS
from fromscratch.evaluate.settings import QUESTIONS_PER_LANGUAGE, EvaluateSettings
from fromscratch.model.decoder import Decoder
from fromscratch.model.generate import generate
from fromscratch.model.settings import Sampling
from fromscratch.tokenizer.chatml import IM_END, encode_chat, encode_plain
from fromscratch.tokenizer.special import END_OF_TEXT

from .conftest import random_decoder


@pytest.fixture(scope="module")
def decoder(tokenizer: Tokenizer) -> Decoder:
    return random_decoder(tokenizer.get_vocab_size(), seed=3)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("A river runs to the sea.", "en"),
        ("河流入海。", "zh"),
        ("调用 DescribeInstances 接口", "zh"),
        ("The word 道 means a way.", "en"),
        ("𠮷野家", "zh"),  # beyond the basic plane
        ("C'est une rivière.", "en"),  # script is all that is looked at
        ("", None),
        ("42!？ …", None),
        ("ок", None),
    ],
)
def test_the_language_of_an_answer_is_that_of_its_script(text: str, language: str | None) -> None:
    assert language_of(text) == language


def test_an_empty_answer_is_in_no_language() -> None:
    given = [Answer("?", text, ended=True) for text in ("是的。", "", "Yes.", "…")]
    assert (same_language(given, "zh"), same_language(given, "en")) == (1, 1)


def test_answers_are_what_greedy_decoding_gives_one_by_one(
    decoder: Decoder, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROMPTS_AT_ONCE", 2)
    asked = []
    prompts = ["The whale?", "第3回", "x"]
    given = answers(decoder, tokenizer, prompts, end_of_document=END_OF_TEXT, tokens=9, advance=lambda: asked.append(1))
    greedy = Sampling(temperature=0, max_tokens=9)
    for prompt, answer in zip(prompts, given, strict=True):
        ids = encode_chat(tokenizer, [{"role": "user", "content": prompt}])
        alone = list(generate(decoder, ids, sampling=greedy, stop=frozenset({IM_END, END_OF_TEXT}), seed=1))
        assert answer == Answer(prompt, tokenizer.decode(alone).strip(), ended=len(alone) < 9)
    assert len(asked) == 3


@pytest.mark.parametrize(("length", "ended"), [(4, True), (5, False)])
def test_an_answer_that_fills_its_limit_has_not_ended(
    decoder: Decoder, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, length: int, ended: bool
) -> None:
    said = encode_plain(tokenizer, "whale whale whale whale whale")[:length]
    monkeypatch.setattr(module, "generate_batch", lambda *_, **__: [said])
    (answer,) = answers(decoder, tokenizer, ["?"], end_of_document=END_OF_TEXT, tokens=5)
    assert answer.ended is ended and answer.text == tokenizer.decode(said)


def test_every_question_is_in_its_language_and_asked_once() -> None:
    for language, questions in QUESTIONS.items():
        assert len(set(questions)) == QUESTIONS_PER_LANGUAGE
        assert {language_of(each) for each in questions} == {language}
    assert {language_of(each) for each in EvaluateSettings().sample_prompts} == {"en", "zh"}
