"""Are b's weights a's, were they made from a's, or have they nothing to do with each other."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fromscratch.anatomy.relation.adoption import adopt_roles
from fromscratch.anatomy.relation.alignment import Alignment, align, axis_origins
from fromscratch.anatomy.relation.evidence import gather
from fromscratch.anatomy.relation.exact import Origin, layer_of_origin, origins, ties
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import LayerMatch, Relation, Step, Test, WeightVerdict
from fromscratch.anatomy.relation.merges import find_merge
from fromscratch.anatomy.relation.signals import repeats
from fromscratch.anatomy.relation.slots import Slot, axes_of
from fromscratch.anatomy.relation.statistics import LIS_BOUND, LIS_LIMITS, increasing_log_p, increasing_run, log10
from fromscratch.anatomy.relation.transforms import names_of, transforms
from fromscratch.anatomy.structure.roles import Role, Structure
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["compare_weights"]

DIGEST_LOG10_P = -38.5  # 128 bits

WEIGHTIEST = (
    Relation.MERGED,
    Relation.LAYERS_REUSED,
    Relation.PRUNED,
    Relation.FURTHER_PRETRAINED,
    Relation.FINE_TUNED,
    Relation.LOW_RANK,
    Relation.QUANTISED,
)


def compare_weights(
    a: Checkpoint | Fingerprint,
    b: Checkpoint | Fingerprint,
    *,
    a_structure: Structure | None = None,
    b_structure: Structure | None = None,
    initial: Checkpoint | Fingerprint | None = None,
    others: Sequence[Fingerprint] = (),
) -> WeightVerdict:
    """Judge whether b's weights come from a's or a's from b's; each checkpoint is read once, a fingerprint not at all.

    ``initial`` are the weights that a's training began with, laid out as a's, where they are known: a checkpoint of
    step 0, or made again from the seed. With them a common start is told from lineage by what changed since.
    ``others`` may be parents of b beside a. Where the direction is "a from b", every map leads from a to b.
    ValueError where a checkpoint comes without its structure.
    """
    one, other = _print_of(a, a_structure), _print_of(b, b_structure)
    start = _print_of(initial, a_structure) if initial is not None else None
    other = adopt_roles(one, other)
    if _grew(one, other):
        return _turned(_judge(other, one, start, others))
    return _judge(one, other, start, others)


def _turned(verdict: WeightVerdict) -> WeightVerdict:
    """A verdict that was reached with A and B in each other's place, told as it was asked for."""

    def told(text: str) -> str:
        return re.sub(r"\b[AB]\b", lambda letter: "B" if letter[0] == "A" else "A", text)

    return replace(
        verdict,
        summary=told(verdict.summary),
        steps=tuple(replace(each, evidence=told(each.evidence)) for each in verdict.steps),
        distances=tuple(replace(each, a=each.b, b=each.a) for each in verdict.distances),
        reasons=tuple(told(each) for each in verdict.reasons),
        direction="a from b",
    )


