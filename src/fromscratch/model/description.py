"""What lies beside a decoder's weights so that it can be built again; torch is not needed to write it."""

from pathlib import Path

from fromscratch.core.files import digest_file, write_json
from fromscratch.model.settings import DecoderSettings

__all__ = ["DESCRIPTION", "WEIGHTS", "describe_model"]

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


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
