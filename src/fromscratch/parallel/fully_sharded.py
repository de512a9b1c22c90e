"""Weights shared out over processes that take other sequences (FSDP2), in groups that each hold all of them (HSDP)."""

from typing import Literal

import torch
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from fromscratch.model.decoder import Decoder, Layer
from fromscratch.parallel.mesh import Ranks

__all__ = ["share_out_weights"]


def share_out_weights(decoder: Decoder, ranks: Ranks, precision: Literal["fp32", "bf16", "fp8"]) -> None:
    """Make every parameter a DTensor that is gathered when it is used; gradients are summed in fp32.

    In bf16 the matrices of a layer are gathered as autocast would round them, half the bytes, with the same results.
    Norms, embedding and head stay fp32, as they are without sharding. Summed, not averaged: each process has its share
    of the mean loss already.
    """
    assert ranks.weights is not None
    mesh = ranks.weights["shard"] if ranks.layout.replicate == 1 else ranks.weights["replicate", "shard"]
    rounded = MixedPrecisionPolicy(torch.bfloat16 if precision != "fp32" else None, torch.float32)
    kept = MixedPrecisionPolicy(None, torch.float32, cast_forward_inputs=False)
    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        norms = [each for name, each in layer.attention.named_children() if name.endswith("norm")]
        if norms:
            fully_shard(norms, mesh=mesh, mp_policy=kept)
        fully_shard([layer.attention, layer.mlp], mesh=mesh, mp_policy=rounded)
    fully_shard(decoder, mesh=mesh, mp_policy=kept)
    for module in decoder.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(decoder, "loss")  # which is no ``forward``, and gathers all the same