def _grew(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether b has more units or dimensions than a, or a has some of its own layers twice: then a is b's descendant.

    It is decided by shapes and by a alone, so that it costs no test its meaning.
    """
    if b.layers and a.layers and _sizes(a) != _sizes(b):
        return _sizes(b) > _sizes(a)
    return a.layers > b.layers and repeats(a)


def _sizes(each: Fingerprint) -> tuple[int, int]:
    """(width, units)"""
    slots = each.slots
    width = slots[Slot(Role.EMBEDDING)].shape[1] if Slot(Role.EMBEDDING) in slots else 0
    return width, slots[Slot(Role.UP, 0)].shape[0] if Slot(Role.UP, 0) in slots else 0


def _judge(a: Fingerprint, b: Fingerprint, start: Fingerprint | None, others: Sequence[Fingerprint]) -> WeightVerdict:
    forth = origins(a, b)
    if len(forth) == len(b.slots):
        return _exact(a, b, forth)
    back = origins(b, a)
    if len(back) == len(a.slots):
        return _turned(_exact(b, a, back))
    verdict = _approximate(a, b, forth, start)
    merge = find_merge(b, (a, *others)) if others and verdict.relation.is_lineage else None
    if merge is None:
        return verdict
    shown = " and ".join(f"{share.weight:.3f} of {share.place}" for share in merge.shares)
    step = Step(Relation.MERGED, f"{merge.kind} merge: {shown}; it explains {merge.explained:.2%} of the change")
    kept = [each for each in verdict.steps if each.what not in (Relation.FINE_TUNED, Relation.FURTHER_PRETRAINED)]
    summary = f"B is the {merge.kind} merge of {len(merge.shares)} models"
    return replace(
        verdict,
        relation=Relation.MERGED,
        summary=summary,
        steps=(step, *kept),
        parents=merge.shares,
        direction="b from a",
    )


def _print_of(model: Checkpoint | Fingerprint, structure: Structure | None) -> Fingerprint:
    if isinstance(model, Fingerprint):
        return model
    if structure is None:
        raise ValueError(f"{model.place}: a checkpoint is compared by its structure, and none was given")
    return fingerprint(model, structure)


def _order_test(how: Alignment) -> tuple[Test, ...]:
    """Whether units that were found again stand in the order they had, in the layer that shows it best of all tried."""
    runs = {j: (increasing_run(units.tolist()), len(units)) for j, units in how.units.items()}
    if not runs:
        return ()
    log_ps = {j: increasing_log_p(*run) for j, run in runs.items()}
    best = min(log_ps, key=log_ps.__getitem__)
    log_p = min(0.0, log_ps[best] + math.log(len(log_ps)))
    observed = f"in layer {best}, {runs[best][0]} of {runs[best][1]} units stand in the order they had"
    return (Test("order of the units", log10(log_p), observed, LIS_BOUND, LIS_LIMITS),)


def _pruned_units(a: Fingerprint, how: Alignment) -> list[Step]:
    """What is left of units and dimensions, where b has fewer than a."""
    steps = []
    for j, units in how.units.items():
        before = a.slots[Slot(Role.UP, how.layers[j])].shape[0]
        if len(units) < before:
            run = increasing_run(units.tolist())
            how_many = f"layer {j}: {len(units)} of {before} units are left, {run} of them in their order"
            steps.append(Step(Relation.PRUNED, how_many))
    if how.width is not None:
        before = a.slots[Slot(Role.EMBEDDING)].shape[1]
        if len(how.width) < before:
            steps.append(
                Step(Relation.PRUNED, f"{len(how.width)} of {before} dimensions of the residual stream are left")
            )
    return steps


def _exact(a: Fingerprint, b: Fingerprint, found: dict[Slot, Origin]) -> WeightVerdict:
    """Every number of b is a number of a."""
    layers = layer_of_origin(found, b.layers)
    steps = _depth_steps(layers, a.layers) or _counted_steps(a, found)
    steps += _width_steps(a, b, found) + transforms(a, b, found)
    relation = _heading(steps)
    if relation == Relation.IDENTICAL and _left_over(a, found):
        relation = Relation.TRANSFORMED
    summary = {
        Relation.IDENTICAL: "every number is the same, under the same names",
        Relation.TRANSFORMED: "every number of B is one of A's; only layout, names or rounding differ",
    }.get(relation, "every number of B is one of A's, and some of these are left out or used more than once")
    matches = tuple(LayerMatch(j, layers.get(j), 1.0, DIGEST_LOG10_P) for j in range(b.layers))
    units = {
        slot.layer: tuple(origin.rows.tolist())
        for slot, origin in found.items()
        if slot.role == Role.UP and origin.rows is not None
    }
    return WeightVerdict(
        relation,
        summary,
        tuple(steps),
        names=names_of(a, b, found),
        tied=ties(a),
        layers=matches,
        units=units,
        direction=_direction(steps),
        reasons=_left_over(a, found),
    )


def _left_over(a: Fingerprint, found: Mapping[Slot, Origin]) -> tuple[str, ...]:
    """Tensors of a that b has nothing of."""
    layers = {origin.slot.layer for origin in found.values()}
    used = {origin.slot for origin in found.values()}
    left = sorted({each.tensor for slot, each in a.slots.items() if slot not in used and slot.layer in layers})
    return (
        (f"{len(left)} tensors of A are not in B: {', '.join(left[:5])}{' …' if len(left) > 5 else ''}",)
        if left
        else ()
    )


def _counted_steps(a: Fingerprint, found: Mapping[Slot, Origin]) -> list[Step]:
    """Matrices of a that are in b more than once or not at all, where layers are not known well enough to say more."""
    matrices = [slot for slot, each in a.slots.items() if min(each.shape) > 1 and axes_of(slot)[0] != "tokens"]
    uses = Counter(origin.slot for origin in found.values())
    steps = []
    if twice := [a.slots[slot].tensor for slot in matrices if uses[slot] > 1]:
        steps.append(Step(Relation.LAYERS_REUSED, f"{len(twice)} matrices of A stand in B more than once"))
    if left := [a.slots[slot].tensor for slot in matrices if not uses[slot]]:
        steps.append(Step(Relation.PRUNED, f"{len(left)} of A's {len(matrices)} matrices are not in B", tuple(left)))
    return steps


def _depth_steps(layers: dict[int, int], layers_of_a: int) -> list[Step]:
    """What the map of layers says."""
    origin = list(layers.values())
    if not origin or origin == list(range(layers_of_a)):
        return []
    shown = " ".join(map(str, origin))
    twice = sorted(layer for layer, count in Counter(origin).items() if count > 1)
    if twice:
        return [
            Step(Relation.LAYERS_REUSED, f"layers {twice} of A stand in B more than once: its layers are A's {shown}")
        ]
    if len(origin) < layers_of_a:
        return [
            Step(
                Relation.PRUNED,
                f"{layers_of_a - len(origin)} of A's {layers_of_a} layers are left out: B's are A's {shown}",
            )
        ]
    return [Step(Relation.LAYERS_REUSED, f"B's layers are A's {shown}")]


def _width_steps(a: Fingerprint, b: Fingerprint, found: dict[Slot, Origin]) -> list[Step]:
    """Units, heads or dimensions that were left out."""
    fewer = [
        (slot, a.slots[origin.slot].shape, b.slots[slot].shape)
        for slot, origin in found.items()
        if axes_of(slot)[0] != "tokens" and b.slots[slot].shape != a.slots[origin.slot].shape
    ]
    if not fewer:
        return []
    shapes = sorted({f"{slot.role} {old[0]} × {old[1]} → {new[0]} × {new[1]}" for slot, old, new in fewer})
    return [Step(Relation.PRUNED, "rows or columns of A are left out: " + ", ".join(shapes))]


def _heading(steps: list[Step]) -> Relation:
    kinds = {step.what for step in steps}
    for relation in WEIGHTIEST:
        if relation in kinds:
            return relation
    return Relation.TRANSFORMED if kinds else Relation.IDENTICAL


def _approximate(a: Fingerprint, b: Fingerprint, found: dict[Slot, Origin], start: Fingerprint | None) -> WeightVerdict:
    """Not every number of b is one of a's: look for likeness instead of equality."""
    how = align(a, b)
    evidence = gather(a, b, how, found, start)
    if not evidence.related:
        verdict = evidence.verdict or Relation.UNDECIDED
        return WeightVerdict(
            verdict, evidence.summary, tests=evidence.tests, distances=evidence.distances, reasons=evidence.reasons
        )
    places = {**_origins_by_likeness(a, b, how), **found}
    steps = _depth_steps(dict(how.layers), a.layers) if len(how.layers) == b.layers else []
    steps += [*_pruned_units(a, how), *evidence.steps, *transforms(a, b, places)]
    relation = evidence.verdict or _heading(steps)
    return WeightVerdict(
        Relation.TRANSFORMED if relation == Relation.IDENTICAL else relation,
        evidence.summary,
        tuple(steps),
        tests=(*evidence.tests, *_order_test(how)),
        distances=evidence.distances,
        names=names_of(a, b, places),
        tied=ties(a),
        layers=evidence.layers,
        units={layer: tuple(each.tolist()) for layer, each in how.units.items()},
        width=() if how.width is None else tuple(how.width.tolist()),
        direction=_direction(steps),
        reasons=evidence.reasons,
    )


def _direction(steps: Sequence[Step]) -> Literal["b from a", "a from b"] | None:
    """What cannot be undone came later: leaving something out, and rounding. Training shows no direction."""
    if any(step.what in (Relation.PRUNED, Relation.LAYERS_REUSED) for step in steps):
        return "b from a"
    rounded = [step.evidence for step in steps if step.what in (Relation.QUANTISED, "cast")]
    in_b = any(" lie in B " in each or "; B is the rounded" in each for each in rounded)
    in_a = any(" lie in A " in each or "; A is the rounded" in each for each in rounded)
    return None if in_a == in_b else "b from a" if in_b else "a from b"


def _origins_by_likeness(a: Fingerprint, b: Fingerprint, how: Alignment) -> dict[Slot, Origin]:
    """The slot of a in the place of each of b's, with what was found to have moved."""
    places = {}
    for slot, each in b.slots.items():
        origin = how.origin(slot)
        if origin in a.slots:
            rows, columns = axis_origins(how, slot, b)
            if axes_of(slot)[0] == "tokens" and a.slots[origin].shape[0] != each.shape[0]:
                rows = np.arange(each.shape[0])
            places[slot] = Origin(origin, None, rows, columns)
    return places
