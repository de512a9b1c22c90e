"""Words and groupings that the pages of a comparison share."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fromscratch.anatomy.compare import Comparison, Side
from fromscratch.anatomy.duties import Duties, Duty
from fromscratch.anatomy.relation.judgement import Share, WeightVerdict
from fromscratch.anatomy.structure.match import Pairing

__all__ = [
    "Answer",
    "Rename",
    "answers",
    "bound",
    "duties_by_licence",
    "renames",
    "sentence",
    "short",
    "side_facts",
    "told_shares",
    "unknown_facts",
    "weight_words",
]

ARCHITECTURE = {
    "same": "same",
    "same_up_to_renaming": "same, up to renaming",
    "contained": "one is contained in the other",
    "different": "different",
    "undecided": "undecided",
}
SHARE_TOLD = 0.005
CONFIDENCES = ("certain", "strong", "weak", "claimed")


@dataclass(frozen=True)
class Rename:
    """Tensors that are renamed alike in every layer."""

    a: str
    b: str
    """``{i}`` stands for the number of the layer."""
    count: int
    proof: str
    change: str


@dataclass(frozen=True)
class Answer:
    """One of the three answers in a few words, and how sure it is."""

    question: str
    answer: str
    confidence: str


def answers(found: Comparison) -> tuple[Answer, Answer, Answer]:
    """Architecture, weights, duties."""
    return (
        Answer("architecture", ARCHITECTURE[found.architecture.verdict], _architecture_confidence(found)),
        Answer("weights", weight_words(found.weights), _weight_confidence(found.weights)),
        Answer("duties", _duty_words(found.duties), "what files declare; no legal advice"),
    )


def _architecture_confidence(found: Comparison) -> str:
    pairs = found.architecture.pairings
    proven = sum(pair.proof == "numbers" for pair in pairs)
    if pairs and proven == len(pairs):
        return f"certain: all {len(pairs)} pairs of tensors hold equal numbers"
    findings = [each for side in (found.a, found.b) for each in side.structure.axes.values()]
    weakest = max((each.confidence for each in findings), key=CONFIDENCES.index, default="certain")
    told = f"{len(pairs)} pairs of tensors, {proven} of them by equal numbers"
    return f"{told}; the least sure of the four axes is {weakest}"


def weight_words(verdict: WeightVerdict) -> str:
    """The relation, then what else lies between the two."""
    more = [str(step.what) for step in verdict.steps if step.what != verdict.relation]
    return f"{verdict.relation}: {', '.join(dict.fromkeys(more))}" if more else str(verdict.relation)


def _weight_confidence(verdict: WeightVerdict) -> str:
    if not verdict.tests:
        return "certain: digests of all numbers agree" if verdict.relation.is_lineage else "no test could be made"
    strongest = min(verdict.tests, key=lambda test: test.log10_p)
    return f"{bound(strongest.log10_p)} for having nothing to do with each other ({strongest.name})"


def _duty_words(duties: Duties) -> str:
    if not duties.lineage:
        return "no lineage is observed or declared"
    if not duties.duties:
        return "the licences along the lineage are unknown"
    standings = [duty.standing for duty in duties.duties]
    counts = [(each, standings.count(each)) for each in ("observed", "not observed", "unknown")]
    return ", ".join(f"{count} {each}" for each, count in counts if count)


def duties_by_licence(duties: Duties) -> dict[str, list[Duty]]:
    """What each licence asks for, by its title."""
    found: dict[str, list[Duty]] = {}
    for duty in duties.duties:
        found.setdefault(duty.title, []).append(duty)
    return found


def unknown_facts(found: Comparison) -> list[tuple[str, str]]:
    """What the weights cannot tell, once where it is the same of both: (whose, sentence)."""
    a, b = found.a.structure.unknown, found.b.structure.unknown
    both = [("A and B", each) for each in a if each in b]
    return both + [("A", each) for each in a if each not in b] + [("B", each) for each in b if each not in a]


def renames(pairings: Iterable[Pairing]) -> list[Rename]:
    """The pairs whose names or layout differ, those of all layers in one line."""
    found: dict[tuple[str, str, str, str], int] = {}
    for pair in pairings:
        if pair.a != pair.b or pair.change:
            layer = pair.layer
            key = (_pattern(pair.a, layer), _pattern(pair.b, layer), pair.proof, ", ".join(pair.change))
            found[key] = found.get(key, 0) + 1
    return [Rename(a, b, count, proof, change) for (a, b, proof, change), count in found.items()]


def _pattern(names: Sequence[str], layer: int | None) -> str:
    told = " + ".join(names)
    return told if layer is None else re.sub(rf"(?<![^.]){layer}(?![^.])", "{i}", told)


def bound(log10_p: float) -> str:
    """``p ≤ 3e-81``; beyond what a float holds only the power of ten is told."""
    if log10_p >= 0:
        return "p ≤ 1"
    if not math.isfinite(log10_p):
        return "p = 0"
    power = math.floor(log10_p)
    return f"p ≤ {math.ceil(10 ** (log10_p - power))}e{power}" if log10_p < -3 else f"p ≤ {10**log10_p:.2g}"


def told_shares(verdict: WeightVerdict) -> list[Share]:
    """The parents of a merge that it has anything of."""
    return [share for share in verdict.parents if abs(share.weight) >= SHARE_TOLD]


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "…")) else ".")


def short(place: str) -> str:
    """The last part of a path or URL that says something."""
    parts = [part for part in PurePosixPath(place).parts if part not in ("/", "main")]
    return parts[-1] if parts else place


def side_facts(side: Side) -> list[tuple[str, str]]:
    """What one model is, a fact a row."""
    structure = side.structure
    heads = f"{structure.query_heads} / {structure.kv_heads}" if structure.query_heads else "unknown"
    return [
        ("format", f"{side.format}, {', '.join(f'{kind} × {count}' for kind, count in side.kinds.items())}"),
        ("parameters", f"{side.parameters:,} in {side.tensors:,} tensors"),
        ("layers × width", f"{structure.layers} × {structure.width:,}"),
        ("MLP", f"{structure.mlp_width:,}"),
        ("heads / key-value heads", heads + (f" of {structure.head_width}" if structure.head_width else "")),
        ("vocabulary", f"{structure.vocabulary:,}, {'tied' if structure.tied else 'untied'} head"),
        ("rotary layout", (structure.rotary_layout or "unknown").replace("_", "-")),
        *((axis, f"{finding.value} ({finding.confidence})") for axis, finding in structure.axes.items()),
    ]
