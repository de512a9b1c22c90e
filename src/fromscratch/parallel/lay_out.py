"""A decoder laid out over processes: what this one holds of it, and its initial weights, drawn one at a time."""

from collections.abc import Callable
from typing import Literal

import torch
from torch.distributed.tensor.experimental import implicit_replication

from fromscratch.model.decoder import Decoder
from fromscratch.model.fp8 import use_fp8
from fromscratch.model.settings import DecoderSettings
from fromscratch.parallel.context import cut_positions, exchange_heads
from fromscratch.parallel.fully_sharded import share_out_weights
from fromscratch.parallel.mesh import Ranks
from fromscratch.parallel.pipeline import cut_layers
from fromscratch.parallel.tensor import share_out_matrices

__all__ = ["lay_out"]


def lay_out(
    settings: DecoderSettings,
    vocabulary: int,
    ranks: Ranks,
    device: torch.device,
    precision: Literal["fp32", "bf16", "fp8"],
    fill: Callable[[Decoder], None],
) -> Decoder:
    """The decoder as this process holds it, its parameters under their names: DTensors, where there are others.

    ``fill`` writes initial weights into each parameter by its name; no process ever holds all of them.
    """
    if ranks.weights is None:
        decoder = Decoder(settings, vocabulary)
        fill(decoder)
        if precision == "fp8":
            use_fp8(decoder)
        return decoder.to(device)
    with torch.device("meta"):
        decoder = Decoder(settings, vocabulary)
    if precision == "fp8":
        use_fp8(decoder)
    layout = ranks.layout
    if layout.tensor > 1:
        share_out_matrices(decoder, ranks)
    if layout.context > 1:
        exchange_heads(decoder, ranks)
    if layout.pipeline > 1:
        cut_layers(decoder, ranks)
    if layout.sequence > 1:
        cut_positions(decoder, ranks)
    share_out_weights(decoder, ranks, precision)
    decoder.to_empty(device=device)
    with implicit_replication():  # a drawn matrix is the same everywhere, and each process takes its part
        fill(decoder)
    return decoder
