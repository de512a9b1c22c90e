"""Positions shared out over processes, which within attention hold all positions of some heads instead.

This is the exchange of DeepSpeed-Ulysses (arXiv 2309.14509). Any kernel of attention will do.

B batch · T position · S positions of this process · D model width · X numbers of all heads here · Y those of some heads
P = B, or 1 · A = H query heads, or 1
"""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from fromscratch.model.decoder import Decoder, Layer, Place
from fromscratch.parallel.mesh import Ranks

__all__ = ["cut_positions", "exchange_heads", "gather_positions"]


def exchange_heads(decoder: Decoder, ranks: Ranks) -> None:
    """Let attention see all positions: queries, keys and values come as [B, S, X] and go on as [B, T, Y]."""
    assert ranks.positions is not None
    mesh = ranks.positions["context"]

    def to_heads(_module: nn.Module, _inputs: Any, made_BSX: Tensor) -> Tensor:
        return _exchanged(made_BSX, mesh, Shard(1), Shard(2))

    def to_positions(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (_exchanged(inputs[0], mesh, Shard(2), Shard(1)),)

    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        for linear in (layer.attention.query, layer.attention.key, layer.attention.value):
            linear.register_forward_hook(to_heads)
        layer.attention.output.register_forward_pre_hook(to_positions, prepend=True)


def cut_positions(decoder: Decoder, ranks: Ranks) -> None:
    """Let the first layer here, and so all, have the positions of this process, and attention the biases of its heads.

    Where a pipeline goes on with another process, the last layer gives all positions again.
    """
    layout = ranks.layout
    number = ranks.place("tensor") * layout.context + ranks.place("context")

    def cut(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return _own_positions(inputs[0], ranks), *inputs[1:]

    def own_heads(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The bias [P, A, T, T] of the heads that are here."""
        place = next(each for each in inputs if isinstance(each, Place))
        if place.bias is None or place.bias.shape[1] == 1:
            return inputs
        heads = place.bias.shape[1] // layout.sequence
        own = replace(place, bias=place.bias[:, number * heads : (number + 1) * heads])
        return tuple(own if each is place else each for each in inputs)

    next(iter(decoder.layers)).register_forward_pre_hook(cut)
    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        layer.attention.register_forward_pre_hook(own_heads)


def gather_positions(part_BSD: Tensor, ranks: Ranks) -> Tensor:
    """All positions [B, T, D], for the stage of a pipeline that goes on with them."""
    assert ranks.weights is not None and ranks.positions is not None
    for mesh in (ranks.weights["tensor"], ranks.positions["context"]):
        if mesh.size() > 1:
            part_BSD = _exchanged(part_BSD, mesh, Shard(1), Replicate())
    return part_BSD


def _own_positions(x_BTD: Tensor, ranks: Ranks) -> Tensor:
    """Every process has the gradient of its own positions alone, but those of ``tensor``, who use the embedding
    together, need all of it."""
    assert ranks.weights is not None
    length = x_BTD.shape[1] // ranks.layout.context
    x_BTD = x_BTD.narrow(1, ranks.place("context") * length, length)
    mesh = ranks.weights["tensor"]
    return _exchanged(x_BTD, mesh, Replicate(), Shard(1)) if mesh.size() > 1 else x_BTD


def _exchanged(tensor: Tensor, mesh: DeviceMesh, held: Shard | Replicate, wanted: Shard | Replicate) -> Tensor:
    return (
        DTensor.from_local(tensor.contiguous(), mesh, [held], run_check=False)
        .redistribute(placements=[wanted])
        .to_local()
    )
