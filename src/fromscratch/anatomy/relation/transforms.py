"""What happened to numbers that are all still there: the transforms between two layouts, each with its evidence."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fromscratch.anatomy.relation.digests import NATIVE, PRECISIONS
from fromscratch.anatomy.relation.exact import Origin
from fromscratch.anatomy.relation.fingerprint import Fingerprint, Heads
from fromscratch.anatomy.relation.judgement import Step, Transform
from fromscratch.anatomy.relation.sampling import Places
from fromscratch.anatomy.relation.slots import Slot
from fromscratch.anatomy.structure.roles import Role

__all__ = ["HeadMove", "head_move", "names_of", "rotary_order", "transforms"]

ROTATED = (Role.QUERY, Role.KEY)
TOKENS = (Role.EMBEDDING, Role.HEAD)


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


def names_of(b: Fingerprint, a: Fingerprint, found: Mapping[Slot, Origin]) -> dict[str, tuple[str, ...]]:
    """Tensor of b → tensors of a that it is made of, in the order in which they lie in it."""
    pieces: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for slot, origin in found.items():
        each = b.slots[slot]
        pieces[each.tensor].append(((each.rows or (0, 0))[0], a.slots[origin.slot].tensor))
    return {name: tuple(dict.fromkeys(each for _, each in sorted(parts))) for name, parts in pieces.items()}


def transforms(a: Fingerprint, b: Fingerprint, found: Mapping[Slot, Origin]) -> list[Step]:
    """Everything that was done to a's layout, in the order in which a reader would undo it."""
    touched: dict[tuple[Transform, str], list[str]] = defaultdict(list)
    for slot, origin in found.items():
        one, other = a.slots[origin.slot], b.slots[slot]
        whole = one.rows is None and other.rows is None
        for applies, what, how in (
            (whole and one.tensor != other.tensor, "renamed", "hold the same numbers under another name"),
            (other.rows is not None and one.rows is None, "fused", "lie below each other in one tensor"),
            (one.rows is not None and other.rows is None, "split", "were rows of one tensor"),
            (one.transposed != other.transposed, "transposed", "equal the other's columns, digest by digest"),
            (slot.role == Role.HEAD and origin.slot.role == Role.EMBEDDING, "untied", "repeat the embedding"),
        ):
            if applies:
                touched[what, how].append(other.tensor)  # type: ignore[index]
        if origin.precision != NATIVE:
            narrower = "b" if other.digest.whole[origin.precision] == other.digest.whole[NATIVE] else "a"
            how = f"equal the other's numbers rounded to {PRECISIONS[origin.precision]}; {narrower} is the rounded one"
            touched["cast", how].append(other.tensor)
        for what, how in _moved(slot, origin, one.shape, b.heads):
            touched[what, how].append(other.tensor)
    steps = [
        Step(what, f"{len(set(names))} tensors {how}", tuple(sorted(set(names))))
        for (what, how), names in touched.items()
    ]
    return steps + _head_left_out(a, b, found)


def _head_left_out(a: Fingerprint, b: Fingerprint, found: Mapping[Slot, Origin]) -> list[Step]:
    head = Slot(Role.HEAD)
    if head in a.slots and head not in b.slots and Slot(Role.EMBEDDING) in found:
        same = a.slots[head].digest.whole == a.slots[Slot(Role.EMBEDDING)].digest.whole
        lost = "which repeated its embedding" if same else "whose numbers are lost"
        return [Step("tied", f"b has no output head of its own, unlike a, {lost}", (a.slots[head].tensor,))]
    return []


def _moved(slot: Slot, origin: Origin, shape: tuple[int, int], heads: Heads) -> list[tuple[Transform, str]]:
    """What the maps of rows and columns mean in this role."""
    places = origin.rows if origin.rows is not None else origin.columns
    if places is None or np.array_equal(places, np.arange(shape[0 if origin.rows is not None else 1])):
        return []
    if slot.role in TOKENS and origin.rows is not None:
        more = int((places < 0).sum())
        what: Transform = "vocabulary padded" if len(places) > shape[0] else "vocabulary cut"
        how = f"have {more} rows more" if more else f"have {shape[0] - len(places)} rows fewer"
        return (
            [(what, how)]
            if len(places) != shape[0]
            else [("vocabulary permuted", "have their tokens in another order")]
        )
    if len(set(places.tolist())) < shape[0 if origin.rows is not None else 1]:
        return []  # fewer of them: pruned, which is no transform
    if slot.role in (Role.GATE, Role.UP, Role.DOWN):
        return [("units permuted", "have the units of the MLP in another order")]
    move = head_move(places, heads.width or 0)
    if move is None:
        return [("width permuted", "have rows or columns in another order")]
    moved: list[tuple[Transform, str]] = []
    if move.interleaved is not None:
        to = "interleaved" if move.interleaved else "half-split"
        moved.append(("rotary layout", f"have the {to} order of rotary pairs"))
    if not np.array_equal(move.heads, np.arange(len(move.heads))):
        moved.append(("heads permuted", "have whole heads in another order"))
    return moved
