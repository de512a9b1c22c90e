"""All dialogues of a recipe: read, cleaned, without repetitions, and counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fromscratch.chat.conversation import Conversation, Damage, Drop, Turns, clean
from fromscratch.chat.derived import derived_conversations
from fromscratch.chat.dialogue_sources import ChatterbotDialogues, DerivedDialogues, DialogueSource, FileDialogues
from fromscratch.chat.files import dialogue_files
from fromscratch.chat.order import shuffled
from fromscratch.chat.readers import chatterbot_conversations, json_line_conversations
from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.globs import name_filter
from fromscratch.corpus.sources import Package

__all__ = ["Reading", "read_dialogues"]

Found = tuple[str, Turns | Damage | Drop]  # the place, and what was there


@dataclass
class Reading:
    """What a source gave: conversations that end with an answer, and what was left out and why."""

    conversations: list[Conversation] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)  # "place: what is wrong", for people


def read_dialogues(
    name: str, source: DialogueSource, fetched: Path, corpus: Path, packages: Mapping[str, Package], seed: int
) -> Reading:
    """The conversations of the source of that name. ``fetched`` and ``corpus`` are the folders of these artifacts.

    The order is that of the files, or of the corpus; the seed decides which remain under a limit. Raises
    FromScratchError for a place that is not there and for a source that gives no conversation at all.
    """
    if isinstance(source, DerivedDialogues):
        found: Iterable[Found] = derived_conversations(corpus, source, seed)
        place = f"documents of `{source.source}` that were not held out"
    else:
        found = _in_files(source, fetched, packages)
        place = str(source.path or f"package `{source.package}`")
    reading = _gather(found, source.language, source.limit, seed)
    if not reading.conversations:
        losses = [f"{count:,} {reason}" for reason, count in sorted(reading.dropped.items())]
        losses += [f"{len(reading.damaged):,} damaged, first {reading.damaged[0]}"] if reading.damaged else []
        raise FromScratchError(
            f"`tune.dialogues.{name}` gives no conversation from {place}: {'; '.join(losses) or 'nothing is there'}",
            "mend its settings, or remove it from the recipe",
        )
    return reading


def _in_files(source: FileDialogues, fetched: Path, packages: Mapping[str, Package]) -> Iterator[Found]:
    alternatives = name_filter(source.alternatives) if isinstance(source, ChatterbotDialogues) else None
    for place, name, content in dialogue_files(source, fetched, packages):
        if alternatives is None:
            conversations = json_line_conversations(content)
        else:
            conversations = chatterbot_conversations(content, alternatives(name))
        for each in conversations:
            yield place, each


def _gather(found: Iterable[Found], language: str | None, limit: int | None, seed: int) -> Reading:
    """Clean what was found, leave out repetitions, and keep ``limit`` conversations chosen by the seed."""
    reading = Reading()
    seen = set()
    for place, item in found:
        cleaned = item if isinstance(item, Damage | Drop) else clean(item, language)
        if isinstance(cleaned, Damage):
            reading.damaged.append(f"{place}: {cleaned.what}")
            continue
        if isinstance(cleaned, Drop):
            reading.dropped[cleaned.reason] += 1
            continue
        key = tuple((message["role"], message["content"]) for message in cleaned)
        if key in seen:
            reading.dropped["duplicate"] += 1
            continue
        seen.add(key)
        reading.conversations.append(cleaned)
    if limit is not None and len(reading.conversations) > limit:
        reading.dropped["over_limit"] = len(reading.conversations) - limit
        chosen = shuffled(len(reading.conversations), seed, "limit")[:limit]
        reading.conversations = [reading.conversations[place] for place in np.sort(chosen)]
    return reading
