"""Initial weights: each a function of the seed and of its parameter's name and shape, and of nothing else."""

import hashlib
import math

import torch

from fromscratch.model.decoder import Decoder
from fromscratch.model.settings import DecoderSettings

__all__ = ["initial_std", "initialise"]


@torch.no_grad()
def initialise(decoder: Decoder, seed: int) -> None:
    """Draw the initial weights, on the CPU, so that every device and every sharding starts from the same.

    Weights of norms are 1, biases and Transformer-XL's vectors 0, and matrices normal with ``initial_std``.
    """
    for name, parameter in decoder.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1.0)
        elif name.endswith((".bias", ".distance.content", ".distance.position")):
            parameter.zero_()
        else:
            key = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
            std = initial_std(decoder.settings, name)
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))


def initial_std(settings: DecoderSettings, name: str) -> float:
    """Standard deviation of a matrix: ``init_std``, over √(2 · layers) where it writes to the stream (GPT-2)."""
    if name.endswith((".attention.output.weight", ".mlp.down.weight")):
        return settings.init_std / math.sqrt(2 * settings.layers)
    if name == "embedding.weight" and settings.embedding_init_std is not None:
        return settings.embedding_init_std
    return settings.init_std
