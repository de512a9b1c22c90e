"""Where a model runs: on the GPU when there is one, unless the machine settings say otherwise."""

import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine

__all__ = ["choose_device"]


def choose_device(machine: Machine) -> torch.device:
    """The device that the machine settings ask for. Raises FromScratchError for a GPU that is not there."""
    if machine.device == "cuda" and not torch.cuda.is_available():
        raise FromScratchError(
            '`machine.device` = "cuda", and torch sees no GPU here', 'set machine.device = "cpu" or "auto"'
        )
    wanted = machine.device if machine.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)
