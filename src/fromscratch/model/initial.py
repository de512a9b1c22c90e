"""Initial weights: each a function of the seed and of its parameter's name and shape, and of nothing else."""

import hashlib

import torch

from fromscratch.model.decoder import Decoder
from fromscratch.model.spread import begins_at_zero, initial_std, truncation
from fromscratch.model.transfer import multiplier

__all__ = ["initialise"]


@torch.no_grad()
def initialise(decoder: Decoder, seed: int) -> None:
    """Draw the initial weights, on the CPU, so that every device and every sharding starts from the same.

    Weights of norms are 1 (or what muP has them carry), biases and Transformer-XL's vectors 0, and matrices normal
    with ``spread.initial_std``, truncated or 0 as the settings say.
    """
    settings = decoder.settings
    for name, parameter in decoder.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(multiplier(settings, name))
        elif begins_at_zero(settings, name):
            parameter.zero_()
        else:
            key = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
            std, cut = initial_std(settings, name), truncation(settings, name)
            drawn = torch.empty(parameter.shape)
            if cut is None:
                drawn.normal_(0.0, std, generator=generator)
            else:
                torch.nn.init.trunc_normal_(drawn, 0.0, std, -cut * std, cut * std, generator=generator)
            parameter.copy_(drawn)
