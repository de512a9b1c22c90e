"""What aligned fingerprints show, and which relation follows: never more than the evidence bears."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.alignment import Alignment, aligned, is_identity
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
from fromscratch.anatomy.relation.signals import layer_hits, layer_test, unit_test, width_test
from fromscratch.anatomy.relation.slots import Slot

__all__ = ["Evidence", "gather"]

Values = NDArray[np.float32]
Pairs = Mapping[Slot, tuple[Values, Values]]

FINE_TUNED_COSINE = 0.95  # the border to further pretraining is a convention; the distance is shown beside it
ROUNDING_ALONE = 0.98  # share of numbers within a step of the original
UNITS_AT_LEAST = 64  # fewer units could not have shown a relation


@dataclass(frozen=True)
class Evidence:
    """What was found, and the relation that it bears; None where the steps alone say it."""

    related: bool
    summary: str
    verdict: Relation | None
    steps: list[Step]
    tests: tuple[Test, ...]
    distances: tuple[Distance, ...]
    layers: tuple[LayerMatch, ...]
    reasons: tuple[str, ...]


def gather(
    a: Fingerprint, b: Fingerprint, how: Alignment, found: Mapping[Slot, Origin], start: Fingerprint | None
) -> Evidence:
    """Tests first; only where they say that a and b are related is it asked how."""
    pairs = {slot: pair for slot in b.slots if (pair := aligned(a, b, how, slot)) is not None and pair[0].size}
    hits = how.hits or layer_hits(a, b)
    tests = (how.width_test or width_test(a, b), unit_test(hits, dict(how.layers)))
    distances = tuple(_distance(a, b, how, slot, pair) for slot, pair in pairs.items())
    layers = tuple(_layer(how, hits, pairs, j) for j in range(b.layers))
    recovered = how.anchored and not is_identity(how.width)
    if not (any(test.significant for test in tests) or recovered):
        return _unrelated(tests, distances, hits.units * max(1, b.layers))
    reasons = []
    if recovered:
        reasons.append(
            "the residual stream was matched by search; no exact p-value is known for a match that was searched"
        )
    verdict, steps, summary, more = _relation(a, b, pairs, how, found, start)
    return Evidence(True, summary, verdict, steps, tests, distances, layers, (*reasons, *more))


def _distance(a: Fingerprint, b: Fingerprint, how: Alignment, slot: Slot, pair: tuple[Values, Values]) -> Distance:
    names = a.slots[how.origin(slot)].tensor, b.slots[slot].tensor
    return Distance(*names, cosine(*pair), relative(*pair))


def _layer(how: Alignment, hits, pairs: Pairs, j: int) -> LayerMatch:  # type: ignore[no-untyped-def]
    i = how.layers.get(j)
    alike = [cosine(*pair) for slot, pair in pairs.items() if slot.layer == j and min(pair[0].shape) > 1]
    p = layer_test(hits, i, j) if i is not None else 0.0
    return LayerMatch(j, i, float(np.median(alike)) if alike else 0.0, p)


def _unrelated(tests: tuple[Test, ...], distances: tuple[Distance, ...], units: int) -> Evidence:
    strongest = min(test.log10_p for test in tests)
    if units < UNITS_AT_LEAST or strongest < -3:
        why = f"the strongest test gives p ≤ 1e{strongest:.1f}: hardly chance, and too little to call them related"
        if units < UNITS_AT_LEAST:
            why = f"only {units} MLP units can be compared, and {UNITS_AT_LEAST} are needed to tell"
        return Evidence(False, "it cannot be told", Relation.UNDECIDED, [], tests, distances, (), (why,))
    limits = "units that were permuted, rotated or trained for very long after copying, together, could hide a relation"
    summary = "units of one do not find themselves in the other more often than by chance"
    return Evidence(False, summary, Relation.INDEPENDENT, [], tests, distances, (), (limits,))


def _relation(
    a: Fingerprint,
    b: Fingerprint,
    pairs: Pairs,
    how: Alignment,
    found: Mapping[Slot, Origin],
    start: Fingerprint | None,
) -> tuple[Relation | None, list[Step], str, list[str]]:
    grids = {slot: grid for slot, pair in pairs.items() if (grid := _grid(pair)) is not None and slot not in found}
    steps = [_quantised(b, grids)] if grids else []
    if all(relative(*pair) <= 2 * _rounding(a, b, how, slot) for slot, pair in pairs.items()):
        return None, steps, "all that is left is the same number by number", []
    rest = [slot for slot in pairs if slot not in found and slot not in grids]
    tuned = [slot for slot in rest if relative(*pairs[slot]) > 2 * _rounding(a, b, how, slot)]
    if not tuned and grids and min(grid.within for grid in grids.values()) >= ROUNDING_ALONE:
        return None, steps, "one is a quantisation of the other; a tuning smaller than its steps would not show", []
    rank = None if grids else _rank(a, b, pairs, how, tuned)
    if rank is not None:
        names = tuple(sorted(b.slots[slot].tensor for slot in tuned))
        steps.append(Step(Relation.LOW_RANK, f"the changes of {len(names)} tensors have rank {rank} at most", names))
        return None, steps, f"one is the other with an update of rank {rank} at most", []
    return _by_kinship(pairs, how, start, steps)


def _rank(a: Fingerprint, b: Fingerprint, pairs: Pairs, how: Alignment, tuned: list[Slot]) -> int | None:
    """The greatest rank of all changes, or None as soon as one has no low rank."""
    ranks = []
    for slot in sorted(tuned, key=lambda slot: min(pairs[slot][0].shape)):
        rank = rank_of_change(*pairs[slot], (a.slots[how.origin(slot)].kind, b.slots[slot].kind))
        if rank is None:
            return None
        ranks.append(rank)
    return max(ranks, default=None)


def _grid(pair: tuple[Values, Values]) -> Lattice | None:
    return lattice(*pair) if min(pair[0].shape) > 1 else None


def _quantised(b: Fingerprint, grids: Mapping[Slot, Lattice]) -> Step:
    names = tuple(sorted(b.slots[slot].tensor for slot in grids))
    levels = int(np.median([grid.levels for grid in grids.values()]))
    kinds = ", ".join(sorted({b.slots[slot].kind for slot in grids}))
    first = next(iter(grids.values()))
    where = "in a and in b" if first.a and first.b else "in a" if first.a else "in b"
    how = f"{len(names)} tensors ({kinds}) lie {where} on grids of about {levels} levels in blocks of 32"
    within = min(grid.within for grid in grids.values())
    if within >= ROUNDING_ALONE:
        how += f", at least {within:.1%} of each one's numbers within a step of the other's"
    return Step(Relation.QUANTISED, how, names)


def _rounding(a: Fingerprint, b: Fingerprint, how: Alignment, slot: Slot) -> float:
    return max(ROUNDING.get(kind, 2.0**-24) for kind in (a.slots[how.origin(slot)].kind, b.slots[slot].kind))


def _by_kinship(
    pairs: Pairs, how: Alignment, start: Fingerprint | None, steps: list[Step]
) -> tuple[Relation | None, list[Step], str, list[str]]:
    change = _change(pairs, how, start)
    alike = float(np.median([cosine(*pair) for pair in pairs.values() if min(pair[0].shape) > 1]))
    if change is None:
        why = "no gains of norms were trained in both, and no initial weights are known: a common start looks the same"
        return Relation.UNDECIDED, steps, "related, but it cannot be told how", [why]
    told = f"{change.source} correlate by {change.cosine:.3f} (± {change.error:.3f}, {change.numbers:,} numbers)"
    match kinship(change):
        case "inherited":
            relation = Relation.FINE_TUNED if alike >= FINE_TUNED_COSINE else Relation.FURTHER_PRETRAINED
            step = Step(relation, f"{told}; median cosine of matrices {alike:.3f}")
            border = (
                f"fine-tuned or further pretrained is a matter of degree: the border is a cosine of {FINE_TUNED_COSINE}"
            )
            return None, [*steps, step], f"one was trained further from the other; {told}", [border]
        case "shared start":
            step = Step(Relation.SHARED_INITIALISATION, f"{told}; median cosine of matrices {alike:.3f}")
            summary = "they began with the same numbers, and learnt different things"
            return Relation.SHARED_INITIALISATION, [*steps, step], f"{summary}; {told}", []
    why = f"{told}: between {SHARED_AT_MOST} (a common start at most) and {INHERITED_AT_LEAST} (lineage at least)"
    return Relation.UNDECIDED, steps, "related, by lineage or by a common start: it cannot be told which", [why]


def _change(pairs: Pairs, how: Alignment, start: Fingerprint | None) -> Change | None:
    if start is None:
        return changes(pair for slot, pair in pairs.items() if slot.role.endswith("norm"))
    moved, numbers = [], 0
    for slot, (x, y) in pairs.items():
        origin = how.origin(slot)
        if origin in start.slots and min(x.shape) > 1 and start.slots[origin].sample.values.shape == x.shape:
            initial = start.slots[origin].sample.numbers()
            moved.append((x - initial, y - initial))
    cosine_of_changes, numbers = correlation(moved)
    return Change(cosine_of_changes, numbers, "changes since the initial weights") if numbers else None
