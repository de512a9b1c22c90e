"""Heads found in the weights: their width from who works with whom, and which of their numbers turn together.

Q unit of all query heads · G unit of all key/value heads · K head width
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.roles import Confidence, RotaryLayout

__all__ = ["HeadWidth", "Turning", "find_head_width", "find_turning", "group_rows"]

WIDTHS = (8, 16, 24, 32, 40, 48, 64, 72, 80, 96, 112, 120, 128, 160, 192, 256)


@dataclass(frozen=True)
class HeadWidth:
    """What the weights say of the width of heads."""

    width: int | None
    confidence: Confidence
    evidence: str


@dataclass(frozen=True)
class Turning:
    """What the weights say of rotary positions."""

    layout: RotaryLayout | None
    share: float
    """Of each head's numbers that turn: 1, or less where positions are partly rotary."""
    confidence: Confidence
    evidence: str


def group_rows(query_width: int, kv_width: int, head_width: int) -> NDArray[np.int64]:
    """For each unit of the queries [Q], the unit of the keys or values [G] that it works with."""
    unit_Q = np.arange(query_width)
    shared_by = query_width // kv_width
    return np.asarray(unit_Q // (head_width * shared_by) * head_width + unit_Q % head_width, np.int64)


def find_head_width(score_QG: NDArray[np.float32], value_QG: NDArray[np.float32]) -> HeadWidth:
    """The head width that explains who works with whom: query with key units, output with value units.

    ``score_QG`` and ``value_QG`` are cross alignments (log). Within a head every unit may meet every other, for its
    basis is arbitrary; across heads they do not. The width is the one whose blocks explain most of the variance.
    """
    query_width, kv_width = score_QG.shape
    if query_width % kv_width:
        return HeadWidth(None, "weak", "the width of keys does not divide that of queries")
    explained = {}
    for width in WIDTHS:
        if kv_width % width == 0 and (query_width // width > 1):
            explained[width] = _explained(score_QG, width) + _explained(value_QG, width)
    if not explained:
        return HeadWidth(None, "weak", "no usual width of heads divides the width of keys")
    first, *rest = sorted(explained, key=lambda width: -explained[width])
    margin = explained[first] / max(explained[rest[0]], 1e-9) if rest else np.inf
    enough = explained[first] > 20
    told = ", ".join(f"{width}: {explained[width]:,.0f}" for width in (first, *rest[:2]))
    evidence = f"units work together in blocks; strength by width of a block, in squared standard errors: {told}"
    if not enough or margin < 1.1:
        return HeadWidth(None, "weak", evidence)
    return HeadWidth(first, "strong" if margin > 1.5 else "weak", evidence)


def _explained(x_QG: NDArray[np.float32], width: int) -> float:
    """Squared standard errors by which units of one head align more than units of different heads."""
    query_width, kv_width = x_QG.shape
    head_Q = np.arange(query_width) // (width * (query_width // kv_width))
    same_QG = head_Q[:, None] == (np.arange(kv_width) // width)[None]
    other_QG = ~same_QG
    if query_width == kv_width:  # a unit with its namesake is in one block for every width
        same_QG = same_QG & ~np.eye(query_width, dtype=bool)
    if not same_QG.any() or not other_QG.any():
        return 0.0
    gap = float(x_QG[same_QG].mean() - x_QG[other_QG].mean())
    error = float(x_QG.var()) * (1 / same_QG.sum() + 1 / other_QG.sum())
    return gap**2 / max(error, 1e-12) if gap > 0 else 0.0


def find_turning(score_QG: NDArray[np.float32], head_width: int) -> Turning:
    """Which numbers of a head turn together, from the cross alignment (log) of queries with keys.

    A rotation of a pair commutes with RoPE, so training mixes its two numbers freely, and the query's one meets the
    key's other as often as its own; numbers of different pairs turn at different speeds and do not mix so.
    """
    query_width, kv_width = score_QG.shape
    if head_width < 8 or head_width % 2:
        return Turning(None, 1.0, "weak", f"heads of {head_width} have too few pairs to tell")
    shared_by, heads = query_width // kv_width, kv_width // head_width
    x_HRKHK = score_QG.reshape(heads, shared_by, head_width, heads, head_width)
    x_NKK = np.stack([x_HRKHK[head, each, :, head] for head in range(heads) for each in range(shared_by)])
    unit_K = np.arange(head_width)
    partners = {("interleaved", 1.0): unit_K ^ 1}
    for share in (1.0, 0.5, 0.25):
        turned = int(head_width * share)
        if turned >= 8 or share == 1:
            partners["half_split", share] = np.where(unit_K < turned, (unit_K + turned // 2) % turned, unit_K)
    excess = {}
    near_KK = np.abs(unit_K[:, None] - unit_K[None])
    for (layout, share), partner_K in partners.items():
        moved = partner_K != unit_K
        pair_N = x_NKK[:, unit_K[moved], partner_K[moved]].mean(1)
        # beside it lie pairs of the same distance to within two, which do not turn together
        beside = (np.abs(near_KK - np.abs(partner_K - unit_K)[:, None]) <= 2) & (near_KK > 0)
        for other in partners.values():
            beside[unit_K, other] = False
        rest_N = x_NKK[:, beside & moved[:, None]].mean(1)
        gap_N = pair_N - rest_N
        spread = x_NKK.std() / np.sqrt(moved.sum())
        excess[layout, share] = float(gap_N.mean() / max(spread / np.sqrt(len(gap_N)), 1e-9))
    order = sorted(excess, key=lambda each: -excess[each])
    (layout, share), second = order[0], order[1]
    told = ", ".join(f"{name} {part:.0%}: {excess[name, part]:.1f}" for name, part in order)
    evidence = f"queries meet the keys of their pair beyond its neighbours, in standard errors: {told}"
    if excess[order[0]] < 6 or excess[order[0]] < 1.5 * excess[second]:
        return Turning(None, 1.0, "weak", evidence)
    return Turning(layout, share, "strong", evidence)  # type: ignore[arg-type]
