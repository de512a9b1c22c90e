"""The census of shapes: what a decoder has to be for its tensors to have these shapes so many times.

D model width · Q width of all query heads · G width of all key/value heads · F inner width of the MLP · V vocabulary
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["Census", "take_census"]

NUMBERS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Census:
    """One reading of the shapes."""

    width: int
    layers: int
    query_width: int
    kv_width: int
    mlp_width: int
    attention: Literal["separate", "fused"]
    mlp: Literal["gated", "plain", "fused"]
    tables: tuple[str, ...]
    """The embedding, and the head where it is another matrix."""
    positions: str | None
    matrices: Mapping[int, tuple[str, ...]]
    """Names of the layers' matrices by the side that is not the stream's."""
    vectors: Mapping[int, tuple[str, ...]]
    """Names of vectors by length."""
    strange: tuple[str, ...]
    """Matrices that this reading has no place for, and whatever is neither matrix nor vector."""
    surplus: int
    """Matrices of a layer's shape beyond what layers need."""
    rivals: int
    """Other readings that explain as much."""


def take_census(checkpoint: Checkpoint) -> Census | None:
    """The reading that explains most tensors, with most layers and the most usual sizes among those; None where a
    tenth of the matrices has no place in any."""
    matrices, vectors, strange = _sorted_out(checkpoint)
    if not matrices:
        return None
    sides = Counter(side for shape in matrices.values() for side in set(shape))
    readings: list[Census] = []
    for width, times in sides.most_common(4):
        if times >= 0.8 * len(matrices):
            readings += _readings(width, matrices, vectors, strange)
    left = {id(each): len(each.strange) + each.surplus for each in readings}
    readings = [each for each in readings if left[id(each)] - len(strange) <= len(matrices) / 10]
    if not readings:
        return None
    # where Q and F could be exchanged, the attention of most models is as wide as the stream
    best = min(readings, key=lambda each: (left[id(each)], -each.layers, each.query_width != each.width))
    equal = [each for each in readings if left[id(each)] == left[id(best)] and each.layers == best.layers]
    return replace(best, rivals=len(equal) - 1)


def _sorted_out(
    checkpoint: Checkpoint,
) -> tuple[dict[str, tuple[int, int]], dict[int, tuple[str, ...]], tuple[str, ...]]:
    matrices: dict[str, tuple[int, int]] = {}
    vectors = defaultdict[int, list[str]](list)
    strange = []
    for name, tensor in checkpoint.tensors.items():
        is_number = tensor.kind in NUMBERS or tensor.kind[:1] == "Q" or tensor.kind[:2] in ("IQ", "TQ", "MX")
        if is_number and len(tensor.shape) == 2 and min(tensor.shape) > 1:
            matrices[name] = (tensor.shape[0], tensor.shape[1])
        elif is_number and len(tensor.shape) == 1:
            vectors[tensor.shape[0]].append(name)
        else:
            strange.append(name)
    return matrices, {size: tuple(names) for size, names in vectors.items()}, tuple(strange)


def _readings(
    width: int,
    matrices: Mapping[str, tuple[int, int]],
    vectors: Mapping[int, tuple[str, ...]],
    strange: tuple[str, ...],
) -> Iterator[Census]:
    """Every way in which the matrices with a side of D make layers, with a table or two left."""
    by_side = defaultdict[int, list[str]](list)
    apart = list(strange)
    for name, (rows, columns) in matrices.items():
        if width not in (rows, columns):
            apart.append(name)
        else:
            by_side[columns if rows == width else rows].append(name)
    counts = {side: len(names) for side, names in by_side.items()}
    for per_layer, sizes, kinds in _templates(counts):
        layers = min(counts[side] // times for side, times in per_layer.items())
        left = {side: count - layers * per_layer.get(side, 0) for side, count in counts.items()}
        tables = sorted((side for side, count in left.items() if count and side not in per_layer), reverse=True)
        if layers < 1 or not tables or left[tables[0]] > 2 or tables[0] <= 1:
            continue
        vocabulary, *others = tables
        positions = next((side for side in others if left[side] == 1), None)
        used = {vocabulary, positions, *per_layer}
        over = [name for side, names in by_side.items() if side not in used for name in names]
        yield Census(
            width,
            layers,
            *sizes,
            *kinds,
            tables=tuple(by_side[vocabulary]),
            positions=by_side[positions][0] if positions else None,
            matrices={side: tuple(by_side[side]) for side in per_layer},
            vectors=vectors,
            strange=(*apart, *over),
            surplus=sum(left[side] for side in per_layer),
            rivals=0,
        )


Kinds = tuple[Literal["separate", "fused"], Literal["gated", "plain", "fused"]]


def _templates(counts: Mapping[int, int]) -> Iterator[tuple[dict[int, int], tuple[int, int, int], Kinds]]:
    """Matrices per layer by their side, for each way to build attention and MLP from sides that occur; the sizes Q, G
    and F. Sides of attention and MLP that coincide are not tried: nothing would tell their matrices apart by shape."""
    attentions: list[tuple[dict[int, int], int, int, Literal["separate", "fused"]]] = []
    for query in counts:
        attentions.append(({query: 4}, query, query, "separate"))
        for other in counts:
            if other < query and query % other == 0:
                attentions.append(({query: 2, other: 2}, query, other, "separate"))
            kv, odd = divmod(other - query, 2)
            if 0 < kv <= query and not odd and query % kv == 0:
                attentions.append(({query: 1, other: 1}, query, kv, "fused"))
    for inner in counts:
        mlps: list[tuple[dict[int, int], Literal["gated", "plain", "fused"]]] = [({inner: 3}, "gated")]
        mlps.append(({inner: 2}, "plain"))
        if 2 * inner in counts:
            mlps.append(({inner: 1, 2 * inner: 1}, "fused"))
        for matrices, mlp in mlps:
            for attention, query, kv, kind in attentions:
                if not attention.keys() & matrices.keys():
                    yield {**attention, **matrices}, (query, kv, inner), (kind, mlp)
