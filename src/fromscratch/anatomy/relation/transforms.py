"""What happened to numbers that are all still there: the transforms between two layouts, each with its evidence."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fromscratch.anatomy.relation.digests import NATIVE, PRECISIONS
from fromscratch.anatomy.relation.exact import Origin
from fromscratch.anatomy.relation.fingerprint import Fingerprint, Heads, SlotPrint
from fromscratch.anatomy.relation.judgement import Step, Transform
from fromscratch.anatomy.relation.nearness import ROUNDING
from fromscratch.anatomy.relation.sampling import Places
from fromscratch.anatomy.relation.slots import Axis, Slot, axes_of
from fromscratch.anatomy.structure.roles import Role

__all__ = ["HeadMove", "head_move", "names_of", "rotary_order", "transforms"]


@dataclass(frozen=True)
class HeadMove:
    """A permutation of rows that moves heads as wholes."""

    heads: Places
    """For each head of b the head of a."""
    interleaved: bool | None
    """Whether numbers that turn together went from halves to side by side (True) or back (False); None for neither."""


def rotary_order(width: int) -> Places:
    """Row of the half-split layout at each row of the interleaved one, within a head."""
    return np.arange(width).reshape(2, width // 2).T.reshape(-1)


def head_move(rows: Places, width: int) -> HeadMove | None:
    """A permutation of rows read as one of heads of this width, with or without a change of rotary layout."""
    if width < 2 or width % 2 or len(rows) % width or (rows < 0).any():
        return None
    heads = rows.reshape(-1, width)
    sources, within = heads // width, heads % width
    if (sources != sources[:, :1]).any():
        return None
    order = rotary_order(width)
    patterns = {None: np.arange(width), True: order, False: np.argsort(order)}
    for interleaved, pattern in patterns.items():
        if (within == pattern).all():
            return HeadMove(sources[:, 0], interleaved)
    return None


def names_of(a: Fingerprint, b: Fingerprint, found: Mapping[Slot, Origin]) -> dict[str, tuple[str, ...]]:
    """Tensor of b → tensors of a that it is made of, in the order in which they lie in it."""
    pieces: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for slot, origin in found.items():
        each = b.slots[slot]
        pieces[each.tensor].append(((each.rows or (0, 0))[0], a.slots[origin.slot].tensor))
    return {name: tuple(dict.fromkeys(each for _, each in sorted(parts))) for name, parts in pieces.items()}


def transforms(a: Fingerprint, b: Fingerprint, found: Mapping[Slot, Origin]) -> list[Step]:
    """Everything that was done to a's layout, whether or not the numbers were changed as well."""
    touched: dict[tuple[Transform, str], set[str]] = defaultdict(set)
    for slot, origin in found.items():
        one, other = a.slots[origin.slot], b.slots[slot]
        done = _layout(slot, origin, one, other) + _precision(origin, one, other)
        for axis, places, size in zip(axes_of(slot), (origin.rows, origin.columns), one.shape, strict=True):
            if places is not None and not (len(places) == size and np.array_equal(places, np.arange(size))):
                done += _moved(axis, places, size, b.heads)
        for what, how in done:
            touched[what, how].add(other.tensor)
    steps = [Step(what, f"{len(names)} tensors {how}", tuple(sorted(names))) for (what, how), names in touched.items()]
    return steps + _head_left_out(a, b, found)


def _layout(slot: Slot, origin: Origin, a: SlotPrint, b: SlotPrint) -> list[tuple[Transform, str]]:
    done: list[tuple[Transform, str]] = []
    if slot.role != Role.EMBEDDING and origin.slot.role == Role.EMBEDDING:
        done.append(("untied", "repeat the embedding"))
    elif a.rows is None and b.rows is None and _name(a, slot, origin) != _name(b, slot, origin):
        done.append(("renamed", "have another name"))
    if b.rows is not None and a.rows is None:
        done.append(("fused", "hold several of A's, one below the other"))
    if a.rows is not None and b.rows is None:
        done.append(("split", "were rows of one tensor"))
    if a.transposed != b.transposed:
        done.append(("transposed", "have rows where the other has columns"))
    return done


def _name(each: SlotPrint, slot: Slot, origin: Origin) -> str:
    """Its tensor's name; without numbers where layers were counted anew."""
    return each.tensor if slot.layer == origin.slot.layer else re.sub(r"\d+", "", each.tensor)


def _precision(origin: Origin, a: SlotPrint, b: SlotPrint) -> list[tuple[Transform, str]]:
    if origin.precision is None:
        narrower = {a.kind, b.kind} <= set(ROUNDING) and a.kind != b.kind
        return [("cast", f"are {a.kind} in A and {b.kind} in B")] if narrower else []
    if origin.precision == NATIVE:
        return []
    rounded = "B" if b.digest.rounded(origin.precision) else "A"
    return [
        ("cast", f"equal the other's numbers rounded to {PRECISIONS[origin.precision]}; {rounded} is the rounded one")
    ]


def _head_left_out(a: Fingerprint, b: Fingerprint, found: Mapping[Slot, Origin]) -> list[Step]:
    """A table over tokens that a has and b has not: the output head, for b writes with its embedding."""
    used = {origin.slot for origin in found.values()}
    tables = [slot for slot in a.slots if axes_of(slot)[0] == "tokens" and slot not in used]
    if not tables or sum(axes_of(slot)[0] == "tokens" for slot in b.slots) != 1:
        return []
    others = [a.slots[slot] for slot in used if axes_of(slot)[0] == "tokens"]
    same = any(each.digest.whole == a.slots[tables[0]].digest.whole for each in others)
    lost = "which repeated its embedding" if same else "whose numbers are lost"
    return [Step("tied", f"B has no output head of its own, unlike A, {lost}", (a.slots[tables[0]].tensor,))]


def _moved(axis: Axis, places: Places, size: int, heads: Heads) -> list[tuple[Transform, str]]:
    """What a map of rows or columns that is not the identity means; fewer of them is pruning, which is no transform."""
    more = len(places) - size
    if axis == "tokens":
        if not more:
            return [("vocabulary permuted", "have their tokens in another order")]
        return (
            [("vocabulary padded", f"have {more} rows more")]
            if more > 0
            else [("vocabulary cut", f"have {-more} rows fewer")]
        )
    if more:
        return []
    if axis == "units":
        return [("units permuted", "have the units of the MLP in another order")]
    if axis == "other":
        return [("rows or columns permuted", "have rows or columns in another order")]
    if axis == "width":
        return [("width permuted", "have the dimensions of the residual stream in another order")]
    move = head_move(places, heads.width or 0)
    moved: list[tuple[Transform, str]] = []
    if move is not None and move.interleaved is not None:
        to = "interleaved" if move.interleaved else "half-split"
        moved.append(("rotary layout", f"have the {to} order of rotary pairs"))
    if move is None or not np.array_equal(move.heads, np.arange(len(move.heads))):
        moved.append(("heads permuted", "have the heads of attention, or rows within them, in another order"))
    return moved
