"""What a conversation is, and how one that was read is cleaned or dropped with a reason."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fromscratch.tokenizer.chatml import Message

__all__ = ["Conversation", "Damage", "Drop", "Turns", "clean", "fits_language"]

Turns = Sequence[Message]  # as read
Conversation = tuple[Message, ...]  # cleaned; it ends with an answer


@dataclass(frozen=True)
class Drop:
    """A conversation that is whole but not wanted; reasons are counted."""

    reason: str


@dataclass(frozen=True)
class Damage:
    """A conversation or file that cannot be read; what is wrong with it is shown with its place."""

    what: str


HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
HALF_WIDTH_AFTER_HAN = re.compile(rf"(?<={HAN.pattern})\s*([,?!;:]|\.(?=\s*$|\s*{HAN.pattern}))\s*")
FULL_WIDTH = {",": "，", "?": "？", "!": "！", ";": "；", ":": "：", ".": "。"}


def clean(turns: Turns, language: str | None) -> Conversation | Drop:
    """The conversation up to its last answer, or why it is dropped.

    A system message may come first; then user and assistant take turns. Reasons: ``no_answer``, ``wrong_order``,
    ``empty_message``, ``wrong_language``, ``echo`` (an answer that only repeats its question).
    """
    messages = [{"role": turn["role"], "content": _tidy(turn["content"], language)} for turn in turns]
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        return Drop("no_answer")
    talk = messages[1:] if messages[0]["role"] == "system" else messages
    if [message["role"] for message in talk] != ["user", "assistant"] * (len(talk) // 2):
        return Drop("wrong_order")
    if not all(message["content"] for message in messages):
        return Drop("empty_message")
    if not all(fits_language(message["content"], language) for message in messages):
        return Drop("wrong_language")
    if any(_words(question) == _words(answer) for question, answer in _exchanges(talk)):
        return Drop("echo")
    return tuple(messages)


def fits_language(text: str, language: str | None) -> bool:
    """Whether the text has a Han character (for ``zh``) or none (for any other language); None takes every text."""
    return language is None or (HAN.search(text) is not None) == (language == "zh")


def _exchanges(talk: Turns) -> Iterator[tuple[str, str]]:
    for question, answer in zip(talk[::2], talk[1::2], strict=True):
        yield question["content"], answer["content"]


def _tidy(text: str, language: str | None) -> str:
    text = text.strip()
    return HALF_WIDTH_AFTER_HAN.sub(lambda found: FULL_WIDTH[found[1]], text) if language == "zh" else text


def _words(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
