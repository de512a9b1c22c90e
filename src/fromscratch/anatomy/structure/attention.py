"""Heads and rotary positions of a checkpoint: what its config claims, what its shapes allow, what its weights show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.claims import Claims
from fromscratch.anatomy.structure.heads import HeadWidth, Turning, find_head_width, find_turning
from fromscratch.anatomy.structure.roles import Finding, Part, Role, RotaryLayout
from fromscratch.anatomy.structure.sizes import Sizes, fused_rows
from fromscratch.anatomy.structure.units import Directions, cross_alignment, read_directions, stream_sample
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["Attention", "find_attention"]

LAYERS_READ = 4
UNITS_READ = 2048  # of the queries of a layer; whole heads, from the first one on


@dataclass(frozen=True)
class Attention:
    """None where it could not be told."""

    query_heads: int | None
    kv_heads: int | None
    head_width: int | None
    layout: RotaryLayout | None
    heads: Finding | None
    turning: Finding | None
    turning_share: float = 1.0


def find_attention(
    checkpoint: Checkpoint,
    parts: Mapping[str, Part],
    sizes: Sizes,
    claims: Claims,
    claimed_layout: RotaryLayout | None,
) -> Attention:
    """Heads from the config where shapes allow them, else from the weights; the rotary layout from the weights where
    they show it, else as the naming has it. Reads a few layers' attention."""
    if not sizes.query_width or not sizes.kv_width or sizes.query_width % sizes.kv_width:
        return Attention(None, None, None, None, None, None)
    certain = _certain_width(checkpoint, parts, sizes)
    claimed = claims.head_width or (sizes.query_width // claims.heads if claims.heads else None)
    wrong = _contradiction(sizes, claims, claimed)
    believed = certain or (None if wrong else claimed)
    score_QG, value_QG = _who_meets_whom(checkpoint, parts, sizes, believed)
    shown = HeadWidth(None, "weak", "queries and keys could not be read apart")
    if score_QG is not None and value_QG is not None:
        shown = find_head_width(score_QG, value_QG)
    width = believed or shown.width
    heads = _heads_finding(sizes, claimed, certain, shown, wrong)
    if width is None or sizes.kv_width % width:
        return Attention(None, None, None, claimed_layout, heads, None)
    turning = Turning(None, 1.0, "weak", shown.evidence)
    if score_QG is not None and score_QG.shape[1] % width == 0:
        turning = find_turning(score_QG, width)
    query_heads, kv_heads = sizes.query_width // width, sizes.kv_width // width
    layout, told = turning.layout or claimed_layout, _turning_finding(turning, claimed_layout)
    return Attention(query_heads, kv_heads, width, layout, heads, told, turning.share)


def _turning_finding(turning: Turning, claimed: RotaryLayout | None) -> Finding | None:
    if turning.layout is None:
        return claimed and Finding(claimed, "claimed", f"as the code for these names has it; {turning.evidence}")
    if claimed in (None, turning.layout):
        return Finding(turning.layout, turning.confidence, turning.evidence)
    against = f"the code for these names has {claimed}, and would turn the wrong pairs; {turning.evidence}"
    return Finding(turning.layout, "strong", against)


def _certain_width(checkpoint: Checkpoint, parts: Mapping[str, Part], sizes: Sizes) -> int | None:
    """Norms over one head, and stored frequencies of its pairs, tell its width by their length."""
    for name, part in parts.items():
        shape = checkpoint.tensors[name].shape
        if part.role == Role.ROTARY_FREQUENCIES and len(shape) == 1:
            return 2 * shape[0]
        if part.role == Role.QUERY_NORM and len(shape) == 1 and shape[0] < sizes.query_width:
            return shape[0]
    return None


def _contradiction(sizes: Sizes, claims: Claims, claimed: int | None) -> str | None:
    if not claimed or not claims.heads:
        return None
    kv_heads = claims.kv_heads or claims.heads
    if claims.heads * claimed == sizes.query_width and kv_heads * claimed == sizes.kv_width:
        return None
    return (
        f"the config says {claims.heads} heads of {claimed} over {kv_heads}, which its tensors are not: "
        f"queries have {sizes.query_width:,} rows, keys {sizes.kv_width:,}"
    )


def _heads_finding(
    sizes: Sizes, claimed: int | None, certain: int | None, shown: HeadWidth, wrong: str | None
) -> Finding | None:
    width = certain or (None if wrong else claimed) or shown.width
    if width is None:
        return Finding("unknown", "weak", wrong or shown.evidence)
    value = f"{sizes.query_width // width} of {width} over {sizes.kv_width // width}"
    if certain:
        return Finding(value, "certain", "the stored frequencies of rotary positions are of half a head")
    if claimed and not wrong:
        if shown.width == claimed:
            return Finding(value, "strong", f"as the config says; {shown.evidence}")
        if shown.width and shown.confidence == "strong":
            return Finding(
                value, "claimed", f"by the config; its weights look like heads of {shown.width}: {shown.evidence}"
            )
        return Finding(value, "claimed", "by the config, and shapes agree; the weights do not show it")
    return Finding(value, shown.confidence, shown.evidence + (f"; {wrong}" if wrong else ""))


def _who_meets_whom(
    checkpoint: Checkpoint, parts: Mapping[str, Part], sizes: Sizes, width: int | None
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Cross alignments of queries with keys and of outputs with values, over a few layers spread over the depth."""
    layers = sorted(
        part.layer for part in parts.values() if part.role == Role.ATTENTION_OUTPUT and part.layer is not None
    )
    chosen = [layers[round(each)] for each in np.linspace(0, len(layers) - 1, min(LAYERS_READ, len(layers)))]
    by_place = {(part.role, part.layer): part for part in parts.values()}
    cut = _cut(sizes, width)
    scores, values = [], []
    for layer in chosen:
        units = _layer_units(
            checkpoint, {role: part for (role, each), part in by_place.items() if each == layer}, sizes, cut, width
        )
        if Role.QUERY in units and Role.KEY in units:
            scores.append((units[Role.QUERY], units[Role.KEY]))
        if Role.ATTENTION_OUTPUT in units and Role.VALUE in units:
            values.append((units[Role.ATTENTION_OUTPUT], units[Role.VALUE]))
    return cross_alignment(scores) if scores else None, cross_alignment(values) if values else None


def _cut(sizes: Sizes, width: int | None) -> int:
    """The part of the heads to look at: 1 for all, 2 for half."""
    least = max(256, 2 * (width or 0))
    for cut in (1, 2, 4, 8, 16):
        if sizes.query_width // cut <= UNITS_READ or sizes.kv_width // (2 * cut) < least:
            return cut
    return 16


def _layer_units(
    checkpoint: Checkpoint, layer: Mapping[Role, Part], sizes: Sizes, cut: int, width: int | None
) -> dict[Role, Directions]:
    query_Q, kv_G = np.arange(sizes.query_width // cut), np.arange(sizes.kv_width // cut)
    wanted = {Role.QUERY: query_Q, Role.KEY: kv_G, Role.VALUE: kv_G, Role.ATTENTION_OUTPUT: query_Q}
    sample = stream_sample(sizes.width)
    found = {}
    for role, unit_U in wanted.items():
        part, rows_U = layer.get(role), unit_U
        if part is None and Role.QUERY_KEY_VALUE in layer:
            part = layer[Role.QUERY_KEY_VALUE]
            rows = fused_rows(part, sizes.query_width, sizes.kv_width, width)
            if role not in rows:
                continue
            rows_U = rows[role][unit_U]
        if part is None or len(checkpoint.tensors[part.name].shape) != 2:
            continue
        writes = (role == Role.ATTENTION_OUTPUT) != part.transposed
        if _fits(checkpoint.tensors[part.name].shape, writes, sizes.width, int(rows_U.max())):
            found[role] = read_directions(checkpoint.tensors[part.name], writes=writes, sample=sample, units=rows_U)
    return found


def _fits(shape: tuple[int, ...], writes: bool, width: int, last: int) -> bool:
    """A layer may be unlike the others, as where some have been pruned."""
    stream, units = shape if writes else shape[::-1]
    return stream == width and last < units
