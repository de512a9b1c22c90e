"""Recipe files with `extends` and `--set path=value`, merged into one tree before anything is validated."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fromscratch.core.errors import FromScratchError

__all__ = ["assign", "load_recipe_tree", "parse_overrides"]


def load_recipe_tree(path: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe as one tree of plain values: what it extends, then the file, then all overrides together.

    Tables merge key by key and everything else is replaced. ``extends`` is a path or a list of paths, relative
    to the file that names it; later ones win. Raises FromScratchError for a missing or malformed file, for a
    circle, and for an override that walks through a plain value.
    """
    tree = _load(path, ())
    # The shortest path first: `--set a.b=1` refines `--set a={…}` in whichever order they were typed.
    for dotted, value in sorted((overrides or {}).items(), key=lambda pair: (pair[0].count("."), pair[0])):
        assign(tree, dotted, value)
    return tree


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """``["model.layers=4"]`` → ``{"model.layers": 4}``. Values are TOML; what is not TOML is taken as a string."""
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        dotted = dotted.strip()
        if not equals or not dotted or any(not part for part in dotted.split(".")):
            raise FromScratchError(
                f"--set {assignment}: not of the form path=value", "for example --set model.layers=4"
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        if dotted in parsed and parsed[dotted] != value:
            raise FromScratchError(
                f"--set {dotted} is given twice, as {parsed[dotted]!r} and as {value!r}", "keep one of the two"
            )
        parsed[dotted] = value
    return parsed


def _load(path: Path, trail: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in trail:
        circle = " → ".join(each.name for each in (*trail, path))
        raise FromScratchError(f"{path}: `extends` goes in a circle: {circle}", "remove one of the `extends` lines")
    try:
        text = path.read_text(encoding="utf-8")
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        asked = f" (asked for by {trail[-1].name})" if trail else ""
        raise FromScratchError(
            f"{path}: no such recipe{asked}", "a recipe is a TOML file such as recipes/demo.toml"
        ) from None
    except IsADirectoryError:
        raise FromScratchError(f"{path}: a folder, not a recipe", "name the TOML file inside it") from None
    except UnicodeDecodeError as error:
        raise FromScratchError(
            f"{path}: not UTF-8 at byte {error.start}", "save the recipe as UTF-8, which TOML asks for"
        ) from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        language = "JSON" if path.suffix == ".json" else "TOML"
        raise FromScratchError(f"{path}: not valid {language}: {error}", "mend the line that it names") from None
    bases = tree.pop("extends", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise FromScratchError(f"{path}: `extends` = {base!r} is no path", 'write extends = "other.toml"')
        _merge(merged, _load(path.parent / base, (*trail, path.resolve())))
    _merge(merged, tree)
    return merged


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        below = under.get(key)
        # Another kind of the union is another value: none of the old kind's fields carries over.
        same_kind = (
            isinstance(below, dict)
            and isinstance(value, Mapping)
            and value.get("kind", below.get("kind")) == below.get("kind")
        )
        if same_kind:
            assert isinstance(below, dict)
            _merge(below, value)
        else:
            under[key] = value


def assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put a value at a dotted path of a tree. Raises FromScratchError where the path walks through a plain value."""
    *parents, last = dotted.split(".")
    at: dict[str, Any] = tree
    for depth, part in enumerate(parents):
        below = at.setdefault(part, {})
        if not isinstance(below, dict):
            raise FromScratchError(
                f"--set {dotted}: `{'.'.join(parents[: depth + 1])}` = {below!r} has no settings inside",
                "set the value itself, or check the path with `fromscratch schema`",
            )
        at = below
    _merge(at, {last: value})
