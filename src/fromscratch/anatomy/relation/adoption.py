"""Roles that b's own structure could not tell, taken over from tensors of a that hold the same or nearly the same."""

from collections.abc import Mapping
from dataclasses import replace

from fromscratch.anatomy.relation.digests import PRECISIONS, Digest
from fromscratch.anatomy.relation.fingerprint import Fingerprint, SlotPrint
from fromscratch.anatomy.relation.nearness import cosine
from fromscratch.anatomy.relation.sampling import common
from fromscratch.anatomy.relation.slots import Slot
from fromscratch.anatomy.structure.roles import Role

__all__ = ["adopt_roles"]

ALIKE = 0.5  # no two matrices that are strangers to each other come near it
NUMBERS_AT_LEAST = 256


def adopt_roles(a: Fingerprint, b: Fingerprint) -> Fingerprint:
    """b with the slots of a for tensors of unknown role or layer that equal one of a's, or are alike to it alone.

    A vector goes where equal numbers stand; norms are too much alike for more than that. Without names the two tables
    over tokens look the same, so they are asked again too.
    """
    tables = [slot for slot in (Slot(Role.EMBEDDING), Slot(Role.HEAD)) if slot in b.slots] if _swapped(a, b) else []
    open_slots = [slot for slot in b.slots if slot.name] + tables
    if not open_slots:
        return b
    taken = {slot: each for slot, each in b.slots.items() if slot not in open_slots}
    free = {slot: each for slot, each in a.slots.items() if slot not in taken}
    for slot in open_slots:
        each = b.slots[slot]
        asked = {
            place: other for place, other in free.items() if slot.role in (Role.UNKNOWN, place.role) or not slot.name
        }
        place = _place(asked, each)
        if place is None:
            place = slot if slot not in taken else Slot(Role.UNKNOWN, -1, each.tensor)
        free.pop(place, None)
        taken[place] = each
    layers = max((slot.layer for slot in taken), default=-1) + 1
    return replace(b, slots=taken, layers=max(layers, b.layers), heads=b.heads if b.heads.width else a.heads)


def _swapped(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether b's embedding is a's head, and not its embedding too."""
    head, embedding = a.slots.get(Slot(Role.HEAD)), a.slots.get(Slot(Role.EMBEDDING))
    table = b.slots.get(Slot(Role.EMBEDDING))
    if head is None or embedding is None or table is None:
        return False
    return _likeness(head, table) > max(ALIKE, _likeness(embedding, table))


def _place(free: Mapping[Slot, SlotPrint], each: SlotPrint) -> Slot | None:
    """The first slot that holds equal numbers, in any order of rows or columns, or the one that is alike alone."""
    of_one_shape = [slot for slot, other in free.items() if other.shape == each.shape]
    for slot in of_one_shape:
        if _equal(free[slot].digest, each.digest):
            return slot
    if min(each.shape) == 1:
        return None
    alike = [slot for slot in of_one_shape if _likeness(free[slot], each) > ALIKE]
    return alike[0] if len(alike) == 1 else None


def _equal(a: Digest, b: Digest) -> bool:
    sets = ((a.whole, b.whole), (a.row_set, b.row_set), (a.column_set, b.column_set))
    return any(one[precision] == other[precision] for one, other in sets for precision in range(len(PRECISIONS)))


def _likeness(a: SlotPrint, b: SlotPrint) -> float:
    if a.shape[1] != b.shape[1]:
        return 0.0
    one, other = common(a.sample, b.sample)
    return cosine(one, other) if one.size >= NUMBERS_AT_LEAST else 0.0
