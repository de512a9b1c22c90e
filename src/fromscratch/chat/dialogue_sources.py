"""Where the conversations of chat tuning come from: readers' settings, told apart by their `kind`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.files import digest_file, digest_value
from fromscratch.core.settings import Settings, refuse

__all__ = [
    "ChatterbotDialogues",
    "DerivedDialogues",
    "DialogueSource",
    "FileDialogues",
    "JsonLinesDialogues",
    "dialogue_digests",
]


Strings = tuple[Annotated[str, Field(min_length=1)], ...]
Language = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


class SourceSettings(Settings):
    """What all sources share."""

    weight: float = Field(default=1, gt=0)
    """Share of the training examples drawn from here, in proportion to the other weights."""

    limit: int | None = Field(default=None, gt=0)
    """At most this many conversations are used, chosen by the seed; all when absent."""

    language: Language | None = None
    """The language of the conversations (ISO 639). With `zh` every message needs a Han character, and half-width
    punctuation after one becomes full-width; with any other no message may have one. What breaks this is dropped and
    counted. Absent takes everything as it is."""


class FileDialogues(SourceSettings):
    """What sources share that are read from files."""

    package: str | None = None
    """Name of the recipe's `[packages.NAME]` whose archive holds the files; absent when `path` names them."""

    path: str | None = Field(default=None, min_length=1)
    """A file or folder of this machine, relative to the folder in which the command is run."""

    members: Strings = ("**",)
    """Patterns of the files within the archive or folder: `*` stays within a folder, `**` spans folders."""

    exclude: Strings = ()
    """Patterns of files to leave out."""

    license: str | None = Field(default=None, min_length=1)
    """SPDX expression of the conversations; that of the package when absent."""

    notice: str = ""
    """Attribution that the licence asks for; it goes into the NOTICE of a release."""

    @model_validator(mode="after")
    def _name_one_place(self) -> Self:
        if (self.package is None) == (self.path is None):
            refuse("exactly one of `@package` and `@path` names the place", "give one of the two")
        return self


class ChatterbotDialogues(FileDialogues):
    """YAML files of the ChatterBot corpus: `conversations` is a list of lists of strings."""

    kind: Literal["chatterbot"] = "chatterbot"

    alternatives: Strings = ()
    """Patterns of files in which a list is one question and several answers to it. Elsewhere speakers take turns."""


class JsonLinesDialogues(FileDialogues):
    """A conversation a line, also with .gz: `messages` of role and content, or `conversations` of from and value."""

    kind: Literal["jsonl"] = "jsonl"


class DerivedDialogues(SourceSettings):
    """Questions and answers made from documents of the corpus that were not held out: title → what the text says."""

    kind: Literal["derived"] = "derived"

    source: str = Field(min_length=1)
    """Name of the recipe's `[corpus.sources.NAME]`; its documents need titles."""

    questions: Strings = Field(min_length=1)
    """Wordings of the question; each has one `{title}`. The seed picks one per document."""

    answer_lines: int = Field(default=1, gt=0)
    """How many lines of the text are looked at; a first line that only repeats the title is not counted."""

    answer_sentences: int = Field(default=1, gt=0)
    """How many sentences of these lines make the answer."""

    least_characters: int = Field(default=4, gt=0)
    """Documents with a shorter answer are left out."""

    most_characters: int = Field(default=300, gt=0)
    """Documents with a longer answer are left out: an answer is never cut."""

    answer_pattern: str = ""
    """Regular expression that an answer must match from its start, for example `比喻|形容`; empty takes all."""

    refuse_characters: str = ""
    """Documents whose answer has one of these characters are left out, for example marks of damaged text."""

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        for each in self.questions:
            if each.count("{title}") != 1:
                refuse(f"`@questions` has {each!r}, without one {{title}}", 'write it as "What is {title}?"')
        if self.least_characters > self.most_characters:
            refuse(
                f"`@least_characters` = {self.least_characters} is above `@most_characters` = {self.most_characters}",
                "then no answer would do; lower the first",
            )
        try:
            re.compile(self.answer_pattern)
        except re.error as error:
            refuse(f"`@answer_pattern` = {self.answer_pattern!r} is no regular expression: {error}", "mend it")
        return self


DialogueSource = Annotated[ChatterbotDialogues | JsonLinesDialogues | DerivedDialogues, Field(discriminator="kind")]


def dialogue_digests(dialogues: Mapping[str, DialogueSource]) -> dict[str, str]:
    """`dialogues.NAME` → SHA-256 (hex) over the local files of each source that has any; packages are pinned anyhow.

    A path that is not there has no digest: whoever reads it says so.
    """
    digests = {}
    for name, source in dialogues.items():
        if isinstance(source, FileDialogues) and source.path is not None and Path(source.path).exists():
            root = Path(source.path)
            files = [root] if root.is_file() else sorted(each for each in root.rglob("*") if each.is_file())
            digests[f"dialogues.{name}"] = digest_value([[str(each), digest_file(each)] for each in files])
    return digests
