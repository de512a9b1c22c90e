"""The places of a decoder that weights can stand in, whatever file layout they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.roles import Part, Role, Structure
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["Axis", "Rows", "Slot", "Source", "axes_of", "sources_of"]

Rows = NDArray[np.int64]

FUSED = {
    Role.QUERY_KEY_VALUE: (Role.QUERY, Role.KEY, Role.VALUE),
    Role.KEY_VALUE: (Role.KEY, Role.VALUE),
    Role.GATE_UP: (Role.GATE, Role.UP),
    Role.QUERY_KEY_VALUE_BIAS: (Role.QUERY_BIAS, Role.KEY_BIAS, Role.VALUE_BIAS),
    Role.KEY_VALUE_BIAS: (Role.KEY_BIAS, Role.VALUE_BIAS),
    Role.GATE_UP_BIAS: (Role.GATE_BIAS, Role.UP_BIAS),
}

OUTSIDE = (Role.EMBEDDING, Role.POSITION_EMBEDDING, Role.FINAL_NORM, Role.FINAL_NORM_BIAS, Role.HEAD, Role.HEAD_BIAS)

Axis = Literal["tokens", "width", "queries", "keys", "values", "heads out", "units", "other"]
AXES: Mapping[str, tuple[Axis, Axis]] = {
    Role.EMBEDDING: ("tokens", "width"),
    Role.HEAD: ("tokens", "width"),
    Role.POSITION_EMBEDDING: ("other", "width"),
    Role.QUERY: ("queries", "width"),
    Role.KEY: ("keys", "width"),
    Role.VALUE: ("values", "width"),
    Role.ATTENTION_OUTPUT: ("width", "heads out"),
    Role.GATE: ("units", "width"),
    Role.UP: ("units", "width"),
    Role.DOWN: ("width", "units"),
    Role.QUERY_NORM: ("other", "other"),
    Role.KEY_NORM: ("other", "other"),
}


@dataclass(frozen=True, order=True)
class Slot:
    """A role in a layer; ``-1`` outside the layers. What has no role, or no layer, is told apart by its name."""

    role: str
    layer: int = -1
    name: str = ""


@dataclass(frozen=True)
class Source:
    """Which rows of which tensor stand in a slot. Rows are those of the (out, in) form."""

    slot: Slot
    tensor: str
    transposed: bool
    rows: Rows | None
    """None for all of them, in order."""


def axes_of(slot: Slot) -> tuple[Axis, Axis]:
    """What rows and columns of a slot are numbered by; a vector is one row."""
    if slot.role in AXES:
        return AXES[slot.role]
    if slot.role.endswith("_bias") and not slot.role.endswith("norm_bias"):
        return "other", AXES.get(slot.role.removesuffix("_bias"), ("other", "other"))[0]
    return "other", "width" if "norm" in slot.role else "other"


def sources_of(checkpoint: Checkpoint, structure: Structure) -> list[Source]:
    """The slots of a checkpoint, its fused tensors taken apart; buffers that are no weights are left out."""
    found = []
    for name, tensor in checkpoint.tensors.items():
        part = structure.parts.get(name, Part(name, Role.UNKNOWN, None))
        if part.role.is_weight and tensor.nbytes:
            found += _sources(part, tensor.shape, structure)
    return found


def _sources(part: Part, shape: tuple[int, ...], structure: Structure) -> list[Source]:
    transposed = part.transposed and len(shape) == 2
    if part.role in FUSED:
        rows = shape[1] if transposed else shape[0]
        split = _split(part, rows, structure)
        if split:
            return [Source(_slot(role, part), part.name, transposed, each) for role, each in split.items()]
    return [Source(_slot(part.role, part), part.name, transposed, None)]


def _slot(role: Role, part: Part) -> Slot:
    if part.layer is not None:
        return Slot(role, part.layer, part.name if role == Role.UNKNOWN else "")
    return Slot(role, -1, "" if role in OUTSIDE else part.name)


def _split(part: Part, rows: int, structure: Structure) -> Mapping[Role, Rows]:
    """Rows of a fused tensor by role; nothing where its sizes do not agree with the heads that were found."""
    roles = FUSED[part.role]
    if roles[0] in (Role.GATE, Role.GATE_BIAS):
        heads, counts = 1, [rows // 2, rows // 2]
        if part.order == "grouped":
            heads, counts = rows // 2, [1, 1]
    else:
        queries, width = structure.query_heads, structure.head_width
        if not (queries and structure.kv_heads and width):
            return {}
        heads = structure.kv_heads
        counts = [queries // heads * width, width, width][-len(roles) :]
        if part.order == "stacked":
            heads, counts = 1, [count * heads for count in counts]
    if heads * sum(counts) != rows:
        return {}
    table = np.arange(rows).reshape(heads, -1)
    ends = np.cumsum([0, *counts])
    return {role: table[:, ends[n] : ends[n + 1]].reshape(-1) for n, role in enumerate(roles)}
