"""What a chat model answers, and whether it answers in the language of the question."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer

from fromscratch.model.decoder import Decoder
from fromscratch.model.generate import generate_batch
from fromscratch.model.settings import Sampling
from fromscratch.tokenizer.chatml import IM_END, encode_chat

__all__ = ["Answer", "answers", "language_of", "same_language"]

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")
PROMPTS_AT_ONCE = 32


@dataclass(frozen=True)
class Answer:
    """A greedy answer; ``ended`` says whether the model stopped by itself before the limit of tokens."""

    prompt: str
    text: str
    ended: bool


def answers(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompts: Iterable[str],
    *,
    end_of_document: int,
    tokens: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """Ask each prompt in a conversation of its own and decode greedily, ``tokens`` at most."""
    sampling = Sampling(temperature=0, top_k=None, top_p=None, max_tokens=tokens)
    stop = frozenset({IM_END, end_of_document})
    questions = [(each, encode_chat(tokenizer, [{"role": "user", "content": each}])) for each in prompts]
    given = []
    for at in range(0, len(questions), PROMPTS_AT_ONCE):
        side_by_side = questions[at : at + PROMPTS_AT_ONCE]
        said = generate_batch(decoder, [ids for _, ids in side_by_side], sampling=sampling, stop=stop, seed=0)
        for (prompt, ids), answer in zip(side_by_side, said, strict=True):
            ended = len(answer) < min(tokens, decoder.settings.context_tokens - len(ids))
            given.append(Answer(prompt, tokenizer.decode(answer, skip_special_tokens=True).strip(), ended))
            advance()
    return given


def language_of(text: str) -> str | None:
    """Chinese where Han characters outnumber Latin words, English the other way round, None where neither does.

    A Chinese sentence may name a `DescribeInstances` and an English one a 道: a Latin word weighs as much as a Han
    character. Script is all that is looked at, so French counts as English.
    """
    han, latin = len(HAN.findall(text)), len(LATIN_WORD.findall(text))
    if han == latin:
        return None
    return "zh" if han > latin else "en"


def same_language(given: Iterable[Answer], language: str) -> int:
    """How many of the answers are in ``language``; an empty one is not."""
    return sum(language_of(each.text) == language for each in given)
