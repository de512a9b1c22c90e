"""Recipes merge what they extend and all overrides, in any order, and refuse nonsense in one sentence."""

import itertools
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from fromscratch.core.errors import FromScratchError
from fromscratch.core.recipe_file import load_recipe_tree, parse_overrides
from fromscratch.core.settings import Settings, refuse, validate_settings


class Shape(Settings):
    heads: int = Field(default=8, gt=0)
    kv_heads: int = 4
    rates: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _divide(self) -> "Shape":
        if self.heads % self.kv_heads:
            refuse(f"`@kv_heads` = {self.kv_heads} does not divide `@heads` = {self.heads}", "use 1, 2, 4 or 8")
        return self


class AdamW(Settings):
    kind: Literal["adamw"] = "adamw"
    rate: float = 1e-3


class Muon(Settings):
    kind: Literal["muon"] = "muon"
    momentum: float = 0.95


class Small(Settings):
    name: str
    model: Shape = Shape()
    optimizer: Annotated[AdamW | Muon, Field(discriminator="kind")] = AdamW()
    parts: dict[str, AdamW] = Field(default_factory=dict)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, *assignments: str) -> Small:
    overrides = parse_overrides(assignments)
    return validate_settings(Small, load_recipe_tree(path, overrides), path.name, overrides)


def test_a_recipe_extends_others_and_the_nearest_word_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base.toml",
        'name = "base"\n[model]\nheads = 16\nkv_heads = 2\n[optimizer]\nkind = "adamw"\nrate = 0.1',
    )
    write(tmp_path, "wide.toml", "[model]\nheads = 32")
    path = write(tmp_path, "it.toml", 'extends = ["base.toml", "wide.toml"]\nname = "it"\n[optimizer]\nkind = "muon"')
    recipe = read(path)
    assert (recipe.name, recipe.model.heads, recipe.model.kv_heads) == ("it", 32, 2)
    assert recipe.optimizer == Muon(), "another kind takes nothing over from the one that it replaces"


def test_overrides_give_the_same_recipe_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path, "it.toml", 'name = "it"')
    assignments = (
        "model.heads=12",
        "model.kv_heads=6",
        "model={heads=4, kv_heads=2}",
        "optimizer.kind=muon",
        "model.rates=[1, 2.5]",
    )
    recipes = {read(path, *order).model_dump_json() for order in itertools.permutations(assignments)}
    assert len(recipes) == 1
    recipe = read(path, *assignments)
    assert (recipe.model.heads, recipe.model.kv_heads, recipe.model.rates) == (12, 6, (1.0, 2.5))


def test_overrides_are_validated_together_and_not_one_by_one(tmp_path: Path) -> None:
    path = write(tmp_path, "it.toml", 'name = "it"')
    assert read(path, "model.heads=9", "model.kv_heads=3").model.heads == 9  # either alone would be refused


REFUSED = {
    "misspelt key": ('name = "it"\n[model]\nkv_head = 2', ()),
    "misspelt key set": ('name = "it"', ("model.hedas=2",)),
    "wrong type": ('name = "it"\n[model]\nheads = "eight"', ()),
    "number as text": ('name = "it"\n[model]\nheads = "8"', ()),
    "wrong type set": ('name = "it"', ("model.heads=many",)),
    "out of bounds": ('name = "it"\n[model]\nheads = 0', ()),
    "fields that disagree": ('name = "it"\n[model]\nkv_heads = 5', ()),
    "missing": ("[model]\nheads = 8", ()),
    "unknown kind": ('name = "it"\n[optimizer]\nkind = "moun"', ()),
    "missing kind": ('name = "it"\n[optimizer]\nrate = 1.0', ()),
    "inside a dictionary": ('name = "it"\n[parts.first]\nrats = 1.0', ()),
    "wrong element": ('name = "it"\n[model]\nrates = [1.0, "x"]', ()),
    "not TOML": ('name = "it', ()),
    "through a value": ('name = "it"', ("name.first=1",)),
    "no assignment": ('name = "it"', ("model.heads",)),
    "set twice": ('name = "it"', ("model.heads=8", "model.heads=16")),
    "missing base": ('extends = "nowhere.toml"\nname = "it"', ()),
    "a circle": ('extends = "it.toml"\nname = "it"', ()),
    "not UTF-8": ('name = "\udcff"', ()),
}


def test_what_is_wrong_with_a_recipe_is_one_sentence_and_a_hint(
    tmp_path: Path, golden: "pytest.FixtureRequest", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = []
    for name, (text, assignments) in REFUSED.items():
        Path("it.toml").write_bytes(text.encode("utf-8", errors="surrogateescape"))
        with pytest.raises(FromScratchError) as refused:
            read(Path("it.toml"), *assignments)
        assert "\n" not in refused.value.message
        said.append(f"# {name}\nerror: {refused.value.message}\nhint: {refused.value.hint}\n")
    golden.check("core/refused_recipes.txt", "\n".join(said))
