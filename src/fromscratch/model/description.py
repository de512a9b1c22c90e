"""What lies beside a decoder's weights so that it can be built again; torch is not needed to write or read it."""

import json
from pathlib import Path
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file, write_json
from fromscratch.model.settings import DecoderSettings

__all__ = ["DESCRIPTION", "MAKE_IT_AGAIN", "WEIGHTS", "describe_model", "read_description"]

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
MAKE_IT_AGAIN = "remove it and run the command that made it again"


def describe_model(folder: Path, settings: DecoderSettings, vocabulary: int) -> None:
    """Write the description of the weights that lie in ``folder``: it holds their digest, so it comes after them."""
    write_json(
        folder / DESCRIPTION,
        {
            "settings": settings.model_dump(mode="json"),
            "vocabulary": vocabulary,
            "sha256": digest_file(folder / WEIGHTS),
        },
    )


def read_description(path: Path) -> dict[str, Any]:
    """The settings, the vocabulary and the digest of the weights. Raises FromScratchError for anything else."""
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in (("settings", dict), ("vocabulary", int), ("sha256", str)):
            if not isinstance(description[name], kind):
                raise TypeError(f"`{name}` is no {kind.__name__}")
        return dict(description)
    except FileNotFoundError:
        raise FromScratchError(f"{path}: no such file", "name a folder with a finished model") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FromScratchError(f"{path}: not a model description ({error})", MAKE_IT_AGAIN) from None
