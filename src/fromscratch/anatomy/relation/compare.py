"""Are b's weights a's, were they made from a's, or have they nothing to do with each other."""

from collections import Counter
from dataclasses import replace

import numpy as np

from fromscratch.anatomy.relation.alignment import Alignment, align
from fromscratch.anatomy.relation.evidence import gather
from fromscratch.anatomy.relation.exact import Origin, layer_of_origin, origins, ties
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import LayerMatch, Relation, Step, WeightVerdict
from fromscratch.anatomy.relation.slots import Slot
from fromscratch.anatomy.relation.statistics import increasing_log_p, increasing_run, log10
from fromscratch.anatomy.relation.transforms import names_of, transforms
from fromscratch.anatomy.structure.roles import Role, Structure
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["compare_weights"]

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
) -> WeightVerdict:
    """Judge whether b's weights come from a's or a's from b's; each checkpoint is read once, a fingerprint not at all.

    ``initial`` are the weights that a's training began with, laid out as a's, where they are known: a checkpoint of
    step 0, or made again from the seed. With them a common start is told from lineage by what changed since.
    ValueError where a checkpoint comes without its structure.
    """
    one, other = _print_of(a, a_structure), _print_of(b, b_structure)
    start = _print_of(initial, a_structure) if initial is not None else None
    forth = origins(one, other)
    if len(forth) < len(other.slots):
        back = origins(other, one)
        if len(back) == len(one.slots):
            return replace(_exact(other, one, back), direction="a from b")
    else:
        return _exact(one, other, forth)
    return _approximate(one, other, forth, start)


def _print_of(model: Checkpoint | Fingerprint, structure: Structure | None) -> Fingerprint:
    if isinstance(model, Fingerprint):
        return model
    if structure is None:
        raise ValueError(f"{model.place}: a checkpoint is compared by its structure, and none was given")
    return fingerprint(model, structure)


def _pruned_units(a: Fingerprint, how: Alignment) -> list[Step]:
    """What is left of units and dimensions, where b has fewer than a."""
    steps = []
    for j, units in how.units.items():
        before = a.slots[Slot(Role.UP, how.layers[j])].shape[0]
        if len(units) < before:
            run = increasing_run(units.tolist())
            log_p = log10(increasing_log_p(run, len(units)))
            steps.append(
                Step(
                    Relation.PRUNED,
                    f"layer {j}: {len(units)} of {before} units are left, {run} in their order (p ≤ 1e{log_p:.0f})",
                )
            )
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
    steps = _depth_steps(layers, a.layers) + _width_steps(a, b, found) + transforms(a, b, found)
    relation = _heading(steps)
    summary = {
        Relation.IDENTICAL: "every number is the same, under the same names",
        Relation.TRANSFORMED: "every number of b is a number of a; only layout, names or rounding differ",
    }.get(relation, "every number of b is a number of a, and some of a are left out or used more than once")
    matches = tuple(LayerMatch(j, layers.get(j), 1.0, -np.inf) for j in range(b.layers))
    units = {
        slot.layer: tuple(origin.rows.tolist())
        for slot, origin in found.items()
        if slot.role == Role.UP and origin.rows is not None
    }
    return WeightVerdict(
        relation,
        summary,
        tuple(steps),
        names=names_of(b, a, found),
        tied=ties(a),
        layers=matches,
        units=units,
        direction="b from a" if any(step.what in (Relation.PRUNED, Relation.LAYERS_REUSED) for step in steps) else None,
    )


def _depth_steps(layers: dict[int, int], layers_of_a: int) -> list[Step]:
    """What the map of layers says."""
    origin = list(layers.values())
    if origin == list(range(layers_of_a)):
        return []
    shown = " ".join(map(str, origin))
    twice = sorted(layer for layer, count in Counter(origin).items() if count > 1)
    if twice:
        return [
            Step(Relation.LAYERS_REUSED, f"layers {twice} of a stand in b more than once: its layers are a's {shown}")
        ]
    if len(origin) < layers_of_a:
        return [
            Step(
                Relation.PRUNED,
                f"{layers_of_a - len(origin)} of a's {layers_of_a} layers are left out: b's are a's {shown}",
            )
        ]
    return [Step(Relation.LAYERS_REUSED, f"b's layers are a's {shown}")]


def _width_steps(a: Fingerprint, b: Fingerprint, found: dict[Slot, Origin]) -> list[Step]:
    """Units, heads or dimensions that were left out."""
    fewer = [
        (slot, a.slots[origin.slot].shape, b.slots[slot].shape)
        for slot, origin in found.items()
        if slot.layer >= 0 and b.slots[slot].shape != a.slots[origin.slot].shape
    ]
    if not fewer:
        return []
    shapes = sorted({f"{slot.role} {old[0]} × {old[1]} → {new[0]} × {new[1]}" for slot, old, new in fewer})
    return [Step(Relation.PRUNED, "rows or columns of a are left out: " + ", ".join(shapes))]


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
    steps = _depth_steps(dict(how.layers), a.layers) if len(how.layers) == b.layers else []
    steps += _pruned_units(a, how) + evidence.steps + transforms(a, b, found)
    relation = evidence.verdict if evidence.verdict is not None else _heading(steps)
    return WeightVerdict(
        relation,
        evidence.summary,
        tuple(steps),
        tests=evidence.tests,
        distances=evidence.distances,
        names=names_of(b, a, found),
        tied=ties(a),
        layers=evidence.layers,
        units={layer: tuple(each.tolist()) for layer, each in how.units.items()},
        width=() if how.width is None else tuple(how.width.tolist()),
        reasons=evidence.reasons,
    )
