"""How b's units stand to a's: which layer, dimension, head and MLP unit of a each one of b's comes from.

The residual stream is the anchor: the embedding has a column for each of its dimensions and the same tokens in both
models. With the stream matched, rows of gates and ups can be compared unit by unit, and heads head by head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.fingerprint import Fingerprint, SlotPrint
from fromscratch.anatomy.relation.judgement import Test
from fromscratch.anatomy.relation.sampling import Places, Sample, kept
from fromscratch.anatomy.relation.signals import LayerHits, layer_hits, layer_test, width_features, width_test
from fromscratch.anatomy.relation.slots import Slot, axes_of
from fromscratch.anatomy.relation.statistics import nearest
from fromscratch.anatomy.relation.transforms import rotary_order
from fromscratch.anatomy.structure.roles import Role

__all__ = ["Alignment", "align", "aligned", "axis_origins", "is_identity"]

Values = NDArray[np.float32]

ALIKE = 0.5
"""Least cosine at which a unit that was looked for among all others counts as found."""
FOUND_SHARE = 0.8
"""Least share of units that must be found, one to one, for a recovered order to be believed."""
UNITS_ASKED = 64
"""Of each layer, when layers are matched whose units may be in any order."""
CLEAR = -9.0
"""log10 p below which the numbering of units is taken to be the same."""

UNITS = (Role.GATE, Role.UP)


@dataclass(frozen=True)
class Alignment:
    """For things of b the things of a; what is missing here is in its own place."""

    layers: Mapping[int, int]
    width: Places | None = None
    units: Mapping[int, Places] = field(default_factory=dict)
    rows: Mapping[Slot, Places] = field(default_factory=dict)
    """Rows of queries, keys and values of b, by slot of b."""
    hits: LayerHits | None = None
    anchored: bool = False
    """Whether the residual streams could be matched at all."""
    width_test: Test | None = None

    def origin(self, slot: Slot) -> Slot:
        """The slot of a that stands in this one's place."""
        return slot if slot.layer < 0 else Slot(slot.role, self.layers.get(slot.layer, -2), slot.name)


def is_identity(places: Places | None) -> bool:
    """Whether nothing moved."""
    return places is None or np.array_equal(places, np.arange(len(places)))


def align(a: Fingerprint, b: Fingerprint) -> Alignment:
    """Match the stream, then layers, then units and heads within layers; each only as far as it is needed."""
    test = width_test(a, b)
    width, anchored = _width(a, b, test)
    hits = layer_hits(a, b) if is_identity(width) else None
    layers = _layers_by_hits(hits) if hits is not None else None
    if layers is None:
        layers = (
            _layers_by_units(a, b, width) if anchored else dict(zip(range(b.layers), range(a.layers), strict=False))
        )
        units = (
            {}
            if not anchored
            else {j: found for j, i in layers.items() if (found := _units(a, b, width, i, j)) is not None}
        )
    else:
        units = {}
    rows = (
        {slot: found for slot in b.slots if (found := _head_rows(a, b, width, layers, slot)) is not None}
        if anchored
        else {}
    )
    units = {j: each for j, each in units.items() if not is_identity(each)}
    return Alignment(layers, None if is_identity(width) else width, units, rows, hits, anchored, test)


def _width(a: Fingerprint, b: Fingerprint, test: Test) -> tuple[Places | None, bool]:
    """The dimension of a's stream for each of b's (None: the same), and whether they were matched."""
    if test.log10_p < CLEAR:
        one, other = width_features(a, b)
        return (None if len(one) == len(other) else np.arange(len(other))), len(one) >= len(other)
    one, other = width_features(a, b)
    found = _one_to_one(one, other)
    return found, found is not None


def _one_to_one(a: Values, b: Values) -> Places | None:
    """For each row of b the row of a, if nearly all find one that no other has; -1 for the rest."""
    if not len(a) or not len(b) or len(b) > len(a):
        return None
    found = nearest(b, a)
    length = np.linalg.norm(b, axis=1) * np.linalg.norm(a[found], axis=1)
    cosine = np.divide((b * a[found]).sum(1), length, out=np.zeros(len(b), np.float32), where=length > 0)
    counts = np.bincount(found[found >= 0], minlength=len(a))
    sure = (found >= 0) & (cosine > ALIKE) & (counts[found] == 1)
    return np.where(sure, found, -1) if sure.mean() >= FOUND_SHARE else None


def _layers_by_hits(found: LayerHits) -> dict[int, int] | None:
    """The layer of a with the most hits, for each layer of b in which they are no chance; None where few are."""
    best = {j: int(found.hits[:, j].argmax()) for j in range(found.hits.shape[1])}
    sure = {j: i for j, i in best.items() if layer_test(found, i, j) < -3}
    return sure if sure and len(sure) >= 0.5 * found.hits.shape[1] else None


def _tall(each: SlotPrint) -> Sample:
    return each.every_row or each.sample


def _unit_rows(print_: Fingerprint, layer: int, columns: Places | None = None) -> tuple[Values, Places]:
    """Gates and ups of a layer side by side: [units, columns], and which units they are."""
    samples = [_tall(print_.slots[Slot(role, layer)]) for role in UNITS if Slot(role, layer) in print_.slots]
    if not samples:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
    chosen = samples[0].columns if columns is None else columns
    return np.hstack([each.at(each.rows, chosen) for each in samples]), samples[0].rows


def _pair_of_units(a: Fingerprint, b: Fingerprint, width: Places | None, i: int, j: int) -> tuple[Values, Values]:
    """Unit rows of both layers over the columns that both samples hold once b's are led back to a's."""
    ours = [_tall(each.slots[Slot(Role.UP, layer)]) for each, layer in ((a, i), (b, j))]
    columns_a, columns_b = _meeting(ours[0].columns, ours[1].columns, width)
    return _unit_rows(a, i, columns_a)[0], _unit_rows(b, j, columns_b)[0]


