"""What aligned fingerprints show, and which relation follows: never more than the evidence bears."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.alignment import Alignment, aligned, axis_origins, is_identity
from fromscratch.anatomy.relation.exact import Origin
from fromscratch.anatomy.relation.fingerprint import Fingerprint
from fromscratch.anatomy.relation.judgement import Distance, LayerMatch, Relation, Step, Test
from fromscratch.anatomy.relation.lineage import (
    INHERITED_AT_LEAST,
    SHARED_AT_MOST,
    Change,
    changes,
    correlation,
    kinship,
)
from fromscratch.anatomy.relation.nearness import ROUNDING, Lattice, cosine, lattice, rank_of_change, relative
from fromscratch.anatomy.relation.signals import LayerHits, layer_hits, layer_test, unit_test, width_test
from fromscratch.anatomy.relation.slots import Slot, axes_of

__all__ = ["Evidence", "gather"]

Values = NDArray[np.float32]

FINE_TUNED_COSINE = 0.95  # the border to further pretraining is a convention; the distance is shown beside it
ROUNDING_ALONE = 0.98  # share of numbers within a step of the original
SUGGESTIVE = -3.0  # log10 p below which independence is not claimed
UNITS_AT_LEAST = 64  # fewer units could not have shown a relation


@dataclass(frozen=True)
class Evidence:
    """What was found, and the relation that it bears; None where the steps alone say it."""

    related: bool
    summary: str
    verdict: Relation | None = None
    steps: tuple[Step, ...] = ()
    tests: tuple[Test, ...] = ()
    distances: tuple[Distance, ...] = ()
    layers: tuple[LayerMatch, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """All that is judged: two models, how they lie to each other, and their numbers side by side."""

    a: Fingerprint
    b: Fingerprint
    how: Alignment
    found: Mapping[Slot, Origin]
    """Slots of b whose numbers are all a's."""
    start: Fingerprint | None
    """The weights that a's training began with, if they are known."""
    pairs: Mapping[Slot, tuple[Values, Values]]
    """a's numbers and b's in its order, for slots of b that have a counterpart."""

    def kinds(self, slot: Slot) -> tuple[str, str]:
        """How the two are stored."""
        return self.a.slots[self.how.origin(slot)].kind, self.b.slots[slot].kind

    def differs(self, slot: Slot) -> bool:
        """Whether more than rounding lies between the two."""
        return relative(*self.pairs[slot]) > 2 * max(ROUNDING.get(kind, 2.0**-24) for kind in self.kinds(slot))


def gather(
    a: Fingerprint, b: Fingerprint, how: Alignment, found: Mapping[Slot, Origin], start: Fingerprint | None
) -> Evidence:
    """Tests first; only where they say that a and b are related is it asked how."""
    pairs = {slot: pair for slot in b.slots if (pair := aligned(a, b, how, slot)) is not None and pair[0].size}
    case = Case(a, b, how, found, start, pairs)
    hits = how.hits or layer_hits(a, b)
    tests = (how.width_test or width_test(a, b), unit_test(hits, dict(how.layers)))
    distances = tuple(_distance(case, slot) for slot in pairs)
    recovered = how.anchored and not is_identity(how.width)
    if not (any(test.significant for test in tests) or recovered):
        return replace(_unrelated(tests, hits.units * max(1, b.layers)), tests=tests, distances=distances)
    matrices = [slot for slot, pair in pairs.items() if min(pair[0].shape) > 1 and axes_of(slot)[0] != "tokens"]
    evidence = _relation(case) if matrices else _table_alone()
    searched = "the residual stream was matched by search; no exact p-value is known for a match that was searched"
    layers = tuple(_layer(case, hits, j) for j in range(b.layers))
    reasons = ((searched,) if recovered else ()) + evidence.reasons
    return replace(evidence, tests=tests, distances=distances, layers=layers, reasons=reasons)


def _distance(case: Case, slot: Slot) -> Distance:
    pair, names = case.pairs[slot], (case.a.slots[case.how.origin(slot)].tensor, case.b.slots[slot].tensor)
    return Distance(*names, cosine(*pair), relative(*pair))


def _layer(case: Case, hits: LayerHits, j: int) -> LayerMatch:
    i = case.how.layers.get(j)
    alike = [cosine(*pair) for slot, pair in case.pairs.items() if slot.layer == j and min(pair[0].shape) > 1]
    return LayerMatch(j, i, float(np.median(alike)) if alike else 0.0, layer_test(hits, i, j) if i is not None else 0.0)


def _unrelated(tests: tuple[Test, ...], units: int) -> Evidence:
    strongest = min(test.log10_p for test in tests)
    if units < UNITS_AT_LEAST:
        why = f"only {units} MLP units can be compared, and {UNITS_AT_LEAST} are needed to tell"
        return Evidence(False, "it cannot be told", Relation.UNDECIDED, reasons=(why,))
    if strongest < SUGGESTIVE:
        why = f"the strongest test gives p ≤ 1e{strongest:.1f}: hardly chance, and too little to call them related"
        return Evidence(False, "it cannot be told", Relation.UNDECIDED, reasons=(why,))
    limits = "units that were permuted, rotated or trained for very long after copying, together, could hide a relation"
    summary = "units of one do not find themselves in the other more often than by chance"
    return Evidence(False, summary, Relation.INDEPENDENT, reasons=(limits,))


def _table_alone() -> Evidence:
    why = "the tables over tokens are related and no layer is: they were taken over alone, or the layers hide too well"
    return Evidence(True, "only the embedding or the head is related", Relation.UNDECIDED, reasons=(why,))


