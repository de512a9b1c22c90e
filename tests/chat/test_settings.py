"""Settings of chat tuning: what makes no sense is refused with the place."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import model_validator

from fromscratch.chat.dialogue_sources import ChatterbotDialogues, JsonLinesDialogues, dialogue_digests
from fromscratch.chat.settings import TuneSettings, refuse_unknown_places
from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import Settings, validate_settings

LOOP = {"steps": 10, "batch_sequences": 4}
PAGES = {"kind": "derived", "source": "pages", "questions": ["What is {title}?"]}
TALKS = {"kind": "chatterbot", "package": "talks"}


class Recipe(Settings):
    """As much of a recipe as the check needs."""

    tune: TuneSettings
    """Chat tuning."""

    @model_validator(mode="after")
    def _know_the_places(self) -> "Recipe":
        refuse_unknown_places(["talks"], ["pages"], self.tune)
        return self


def test_sources_are_told_apart_by_kind_and_arrays_are_taken() -> None:
    tune = validate_settings(TuneSettings, LOOP | {"dialogues": {"pages": PAGES, "talks": TALKS}}, "recipe.toml")
    assert [each.kind for each in tune.dialogues.values()] == ["derived", "chatterbot"]
    again = validate_settings(TuneSettings, tune.model_dump(mode="json"), "recipe.json")
    assert again == tune


@pytest.mark.parametrize(
    ("dialogues", "message"),
    [
        ({}, "recipe.toml: `dialogues` = {} is refused"),
        ({"a": {**TALKS, "kind": "chatbot"}}, "recipe.toml: `dialogues.a.kind` = 'chatbot' is not known"),
        (
            {"a": {**TALKS, "path": "x"}},
            "recipe.toml: exactly one of `dialogues.a.package` and `dialogues.a.path` names",
        ),
        ({"a": {"kind": "jsonl"}}, "recipe.toml: exactly one of `dialogues.a.package` and `dialogues.a.path` names"),
        (
            {"a": {**PAGES, "questions": ["What?"]}},
            "recipe.toml: `dialogues.a.questions` has 'What?', without one {title}",
        ),
        (
            {"a": {**PAGES, "answer_pattern": "("}},
            "recipe.toml: `dialogues.a.answer_pattern` = '(' is no regular expression",
        ),
        ({"a": {**PAGES, "most_characters": 3}}, "recipe.toml: `dialogues.a.least_characters` = 4 is above"),
        ({"a": {**PAGES, "weight": 0}}, "recipe.toml: `dialogues.a.weight` = 0 is refused"),
        ({"a": {**PAGES, "wieght": 1}}, "recipe.toml: `dialogues.a.wieght` is not a setting"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_place(dialogues: dict[str, Any], message: str) -> None:
    with pytest.raises(FromScratchError) as refused:
        validate_settings(TuneSettings, LOOP | {"dialogues": dialogues}, "recipe.toml")
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize(
    ("dialogues", "message", "hint"),
    [
        (
            {**TALKS, "package": "talk"},
            "`tune.dialogues.a.package` = 'talk' is not a package of this recipe",
            "`talks`?",
        ),
        ({**PAGES, "source": "page"}, "`tune.dialogues.a.source` = 'page' is not a source of the corpus", "`pages`?"),
    ],
)
def test_places_that_the_recipe_does_not_name_are_refused_before_anything_runs(
    dialogues: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(FromScratchError) as refused:
        validate_settings(Recipe, {"tune": LOOP | {"dialogues": {"a": dialogues}}}, "recipe.toml")
    assert message in refused.value.message and hint in refused.value.hint


def test_local_dialogues_have_a_digest_that_follows_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talks" / "en").mkdir(parents=True)
    (tmp_path / "talks" / "en" / "a.jsonl").write_text("{}")
    sources = {
        "packed": ChatterbotDialogues(package="talks"),
        "missing": JsonLinesDialogues(path="nowhere"),
        "folder": JsonLinesDialogues(path="talks"),
        "file": JsonLinesDialogues(path="talks/en/a.jsonl"),
    }
    before = dialogue_digests(sources)
    assert sorted(before) == ["dialogues.file", "dialogues.folder"]
    assert dialogue_digests(sources) == before
    (tmp_path / "talks" / "en" / "a.jsonl").write_text("{ }")
    after = dialogue_digests(sources)
    assert all(after[name] != before[name] for name in before)
