"""Roles that b's own structure could not tell, taken over from tensors of a that hold the same or nearly the same."""

from collections import defaultdict
from dataclasses import replace

from fromscratch.anatomy.relation.digests import PRECISIONS
from fromscratch.anatomy.relation.fingerprint import Fingerprint, SlotPrint
from fromscratch.anatomy.relation.nearness import cosine
from fromscratch.anatomy.relation.sampling import common
from fromscratch.anatomy.relation.slots import Slot
from fromscratch.anatomy.structure.roles import Role

__all__ = ["adopt_roles"]

ALIKE = 0.5  # no two matrices that are strangers to each other come near it
NUMBERS_AT_LEAST = 256
GUESSED = (Role.UNKNOWN, Role.EMBEDDING, Role.HEAD)  # without names, the two tables over tokens look the same


def adopt_roles(a: Fingerprint, b: Fingerprint) -> Fingerprint:
    """b with the slots of a for tensors of unknown role that equal one of a's tensors, or are alike to it alone.

    A vector goes where equal numbers stand; norms are too much alike for more than that.
    """
    open_slots = [slot for slot in b.slots if slot.role in GUESSED]
    if all(slot.role != Role.UNKNOWN for slot in open_slots) and not _swapped(a, b):
        return b
    kept = {slot: each for slot, each in b.slots.items() if slot not in open_slots}
    free = {slot: each for slot, each in a.slots.items() if slot not in kept and slot.role != Role.UNKNOWN}
    for slot in open_slots:
        place = _place(free, b.slots[slot])
        if place is not None:
            free.pop(place)
            kept[place] = b.slots[slot]
        else:
            kept[slot if slot not in kept else replace(slot, role=Role.UNKNOWN, name=b.slots[slot].tensor)] = b.slots[
                slot
            ]
    layers = max((slot.layer for slot in kept), default=-1) + 1
    return replace(b, slots=kept, layers=layers, heads=b.heads if b.heads.width else a.heads)


def _swapped(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether b's embedding is a's head."""
    head, embedding = a.slots.get(Slot(Role.HEAD)), b.slots.get(Slot(Role.EMBEDDING))
    return head is not None and embedding is not None and _likeness(head, embedding) > ALIKE


def _place(free: dict[Slot, SlotPrint], each: SlotPrint) -> Slot | None:
    """The first slot that holds equal numbers, or the one that is alike where no other is."""
    by_shape = [slot for slot, other in free.items() if other.shape == each.shape]
    for slot in by_shape:
        if any(free[slot].digest.whole[p] == each.digest.whole[p] for p in range(len(PRECISIONS))):
            return slot
    likeness: dict[Slot, float] = defaultdict(float)
    if min(each.shape) > 1:
        likeness |= {slot: _likeness(free[slot], each) for slot in by_shape}
    alike = [slot for slot, value in likeness.items() if value > ALIKE]
    return alike[0] if len(alike) == 1 else None


def _likeness(a: SlotPrint, b: SlotPrint) -> float:
    if a.shape[1] != b.shape[1]:
        return 0.0
    one, other = common(a.sample, b.sample)
    return cosine(one, other) if one.size >= NUMBERS_AT_LEAST else 0.0
