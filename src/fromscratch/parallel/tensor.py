"""The matrices of each layer shared out by columns and then by rows, and between them the positions.

That is tensor parallelism (arXiv 1909.08053) with sequence parallelism (arXiv 2205.05198).

B batch · T position · S positions of this process · D model width · V vocabulary · P = B, or 1
"""

from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from fromscratch.model.decoder import Decoder, Layer
from fromscratch.parallel.mesh import Ranks

__all__ = ["WholeHead", "share_out_matrices"]


class WholeHead(Decoder):
    """Multiplies with the whole head, for the positions of this process: the loss needs no vocabulary of a process."""

    @property
    def head_weight(self) -> Tensor:
        """[V, D]; each process has the gradient of its positions, and their sum goes back to who holds the rows."""
        weight = super().head_weight
        return weight.full_tensor(grad_placements=[Partial()]) if isinstance(weight, DTensor) else weight


def share_out_matrices(decoder: Decoder, ranks: Ranks) -> None:
    """Make every parameter a DTensor over the processes of ``tensor``, which hold whole heads of attention.

    Between attention and MLP each process has its part of the positions [B, S, D]; the embedding gives all of them,
    and ``positions.cut_positions`` cuts.
    """
    assert ranks.weights is not None
    mesh = ranks.weights["tensor"]
    norm = SequenceParallel(sequence_dim=1, use_local_output=True)
    heads_norm = SequenceParallel(sequence_dim=2, use_local_output=True)
    plan: dict[str, ParallelStyle] = {
        "embedding": RowwiseParallel(input_layouts=Replicate()),
        "position_embedding": RowwiseParallel(input_layouts=Replicate()),
        "head": ColwiseParallel(),
        "final_norm": norm,
    }
    within: dict[str, ParallelStyle] = {
        **{f"attention.{name}": ColwiseParallel() for name in ("query", "key", "value")},
        **{f"attention.{name}": heads_norm for name in ("query_norm", "key_norm")},
        **{f"mlp.{name}": ColwiseParallel() for name in ("gate", "up")},
        **{
            f"{part}.{name}": RowwiseParallel(output_layouts=Shard(1))
            for part, name in (("attention", "output"), ("mlp", "down"))
        },
        **dict.fromkeys(("attention_norm", "mlp_norm", "attention_output_norm", "mlp_output_norm"), norm),
    }
    _apply(decoder, mesh, plan)
    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        _apply(layer, mesh, within)
        for part in (layer.attention, layer.mlp):
            part.register_forward_pre_hook(_gathering(mesh))
    decoder.__class__ = WholeHead
    whole = [name for name, each in decoder.named_parameters() if not isinstance(each, DTensor)]
    assert not whole, f"no plan for {whole}, and gradients of mixed kinds have no common norm"


def _apply(module: nn.Module, mesh: DeviceMesh, plan: dict[str, ParallelStyle]) -> None:
    present = dict(module.named_modules())
    parallelize_module(module, mesh, {name: style for name, style in plan.items() if name in present})


def _gathering(mesh: DeviceMesh) -> Any:
    def gather(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """All positions of the first input; it stays a DTensor, so that gradients of its uses are summed at once."""
        part_BSD = DTensor.from_local(inputs[0], mesh, [Shard(1)], run_check=False)
        return part_BSD.redistribute(placements=[Replicate()]), *inputs[1:]

    return gather
