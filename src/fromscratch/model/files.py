"""A decoder on disk: `model.safetensors` with its weights and `model.json` with what it takes to build it again."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, digest_file
from fromscratch.core.settings import validate_settings
from fromscratch.model.decoder import Decoder
from fromscratch.model.description import DESCRIPTION, MAKE_IT_AGAIN, WEIGHTS, describe_model, read_description
from fromscratch.model.settings import DecoderSettings

__all__ = ["WEIGHTS", "build_with_weights", "copy_weights", "load_model", "read_safetensors", "save_model"]


def save_model(folder: Path, decoder: Decoder) -> None:
    """Write the decoder into ``folder``, each file atomically, the description last since it holds the weights' digest.

    Equal decoders give equal bytes. Parameters are written as they are, in fp32 after training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: each.detach().cpu().contiguous() for name, each in decoder.named_parameters()}
    with atomic_write(folder / WEIGHTS) as temporary:
        try:
            save_file(weights, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # its only failure on sound tensors is the disk
            raise OSError(f"{folder / WEIGHTS}: {error}") from error
    describe_model(folder, decoder.settings, decoder.vocabulary)


def load_model(folder: Path, device: torch.device | str = "cpu") -> Decoder:
    """Read what ``save_model`` wrote; every byte of the weights is checked.

    Raises FromScratchError for files that are missing, damaged, or do not belong together.
    """
    description = read_description(folder / DESCRIPTION)
    settings = validate_settings(DecoderSettings, description["settings"], f"{folder / DESCRIPTION}: settings")
    weights = read_safetensors(folder / WEIGHTS)
    if digest_file(folder / WEIGHTS) != description["sha256"]:
        raise FromScratchError(
            f"{folder / WEIGHTS}: its content is not what {DESCRIPTION} was written for",
            f"it is damaged or of another model; {MAKE_IT_AGAIN}",
        )
    return build_with_weights(settings, description["vocabulary"], weights, folder / WEIGHTS).to(device)


@torch.no_grad()
def copy_weights(decoder: Decoder, folder: Path) -> None:
    """Give the decoder, or the layers of it that are here, the weights of what ``save_model`` wrote.

    One tensor is read at a time. Raises FromScratchError where one is missing or of another shape.
    """
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        names = set(file.keys())
        for name, parameter in decoder.named_parameters():
            weights = file.get_tensor(name) if name in names else None
            if weights is None or weights.shape != parameter.shape:
                found = "missing" if weights is None else list(weights.shape)
                raise FromScratchError(
                    f"{folder / WEIGHTS}: tensor `{name}` is {found}, where the settings ask for "
                    f"{list(parameter.shape)}",
                    "start from a model of the same shape, or give the recipe the shape of that one",
                )
            parameter.copy_(weights)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises FromScratchError when it is missing, cut or not one."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FromScratchError(f"{path}: no such file", "name a folder with a finished model") from None
    except (SafetensorError, OSError) as error:
        raise FromScratchError(f"{path}: not a whole safetensors file ({error})", MAKE_IT_AGAIN) from None


def build_with_weights(
    settings: DecoderSettings,
    vocabulary: int,
    weights: Mapping[str, Tensor],
    origin: Path,
    name_there: Callable[[str], str] = str,
) -> Decoder:
    """A decoder with copies of these tensors (named as its parameters) as fp32.

    Raises FromScratchError that names ``origin``, and the tensor as it is called there, when one is missing,
    superfluous or of another shape.
    """
    with torch.device("meta"):
        decoder = Decoder(settings, vocabulary)
    expected = dict(decoder.named_parameters())
    for name in [*expected, *weights]:
        found = list(weights[name].shape) if name in weights else "missing"
        needed = list(expected[name].shape) if name in expected else "no such tensor"
        if found != needed:
            raise FromScratchError(
                f"{origin}: tensor `{name_there(name)}` is {found}, where the settings ask for {needed}",
                "weights and settings are of different models; use those that were written together",
            )
    # Copies: what safetensors hands out is the file's own memory.
    decoder.load_state_dict({name: each.to(torch.float32, copy=True) for name, each in weights.items()}, assign=True)
    return decoder
