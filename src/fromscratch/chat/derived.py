"""Questions and answers made from corpus documents: a title is asked about, and the text's first sentences answer."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from fromscratch.chat.conversation import Drop, Turns
from fromscratch.chat.dialogue_sources import DerivedDialogues
from fromscratch.corpus.documents import read_documents
from fromscratch.tokens.keys import key_of

__all__ = ["derived_conversation", "derived_conversations", "sentences"]

SENTENCE_END = re.compile(r"[。！？][”’」』）]*|[.!?][\"'”’)\]]*(?=\s|$)")
# A full stop after these ends no sentence; a single letter is an initial, the `c.` of a year or the last of `U.S.`
ABBREVIATION = re.compile(
    r"\b([A-Za-z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|No|vs|ca|approx|Inc|Ltd|Co|Gen|Col|Lt|Mt|Ft|lit|fl|cf|pl|Prof|Rev)\.$"
)
BRACKETED_TAIL = re.compile(r"\s*[(（][^()（）]*[)）]$")  # the `(film)` that tells two pages apart


def derived_conversations(
    corpus_folder: Path, source: DerivedDialogues, seed: int
) -> Iterator[tuple[str, Turns | Drop]]:
    """The id of each document of the source that was not held out, and its conversation or why it makes none.

    Held-out documents are left alone: what the evaluation asks for was never told during tuning.
    """
    for table in read_documents(corpus_folder, ["id", "source", "title", "text"], split="train"):
        for document in table.filter(pc.equal(table["source"], source.source)).to_pylist():
            # The wording depends on the document and the seed, not on which other documents there are.
            wording = source.questions[key_of(seed, document["id"]) % len(source.questions)]
            yield document["id"], derived_conversation(document["title"], document["text"], source, wording)


def derived_conversation(title: str | None, text: str, source: DerivedDialogues, wording: str) -> Turns | Drop:
    """A question about the title, in the given wording, and what the text says first.

    Reasons: ``no_title``, ``no_whole_sentence``, ``too_short``, ``too_long``, ``refused_character``, ``no_match``.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if title is None or not title.strip():
        return Drop("no_title")
    if lines and lines[0] == title.strip():
        lines = lines[1:]
    answer = "".join(sentences("\n".join(lines[: source.answer_lines]))[: source.answer_sentences]).strip()
    if not answer:
        return Drop("no_whole_sentence")
    if len(answer) < source.least_characters:
        return Drop("too_short")
    if len(answer) > source.most_characters:
        return Drop("too_long")
    if any(character in source.refuse_characters for character in answer):
        return Drop("refused_character")
    if not re.match(source.answer_pattern, answer):
        return Drop("no_match")
    question = wording.replace("{title}", _as_the_answer_says(BRACKETED_TAIL.sub("", title.strip()), answer))
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def sentences(text: str) -> list[str]:
    """The whole sentences of an English or Chinese text, with the white space before them; an unended rest is left out.

    >>> sentences("He met Mr. Smith in the U.S. Army. They talked. And")
    ['He met Mr. Smith in the U.S. Army.', ' They talked.']
    """
    found = []
    start = 0
    for end in SENTENCE_END.finditer(text):
        rest = text[end.end() :].lstrip()
        if ABBREVIATION.search(text, start, end.start() + 1) or rest[:1].islower():
            continue
        found.append(text[start : end.end()])
        start = end.end()
    return found


def _as_the_answer_says(title: str, answer: str) -> str:
    """A title as it stands within a sentence: `Hat` is asked about as `a hat` when the answer begins `A hat is`."""
    found = re.match(rf"(an?|the) ({re.escape(title)})\b", answer, re.IGNORECASE)
    if found:
        return f"{found[1].lower()} {found[2]}"
    lowered = title[:1].lower() + title[1:]
    return lowered if title not in answer and lowered in answer else title