def _meeting(held_a: Places, held_b: Places, origin: Places | None) -> tuple[Places, Places]:
    """Places that both hold: (in a, in b), where ``origin`` says which place of a each place of b comes from."""
    source = held_b if origin is None else origin[held_b]
    both = np.isin(source, held_a)
    return source[both], held_b[both]


def _layers_by_units(a: Fingerprint, b: Fingerprint, width: Places | None) -> dict[int, int]:
    """The layer of a whose units are most like those of each layer of b, whatever their order."""
    found = {}
    for j in range(b.layers):
        likeness = [0.0] * a.layers
        for i in range(a.layers):
            if Slot(Role.UP, i) in a.slots and Slot(Role.UP, j) in b.slots:
                one, other = _pair_of_units(a, b, width, i, j)
                asked = other[kept(len(other), UNITS_ASKED)]
                likeness[i] = float(_greatest_cosines(asked, one).mean()) if one.size and asked.size else 0.0
        if max(likeness, default=0.0) > ALIKE:
            found[j] = int(np.argmax(likeness))
    return found


def _greatest_cosines(rows: Values, among: Values) -> Values:
    rows, among = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-30) for each in (rows, among))
    return np.asarray((rows @ among.T).max(1))


def _units(a: Fingerprint, b: Fingerprint, width: Places | None, i: int, j: int) -> Places | None:
    """The unit of a's layer i for each unit of b's layer j."""
    if a.slots[Slot(Role.UP, i)].every_row is None or b.slots[Slot(Role.UP, j)].every_row is None:
        return None  # only some units were kept: their order cannot be told
    return _one_to_one(*_pair_of_units(a, b, width, i, j))


def _head_rows(
    a: Fingerprint, b: Fingerprint, width: Places | None, layers: Mapping[int, int], slot: Slot
) -> Places | None:
    """Rows of a for the rows of b's queries, keys or values: heads in another order, another rotary layout, or both."""
    if slot.role not in (Role.QUERY, Role.KEY, Role.VALUE) or slot.layer not in layers:
        return None
    origin, head_width = Slot(slot.role, layers[slot.layer]), b.heads.width
    if origin not in a.slots or not head_width or head_width % 2 or a.heads.width != head_width:
        return None
    one, other = a.slots[origin].every_row, b.slots[slot].every_row
    if one is None or other is None:
        return None
    columns_a, columns_b = _meeting(one.columns, other.columns, width)
    heads_a, heads_b = (
        sample.at(sample.rows, columns).reshape(len(sample.rows) // head_width, head_width, -1)
        for sample, columns in ((one, columns_a), (other, columns_b))
    )
    layouts = [np.arange(head_width)]
    if slot.role != Role.VALUE:
        layouts += [rotary_order(head_width), np.argsort(rotary_order(head_width))]
    best: tuple[float, Places] | None = None
    for layout in layouts:
        rows_a = heads_a[:, layout].reshape(len(heads_a), -1)
        rows_b = heads_b.reshape(len(heads_b), -1)
        place, likeness = nearest(rows_b, rows_a), float(_greatest_cosines(rows_b, rows_a).mean())
        if best is None or likeness > best[0] + 1e-6:
            rows = place[:, None] * head_width + layout
            best = likeness, np.where(place[:, None] < 0, -1, rows).reshape(-1)
    assert best is not None
    likeness, found = best
    return found if likeness > ALIKE and not is_identity(found) else None


def aligned(a: Fingerprint, b: Fingerprint, how: Alignment, slot: Slot) -> tuple[Values, Values] | None:
    """Numbers of b's slot and of a's in its place, in b's order; None where a has none."""
    origin = how.origin(slot)
    if origin not in a.slots:
        return None
    one, other = a.slots[origin], b.slots[slot]
    rows, columns = axis_origins(how, slot, b)
    if (rows is None and one.shape[0] != other.shape[0] and slot.role not in (Role.EMBEDDING, Role.HEAD)) or (
        columns is None and one.shape[1] != other.shape[1]
    ):
        return None
    best = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    for held_a, held_b in ((one.sample, other.sample), (one.tall, other.tall)):
        if held_a is not None and held_b is not None:
            rows_a, rows_b = _meeting(held_a.rows, held_b.rows, rows)
            columns_a, columns_b = _meeting(held_a.columns, held_b.columns, columns)
            if len(rows_a) * len(columns_a) > best[0].size:
                best = held_a.at(rows_a, columns_a), held_b.at(rows_b, columns_b)
    return best


def axis_origins(how: Alignment, slot: Slot, b: Fingerprint) -> tuple[Places | None, Places | None]:
    """Origins of the rows and of the columns of b's slot; None for the identity."""
    units = how.units.get(slot.layer)
    origins = {
        "width": how.width,
        "units": units,
        "queries": how.rows.get(Slot(Role.QUERY, slot.layer)),
        "keys": how.rows.get(Slot(Role.KEY, slot.layer)),
        "values": how.rows.get(Slot(Role.VALUE, slot.layer)),
        "heads out": _query_columns(how, slot, b),
    }
    rows, columns = axes_of(slot)
    return origins.get(rows), origins.get(columns)


def _query_columns(how: Alignment, slot: Slot, b: Fingerprint) -> Places | None:
    """Columns of the attention's output follow the heads of the queries, in the order of values."""
    rows, width = how.rows.get(Slot(Role.QUERY, slot.layer)), b.heads.width
    if rows is None or not width:
        return None
    heads = rows.reshape(-1, width).min(1) // width
    columns: Places = (heads[:, None] * width + np.arange(width)).reshape(-1)
    return columns
