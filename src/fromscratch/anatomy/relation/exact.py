"""Which numbers of b are numbers of a, told from digests alone: whole tensors, rows, columns, in whatever order."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.digests import BFLOAT16, NATIVE, PRECISIONS
from fromscratch.anatomy.relation.fingerprint import Fingerprint, SlotPrint
from fromscratch.anatomy.relation.sampling import Places
from fromscratch.anatomy.relation.slots import Slot
from fromscratch.anatomy.structure.roles import Role

__all__ = ["Origin", "layer_of_origin", "matched", "origins", "ties"]

GLANCE = 8  # rows that are looked up before all are


@dataclass(frozen=True)
class Origin:
    """Where in a a slot of b comes from, number by number."""

    slot: Slot
    """Of a."""
    precision: int | None
    """0 as they are; 1 or 2 where one of them is the other rounded to bfloat16 or float16; None if only alike."""
    rows: Places | None = None
    """For each row of b the row of a, -1 for one that is new; None where all are there in their order."""
    columns: Places | None = None


def matched(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> Places:
    """For each digest of b the place of the same one in a, -1 where there is none; equal ones in their order."""

    def numbered(digests: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        order = np.argsort(digests, kind="stable")
        ordered = digests[order].astype(np.uint64)
        first = np.searchsorted(ordered, ordered)
        return order, (ordered << np.uint64(32)) + (np.arange(len(ordered)) - first).astype(np.uint64)

    order_a, keys_a = numbered(a)
    order_b, keys_b = numbered(b)
    at = np.minimum(np.searchsorted(keys_a, keys_b), max(0, len(keys_a) - 1))
    found = np.full(len(b), -1)
    if len(a):
        found[order_b] = np.where(keys_a[at] == keys_b, order_a[at], -1)
    same = np.flatnonzero(a[: len(b)] == b[: len(a)])
    if len(same) == min(len(a), len(b)):  # equal rows among others: each is its own origin
        found[same] = same
    return found


def origins(a: Fingerprint, b: Fingerprint) -> dict[Slot, Origin]:
    """The origin of every slot of b that has one; the slot of the same role and layer is asked first."""
    holders: list[dict[str, list[Slot]]] = [defaultdict(list) for _ in PRECISIONS]
    for slot, each in a.slots.items():
        for precision in range(len(PRECISIONS)):
            holders[precision][each.digest.whole[precision]].append(slot)
    found = {}
    for slot, each in b.slots.items():
        origin = _whole(a, slot, each, holders) or _parts(a, slot, each)
        if origin is not None:
            found[slot] = origin
    usual = layer_of_origin(found, b.layers)
    for slot, each in b.slots.items():  # what is equal in many places comes from where its layer comes from
        if slot in found and slot.layer >= 0 and found[slot].slot.layer != usual.get(slot.layer):
            place = Slot(slot.role, usual.get(slot.layer, slot.layer), slot.name)
            if place in a.slots and a.slots[place].digest.whole[NATIVE] == each.digest.whole[NATIVE]:
                found[slot] = Origin(place, NATIVE)
    return found


def _rounded_alike(a: SlotPrint, b: SlotPrint, precision: int) -> bool:
    """Whether one of the two holds nothing but numbers of this precision, so that equal digests mean a cast.

    One number throughout, such as gains before training, says nothing: whatever is near it rounds to it.
    """
    if precision != NATIVE and (_constant(a) or _constant(b)):
        return False
    return a.digest.rounded(precision) or b.digest.rounded(precision)


def _held_alike(a: SlotPrint, b: SlotPrint, precision: int) -> int:
    """The precision at which digests of rows can be compared: bfloat16 where one of the two holds no other."""
    return precision if len(a.digest.rows) == len(b.digest.rows) == len(PRECISIONS) else BFLOAT16


def _whole(a: Fingerprint, slot: Slot, b: SlotPrint, holders: list[dict[str, list[Slot]]]) -> Origin | None:
    for precision, by_digest in enumerate(holders):
        places = [
            place
            for place in by_digest.get(b.digest.whole[precision], ())
            if a.slots[place].shape == b.shape and _rounded_alike(a.slots[place], b, precision)
        ]
        if places:
            nearest = sorted(
                places, key=lambda place: (place != slot, place.role != slot.role, abs(place.layer - slot.layer))
            )
            return Origin(nearest[0], precision)
    return None


def _constant(each: SlotPrint) -> bool:
    return bool((each.sample.values == each.sample.values.flat[0]).all())


def _parts(a: Fingerprint, slot: Slot, b: SlotPrint) -> Origin | None:
    """From the same role in any layer: rows in another order, fewer or more of them, or the same of columns."""
    same_role = [place for place in a.slots if place.role == slot.role and place.name == slot.name]
    for place in sorted(same_role, key=lambda place: abs(place.layer - slot.layer)):
        origin = _permuted(place, a.slots[place], b) or _cut(slot, place, a.slots[place], b)
        if origin is not None:
            return origin
    return None


def _permuted(place: Slot, a: SlotPrint, b: SlotPrint) -> Origin | None:
    for precision in range(len(PRECISIONS)):
        if a.shape == b.shape and _rounded_alike(a, b, precision):
            at = _held_alike(a, b, precision)
            if a.digest.row_set[precision] == b.digest.row_set[precision]:
                return Origin(place, precision, rows=matched(a.digest.along(0, at), b.digest.along(0, at)))
            if a.digest.column_set[precision] == b.digest.column_set[precision]:
                return Origin(place, precision, columns=matched(a.digest.along(1, at), b.digest.along(1, at)))
    return None


def _cut(slot: Slot, place: Slot, a: SlotPrint, b: SlotPrint) -> Origin | None:
    """Rows or columns of b that are all rows or columns of a; of tokens, all that a has may be some of b's."""
    for precision in range(len(PRECISIONS)):
        at = _held_alike(a, b, precision)
        if at != precision or not _rounded_alike(a, b, precision):
            continue
        for axis, name in enumerate(("rows", "columns")):
            if a.shape[1 - axis] != b.shape[1 - axis] or a.shape[axis] == b.shape[axis] or a.shape[1 - axis] == 1:
                continue
            one, other = a.digest.along(axis, at), b.digest.along(axis, at)
            if not np.isin(other[:GLANCE], one).any():
                continue
            found = matched(one, other)
            tokens = slot.role in (Role.EMBEDDING, Role.HEAD) and axis == 0
            if (found >= 0).all() or (tokens and (found >= 0).sum() == len(one)):
                both = a.digest.rounded(precision) and b.digest.rounded(precision)
                return Origin(place, NATIVE if both else precision, **{name: found})
    return None


def layer_of_origin(found: Mapping[Slot, Origin], layers: int) -> dict[int, int]:
    """The layer of a that most slots of each layer of b come from; what lies in several layers alike has no say."""
    votes: dict[int, Counter[int]] = {layer: Counter() for layer in range(layers)}
    for slot, origin in found.items():
        if slot.layer >= 0 and not slot.role.endswith(("norm", "bias")):
            votes[slot.layer][origin.slot.layer] += 1
    return {layer: count.most_common(1)[0][0] for layer, count in votes.items() if count}


def ties(a: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """Tensors of a that hold equal numbers, such as norms that are all ones."""
    holders: dict[str, list[str]] = defaultdict(list)
    for each in a.slots.values():
        holders[f"{each.shape} {each.digest.whole[NATIVE]}"].append(each.tensor)
    return tuple(tuple(sorted(names)) for names in holders.values() if len(names) > 1)