def _relation(case: Case) -> Evidence:
    partial = _partial(case)
    changed = [slot for slot in case.pairs if slot not in case.found and case.differs(slot)]
    grids = {slot: grid for slot in changed if (grid := _grid(case, slot)) is not None}
    steps = (*partial, *((_quantised(case, grids),) if grids else ()))
    tuned = [slot for slot in changed if slot not in grids]
    if not changed:
        return Evidence(True, "what they share is equal, number by number, but for rounding", steps=steps)
    if not tuned and min(grid.within for grid in grids.values()) >= ROUNDING_ALONE:
        summary = "one is a quantisation of the other; a tuning smaller than its steps would not show"
        return Evidence(True, summary, steps=steps)
    rank = None if grids else _rank(case, tuned)
    if rank is not None:
        names = tuple(sorted(case.b.slots[slot].tensor for slot in tuned))
        step = Step(Relation.LOW_RANK, f"the changes of {len(names)} tensors have rank {rank} at most", names)
        return Evidence(True, f"one is the other with an update of rank {rank} at most", steps=(*steps, step))
    evidence = _by_kinship(case)
    return replace(evidence, steps=(*steps, *evidence.steps))


def _partial(case: Case) -> tuple[Step, ...]:
    """Layers of b that have no origin, where others have one."""
    without = [j for j in range(case.b.layers) if j not in case.how.layers]
    if not without or not case.how.layers:
        return ()
    origins = ", ".join(f"{j} from {i}" for j, i in sorted(case.how.layers.items()))
    return (
        Step(Relation.LAYERS_REUSED, f"layers of B that come from layers of A: {origins}; {without} come from none"),
    )


def _rank(case: Case, tuned: list[Slot]) -> int | None:
    """The greatest rank of all changes, or None as soon as one has no low rank."""
    ranks = []
    for slot in sorted(tuned, key=lambda slot: min(case.pairs[slot][0].shape)):
        rank = rank_of_change(*case.pairs[slot], case.kinds(slot))
        if rank is None:
            return None
        ranks.append(rank)
    return max(ranks, default=None)


def _grid(case: Case, slot: Slot) -> Lattice | None:
    """A quantisation; it cannot be seen where a permutation left only some columns of a block to compare."""
    pair = case.pairs[slot]
    whole_blocks = axis_origins(case.how, slot, case.b)[1] is None or pair[1].shape[1] == case.b.slots[slot].shape[1]
    return lattice(*pair) if min(pair[0].shape) > 1 and whole_blocks else None


def _quantised(case: Case, grids: Mapping[Slot, Lattice]) -> Step:
    names = tuple(sorted(case.b.slots[slot].tensor for slot in grids))
    levels = int(np.median([grid.levels for grid in grids.values()]))
    kinds = ", ".join(sorted({kind for slot in grids for kind in case.kinds(slot)}))
    first = next(iter(grids.values()))
    where = "in A and in B" if first.a and first.b else "in A" if first.a else "in B"
    how = f"{len(names)} tensors ({kinds}) lie {where} on grids of about {levels} levels in blocks of 32"
    within = min(grid.within for grid in grids.values())
    if within >= ROUNDING_ALONE:
        how += f", at least {within:.1%} of each one's numbers within a step of the other's"
    return Step(Relation.QUANTISED, how, names)


def _by_kinship(case: Case) -> Evidence:
    change = _change(case)
    alike = float(np.median([cosine(*pair) for pair in case.pairs.values() if min(pair[0].shape) > 1]))
    if change is None:
        why = "no gains of norms were trained in both, and no initial weights are known: a common start looks the same"
        return Evidence(True, "related, but it cannot be told how", Relation.UNDECIDED, reasons=(why,))
    told = f"{change.source} correlate by {change.cosine:.3f} (± {change.error:.3f}, {change.numbers:,} numbers)"
    match kinship(change):
        case "inherited":
            relation = Relation.FINE_TUNED if alike >= FINE_TUNED_COSINE else Relation.FURTHER_PRETRAINED
            step = Step(relation, f"{told}; median cosine of matrices {alike:.3f}")
            summary = f"one was trained further from the other, or both from a third; {told}"
            border = (
                f"fine-tuned or further pretrained is a matter of degree; the border is a cosine of {FINE_TUNED_COSINE}"
            )
            return Evidence(True, summary, steps=(step,), reasons=(border,))
        case "shared start":
            step = Step(Relation.SHARED_INITIALISATION, f"{told}; median cosine of matrices {alike:.3f}")
            summary = f"they began with the same numbers, and learnt different things; {told}"
            return Evidence(True, summary, Relation.SHARED_INITIALISATION, (step,))
    why = f"{told}: between {SHARED_AT_MOST} (a common start at most) and {INHERITED_AT_LEAST} (lineage at least)"
    return Evidence(True, "related, by lineage or by a common start alone", Relation.UNDECIDED, reasons=(why,))


def _change(case: Case) -> Change | None:
    """What training changed, in the layers that correspond; tables over tokens are alike even between strangers."""
    inside = {slot: pair for slot, pair in case.pairs.items() if slot.layer >= 0 or not _partial(case)}
    if case.start is None:
        return changes(pair for slot, pair in inside.items() if slot.role.endswith("norm"))
    moved = []
    for slot, (x, y) in inside.items():
        initial = aligned(case.start, case.b, case.how, slot)
        if slot.layer >= 0 and initial is not None and initial[0].shape == x.shape and min(x.shape) > 1:
            moved.append((x - initial[0], y - initial[0]))
    alike, numbers = correlation(moved)
    return Change(alike, numbers, "changes since the initial weights") if numbers else None
