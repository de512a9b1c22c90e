"""The processes of a training as a mesh with named dimensions, and what one of them has to know of the others.

B batch · T position · R sequences of this process · S positions of this process
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from fromscratch.core.errors import FromScratchError
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.pulse import Pulse, unheard

__all__ = ["ALONE", "Ranks", "arranged", "joined"]

# Slow disks and evaluations by one process alone must not pass for a hang.
PATIENCE = timedelta(minutes=30)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model. Alone, it is all of them, and nothing is ever sent.

    ``weights`` is the mesh (pipeline, replicate, shard · context, tensor): how parameters are shared out, where the
    processes that share out the positions of a sequence hold other parts of the weights, too. ``positions`` is
    (…, context). ``control`` is a gloo group of all for what is no tensor of a device, and ``saving`` another one for
    checkpoints, which are written beside the steps.
    """

    layout: Layout = field(default_factory=Layout)
    weights: DeviceMesh | None = None
    positions: DeviceMesh | None = None
    control: dist.ProcessGroup | None = field(default=None, repr=False)
    saving: dist.ProcessGroup | None = field(default=None, repr=False)
    beat: Pulse = field(default=unheard, repr=False, compare=False)
    """Tells whoever watches over this process what it begins to do."""

    @property
    def alone(self) -> bool:
        return self.control is None

    def heard_by(self, pulse: Pulse) -> "Ranks":
        return replace(self, beat=pulse)

    @property
    def number(self) -> int:
        """Of this process: 0 writes what all have made."""
        return 0 if self.control is None else dist.get_rank(self.control)

    def place(self, dimension: str) -> int:
        """Where this process stands along a dimension of the layout."""
        if self.weights is None or self.positions is None:
            return 0
        if dimension in ("shard", "context"):
            return self.positions.get_local_rank(dimension)
        return self.weights.get_local_rank(dimension)

    def part(self, tokens_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
        """What this process takes of a batch: its sequences [R, T], and the targets [R, S] of its positions."""
        layout = self.layout
        rows, positions = len(tokens_BT) // layout.data, tokens_BT.shape[1] // layout.sequence
        row = (self.place("replicate") * layout.shard + self.place("shard")) * rows
        position = (self.place("context") * layout.tensor + self.place("tensor")) * positions
        taken_RT, aims_RT = tokens_BT[row : row + rows], targets_BT[row : row + rows]
        return taken_RT, aims_RT[:, position : position + positions]

    def total(self, value: Tensor) -> Tensor:
        """The sum of a scalar over all processes."""
        if self.control is not None:
            dist.all_reduce(value)
        return value

    def norms(self, tensors: Sequence[Tensor], groups: Sequence[int], count: int) -> Tensor:
        """The Euclidean norm over all numbers of the tensors of all processes, and then those of ``count`` groups.

        ``groups`` numbers the group of each tensor. One sum over the processes, and nothing waits for the device.
        """
        each = list(torch._foreach_norm([_local(tensor) for tensor in tensors]))
        if self.control is not None:
            each = list(torch._foreach_div(each, [math.sqrt(_copies(tensor)) for tensor in tensors]))
        nothing = torch.zeros_like(each[0])
        parts = [[norm for norm, group in zip(each, groups, strict=True) if group == number] for number in range(count)]
        norms = torch.stack([torch.linalg.vector_norm(torch.stack(part or [nothing])) for part in (each, *parts)])
        return norms if self.control is None else self.total(norms.square()).sqrt()

    def told(self, value: T) -> T:
        """What process 0 has; it is pickled."""
        if self.control is None:
            return value
        values = [value]
        dist.broadcast_object_list(values, group=self.control, group_src=0)
        return values[0]

    def highest(self, *numbers: float) -> list[float]:
        """The highest of what the processes have, of each number."""
        if self.control is None:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self.control)
        highest: list[float] = values.tolist()
        return highest


ALONE = Ranks()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _copies(tensor: Tensor) -> int:
    """How many processes of the mesh hold each number of the tensor."""
    if not isinstance(tensor, DTensor):
        return 1
    return math.prod(
        tensor.device_mesh.size(dimension)
        for dimension, placement in enumerate(tensor.placements)
        if placement.is_replicate()
    )


@contextmanager
def joined(store: Store, rank: int, layout: Layout, device: torch.device, local_rank: int) -> Iterator[Ranks]:
    """Within the block this process is one of the layout's: NCCL between GPUs, gloo between CPUs.

    Raises FromScratchError when there are fewer GPUs on this machine than processes.
    """
    if device.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise FromScratchError(
                f"process {local_rank} of this machine finds {torch.cuda.device_count()} GPUs",
                'start one process per GPU, or set machine.device = "cpu"',
            )
        torch.cuda.set_device(local_rank)
    # Nothing is added in place to what attention and MLP return.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    # Nor is it news that a collective over two dimensions is two, or that gloo has no all-to-all of its own.
    for name in ("_redistribute", "_collective_utils"):
        logging.getLogger(f"torch.distributed.tensor.{name}").setLevel(logging.ERROR)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=layout.processes, timeout=PATIENCE)
    try:
        yield arranged(layout, device)
    finally:
        dist.destroy_process_group()


def arranged(layout: Layout, device: torch.device) -> Ranks:
    """The processes of the group that this one is in, by a layout of as many."""
    outer = (layout.pipeline, layout.replicate)
    weights = (*outer, layout.shard * layout.context, layout.tensor)
    positions = (*outer, layout.shard, layout.context, layout.tensor)
    names = ("pipeline", "replicate", "shard", "tensor")
    return Ranks(
        layout,
        init_device_mesh(device.type, weights, mesh_dim_names=names),
        init_device_mesh(device.type, positions, mesh_dim_names=(*names[:3], "context", "tensor")),
        dist.new_group(backend="gloo", timeout=PATIENCE),
        dist.new_group(backend="gloo", timeout=PATIENCE),
    )
