"""Sizes of a decoder from the shapes of tensors whose roles are known, and where each fused row belongs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.roles import Part, Role
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["READERS", "WRITERS", "Sizes", "fused_rows", "read_sizes", "with_orientation"]

READERS = frozenset(
    {Role.QUERY, Role.KEY, Role.VALUE, Role.KEY_VALUE, Role.QUERY_KEY_VALUE, Role.GATE, Role.UP, Role.GATE_UP}
)
"""Matrices that multiply the stream."""
WRITERS = frozenset({Role.ATTENTION_OUTPUT, Role.DOWN})
"""Matrices whose product is added to it."""


@dataclass(frozen=True)
class Sizes:
    """What shapes alone say. Zero where there is no such tensor."""

    width: int
    vocabulary: int
    layers: int
    mlp_width: int
    query_width: int
    """Of all query heads together."""
    kv_width: int
    """Of all keys together, and of all values."""
    uneven: tuple[str, ...]
    """Sentences about layers that are not like the others."""


def with_orientation(checkpoint: Checkpoint, parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts with ``transposed`` told by shapes: the side of the stream is as wide as the embedding.

    Square matrices follow the others of their checkpoint; projects do not mix the two.
    """
    width = _width(checkpoint, parts)
    votes = Counter[bool]()
    for name, part in parts.items():
        shape = checkpoint.tensors[name].shape
        if len(shape) == 2 and shape[0] != shape[1] and width in shape and part.role in READERS | WRITERS:
            votes[(shape[0] == width) == (part.role in READERS)] += 1
    turned = votes[True] > votes[False]
    return {
        name: replace(part, transposed=turned) if part.role in READERS | WRITERS else part
        for name, part in parts.items()
    }


def _width(checkpoint: Checkpoint, parts: Mapping[str, Part]) -> int:
    found = next((name for name, part in parts.items() if part.role == Role.EMBEDDING), None)
    shape = checkpoint.tensors[found].shape if found else ()
    return shape[1] if len(shape) == 2 else 0


def read_sizes(checkpoint: Checkpoint, parts: Mapping[str, Part]) -> Sizes:
    """Sizes, each the commonest over the layers; a layer that differs is told in ``uneven``."""
    sides: dict[Role, Counter[int]] = {}
    places: dict[tuple[Role, int], int | None] = {}
    for name, part in parts.items():
        shape = checkpoint.tensors[name].shape
        if part.role in READERS | WRITERS and len(shape) == 2:
            units = shape[0] if (part.role in READERS) != part.transposed else shape[1]
            sides.setdefault(part.role, Counter())[units] += 1
            places[part.role, units] = part.layer
    common = {role: counts.most_common(1)[0][0] for role, counts in sides.items()}
    uneven = tuple(
        f"the {role.value.replace('_', ' ')} of layer {places[role, units]} has {units:,} units, not {common[role]:,}"
        for role, counts in sides.items()
        for units in counts
        if units != common[role]
    )
    query_width = common.get(Role.QUERY) or common.get(Role.ATTENTION_OUTPUT, 0)
    kv_width = common.get(Role.KEY) or common.get(Role.KEY_VALUE, 0) // 2
    if Role.QUERY_KEY_VALUE in common:
        kv_width = (common[Role.QUERY_KEY_VALUE] - query_width) // 2
    embedding = next((name for name, part in parts.items() if part.role == Role.EMBEDDING), None)
    return Sizes(
        width=_width(checkpoint, parts),
        vocabulary=checkpoint.tensors[embedding].shape[0] if embedding else 0,
        layers=len({part.layer for part in parts.values() if part.layer is not None and part.role in READERS}),
        mlp_width=common.get(Role.DOWN) or common.get(Role.UP) or common.get(Role.GATE_UP, 0) // 2,
        query_width=query_width,
        kv_width=kv_width,
        uneven=uneven,
    )


def fused_rows(part: Part, query_width: int, kv_width: int, head_width: int | None) -> dict[Role, NDArray[np.int64]]:
    """The rows of a tensor of queries, keys and values that belong to each of the three.

    Grouped rows need the head width; without it the answer is empty.
    """
    if part.order == "stacked":
        first, second = query_width, query_width + kv_width
        bounds = {Role.QUERY: (0, first), Role.KEY: (first, second), Role.VALUE: (second, second + kv_width)}
        return {role: np.arange(*bound) for role, bound in bounds.items()}
    if not head_width or query_width % kv_width:
        return {}
    shared_by = query_width // kv_width
    unit_Q, unit_G = np.arange(query_width), np.arange(kv_width)
    group = (shared_by + 2) * head_width
    query_Q = unit_Q // (head_width * shared_by) * group + unit_Q % (head_width * shared_by)
    key_G = unit_G // head_width * group + shared_by * head_width + unit_G % head_width
    return {Role.QUERY: query_Q, Role.KEY: key_G, Role.VALUE: key_G + head_width}
