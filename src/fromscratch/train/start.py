"""A model to start pretraining from: whether it fits the recipe and its tokenizer. Torch is not needed to say so."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.core.settings import validate_settings
from fromscratch.model.description import DESCRIPTION, read_description
from fromscratch.model.settings import DecoderSettings

__all__ = ["refuse_other_tokenizer", "start_inputs"]

FREE = ("context_tokens", "window_tokens", "positions", "init", "parametrisation")
"""What further pretraining may change: how far positions reach, and what only a start from nothing needs."""
CUTTING = ("model", "added_tokens", "normalizer", "pre_tokenizer")
"""What in a ``tokenizer.json`` decides which ids a text becomes."""


def start_inputs(init_from: str | None, model: DecoderSettings) -> dict[str, str]:
    """The digest of the model that ``pretrain.init_from`` names, as an input of the stage.

    Raises FromScratchError where there is none, and where the recipe's decoder is another one.
    """
    if init_from is None:
        return {}
    path = Path(init_from) / DESCRIPTION
    if not path.is_file():
        raise FromScratchError(
            f"`pretrain.init_from` = {init_from!r}: no {DESCRIPTION} there",
            "`fromscratch import MODEL --out DIR` writes such a folder from any model; that of a run is RUN/pretrain",
        )
    start = validate_settings(DecoderSettings, read_description(path)["settings"], f"{path}: settings")
    ours, theirs = (_decisive(settings) for settings in (model, start))
    for name, asked in ours.items():
        if asked != theirs[name]:
            raise FromScratchError(
                f"`model.{name}` = {json.dumps(asked)}, and the model of `pretrain.init_from` has "
                f"{json.dumps(theirs[name])}",
                f"set it so, or start from another model than {init_from}",
            )
    return {"pretrain.init_from": digest_file(path)}


def refuse_other_tokenizer(init_from: str, ours: Path) -> None:
    """Raise FromScratchError unless the model was trained with the tokenizer of this run: ids mean nothing else."""
    beside = (Path(init_from) / "tokenizer.json", Path(init_from).parent / "tokenizer" / "tokenizer.json")
    found = next((path for path in beside if path.is_file()), None)
    hint = "start from a model that was trained on this run's tokenizer, or leave `pretrain.init_from` out"
    if found is None:
        raise FromScratchError(f"`pretrain.init_from` = {init_from!r}: no tokenizer.json there", hint)
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in (found, ours)]
    if any(contents[0].get(part) != contents[1].get(part) for part in CUTTING):
        pieces = [len(content["model"]["vocab"]) for content in contents]
        raise FromScratchError(
            f"{found} has {pieces[0]:,} pieces, and the tokenizer of this run has "
            + (f"{pieces[1]:,}" if pieces[0] != pieces[1] else "as many others")
            + ": the weights to start from know other ids",
            hint,
        )


def _decisive(settings: DecoderSettings) -> Mapping[str, Any]:
    tree = settings.model_dump(mode="json")
    return {
        **{name: value for name, value in tree.items() if name not in FREE},
        "positions.kind": settings.positions.kind,
    }
