"""Every code block of the README and the guides is one that works."""

import re
import shlex
from pathlib import Path

import pytest

from fromscratch.cli import parse_arguments
from fromscratch.recipe import load_recipe

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[Path, str]]:
    return [
        (page, text) for page in PAGES for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language
    ]


def commands() -> list[str]:
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    return [line.partition(" #")[0].partition(" > ")[0].strip() for line in lines if line.strip()]


@pytest.mark.parametrize("command", commands())
def test_each_command_of_the_pages_is_one_that_exists(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets)
    else:
        assert program.rpartition("/")[2] == "fromscratch"
        parse_arguments(arguments)
        for argument in arguments:
            assert not argument.startswith("recipes/") or (ROOT / argument).exists()


def test_the_recipes_of_the_guides_are_valid(tmp_path: Path) -> None:
    recipes = blocks("toml")
    assert recipes
    for page, text in sorted(recipes, key=lambda each: "extends" in each[1]):  # after what they extend
        name = re.search(r'^name = "(.+)"', text, re.MULTILINE)
        path = tmp_path / (f"{name.group(1)}.toml" if name else "extending.toml")
        path.write_text(text, encoding="utf-8")
        assert load_recipe(path).name, page


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_the_recipes_that_come_along_are_valid(recipe: Path) -> None:
    assert load_recipe(recipe).name == recipe.stem


def test_the_readme_names_every_folder() -> None:
    readme = PAGES[0].read_text("utf-8")
    for folder in sorted(each for each in (ROOT / "src" / "fromscratch").iterdir() if (each / "__init__.py").exists()):
        assert re.search(rf"\b{folder.name}/", readme), f"the tree lacks {folder.name}/"
