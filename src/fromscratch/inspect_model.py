"""The verb `inspect`: the architecture card of a preset, or of the model that a recipe would train."""

import json
from collections.abc import Sequence
from pathlib import Path

from fromscratch.core.recipe_file import parse_overrides
from fromscratch.model.card import architecture_card, card_page
from fromscratch.model.presets import PRESETS, preset
from fromscratch.recipe import load_recipe

__all__ = ["inspect_subject"]


def inspect_subject(subject: str, assignments: Sequence[str] = (), *, as_json: bool = False) -> str:
    """The card of a preset or a recipe (a path that ends in .toml), or of `all` presets a line each.

    Raises FromScratchError for what is neither.
    """
    if subject == "all":
        return _list(as_json)
    if subject.endswith(".toml"):
        recipe = load_recipe(Path(subject), parse_overrides(assignments))
        card, remarks = architecture_card(recipe.model, recipe.tokenizer.pieces), dict[str, str]()
    else:
        known = preset(subject)
        card = architecture_card(known.settings, known.vocabulary)
        published = "exactly" if known.exact else "within 1 % of"
        remarks = {"source": f"{known.source}; {published} {known.published_parameters:,} parameters"}
        remarks |= {"note": known.note} if known.note else {}
    if as_json:
        return json.dumps({"name": subject, **card, **remarks}, ensure_ascii=False)
    return card_page(subject, card, remarks)


def _list(as_json: bool) -> str:
    totals = {
        name: architecture_card(each.settings, each.vocabulary)["parameters"]["total"] for name, each in PRESETS.items()
    }
    if as_json:
        return json.dumps(totals)
    return "\n".join(f"{name:<16} {total:>18,}" for name, total in totals.items())
