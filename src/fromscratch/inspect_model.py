"""The verb `inspect`: the card of a preset, of the model that a recipe would train, or of one that lies somewhere."""

import json
from collections.abc import Sequence
from pathlib import Path

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.structure.card import model_card, model_page
from fromscratch.core.errors import FromScratchError
from fromscratch.core.recipe_file import parse_overrides
from fromscratch.model.card import architecture_card, card_page
from fromscratch.model.presets import PRESETS, preset
from fromscratch.recipe import load_recipe

__all__ = ["inspect_subject"]


def inspect_subject(
    subject: str, assignments: Sequence[str] = (), *, as_json: bool = False, blind: bool = False
) -> str:
    """The card of a recipe (a path that ends in .toml), of a model (a file, a folder or a URL), of a preset, or of
    `all` presets a line each. ``blind`` looks at a model without its names and its config.

    Raises FromScratchError for what is none of these.
    """
    if subject == "all":
        return _list(as_json)
    if not subject.endswith(".toml") and ("://" in subject or Path(subject).exists()):
        found = model_card(open_checkpoint(subject), blind)
        return json.dumps(found, ensure_ascii=False) if as_json else model_page(found)
    if blind:
        raise FromScratchError(f"{subject}: there are no weights to look at", "name a model's file or folder")
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
