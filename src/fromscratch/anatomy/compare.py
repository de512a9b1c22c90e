"""Two checkpoints, three questions: is it the same architecture, are the weights related, what do licences ask for."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from fromscratch.anatomy.duties import Duties, find_duties
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.digests import BFLOAT16, FLOAT16, NATIVE
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import WeightVerdict
from fromscratch.anatomy.structure.axes import UNKNOWN
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.match import ArchitectureVerdict, match_names
from fromscratch.anatomy.structure.roles import Role, Structure
from fromscratch.anatomy.tensors import Array, Checkpoint, StoredTensor
from fromscratch.core.progress import Advance, progress

__all__ = ["Comparison", "Side", "compare", "compare_checkpoints", "print_of", "side_of"]

LEFT_SHOWN = 4


@dataclass(frozen=True)
class Side:
    """One of the two models, as it lies there."""

    place: str
    format: str
    tensors: int
    parameters: int
    nbytes: int
    kinds: Mapping[str, int]
    """Form of storage → number of tensors."""
    structure: Structure


@dataclass(frozen=True)
class Comparison:
    """The three answers, each with its evidence."""

    a: Side
    b: Side
    blind: bool
    """Whether names and configs were left aside."""
    architecture: ArchitectureVerdict
    weights: WeightVerdict
    duties: Duties
    seconds: float

    @property
    def child(self) -> tuple[str, Side]:
        """The derived one, as the maps of the verdict have it: B, unless the weights show that A came from B."""
        return ("A", self.a) if self.weights.direction == "a from b" else ("B", self.b)

    @property
    def parent(self) -> tuple[str, Side]:
        """The other one."""
        return ("B", self.b) if self.weights.direction == "a from b" else ("A", self.a)


def compare(a: str | Path, b: str | Path, *, blind: bool = False) -> Comparison:
    """Compare two models by their files, each read once. Raises FromScratchError for what is no model."""
    return compare_checkpoints(open_checkpoint(a), open_checkpoint(b), blind=blind)


def compare_checkpoints(a: Checkpoint, b: Checkpoint, *, blind: bool = False) -> Comparison:
    """Compare two models that are open."""
    began = time.monotonic()
    sides = side_of(a, blind), side_of(b, blind)
    structures = sides[0].structure, sides[1].structure
    prints = print_of(a, structures[0]), print_of(b, structures[1])
    weights = _with_what_is_left(compare_weights(*prints), *prints)
    kinds = {*sides[0].kinds, *sides[1].kinds}
    precision = BFLOAT16 if "BF16" in kinds else FLOAT16 if "F16" in kinds else NATIVE  # the least that both have
    structures = _adopted(*structures, weights)
    architecture = match_names(
        *structures, (_whole_tensors(prints[0], precision), _whole_tensors(prints[1], precision))
    )
    duties = find_duties(a, b, weights)
    sides = replace(sides[0], structure=structures[0]), replace(sides[1], structure=structures[1])
    return Comparison(*sides, blind, architecture, weights, duties, time.monotonic() - began)


def _with_what_is_left(verdict: WeightVerdict, a: Fingerprint, b: Fingerprint) -> WeightVerdict:
    """The verdict with the tensors named that nothing was found for, where the rest shows a lineage."""
    child = a if verdict.direction == "a from b" else b
    seen = verdict.names.keys() | {each.b for each in verdict.distances}
    left = sorted({each.tensor for each in child.slots.values()} - seen)
    if not left or not verdict.relation.is_lineage:
        return verdict
    told = ", ".join(left[:LEFT_SHOWN]) + (" …" if len(left) > LEFT_SHOWN else "")
    return replace(verdict, reasons=(*verdict.reasons, f"nothing was found for {len(left)} tensors: {told}"))


def _adopted(a: Structure, b: Structure, weights: WeightVerdict) -> tuple[Structure, Structure]:
    """Both structures; a tensor whose own could not tell its role has that of the one whose numbers it holds."""
    if weights.layers and len({layer.a for layer in weights.layers}) < len(weights.layers):
        return a, b  # layers that stand in the child twice have no counterpart of their own
    held: dict[str, tuple[str, ...]] = dict(weights.names)
    back: dict[str, tuple[str, ...]] = {origin[0]: (name,) for name, origin in held.items() if len(origin) == 1}
    if weights.direction == "a from b":
        held, back = back, held
    turned = {name for step in weights.steps if step.what == "transposed" for name in step.tensors}
    return _taken_over(a, b, back, turned), _taken_over(b, a, held, turned)


def _taken_over(
    to: Structure, of: Structure, held: Mapping[str, tuple[str, ...]], turned: Collection[str]
) -> Structure:
    named = to.findings.get("names")
    if named is not None and named.value != UNKNOWN:
        return to  # what its names say stands
    parts = dict(to.parts)
    for name, origin in held.items():
        part = of.parts[origin[0]]
        if len(origin) > 1:  # it holds several of the other's, of one layer
            parts[name] = replace(parts[name], layer=part.layer)
        elif part.role != Role.UNKNOWN:
            parts[name] = replace(part, name=name, transposed=part.transposed != (name in turned))
    return replace(to, parts=parts)


def side_of(checkpoint: Checkpoint, blind: bool = False) -> Side:
    """What a checkpoint is, as far as its headers and a few of its numbers tell."""
    kinds: dict[str, int] = {}
    for tensor in checkpoint.tensors.values():
        kinds[tensor.kind] = kinds.get(tensor.kind, 0) + 1
    structure = find_structure(checkpoint, blind)
    weights = [each for name, each in checkpoint.tensors.items() if structure.parts[name].role.is_weight]
    return Side(
        checkpoint.place,
        checkpoint.format,
        len(checkpoint.tensors),
        sum(prod(each.shape) for each in weights),
        sum(each.nbytes for each in checkpoint.tensors.values()),
        kinds,
        structure,
    )


def print_of(checkpoint: Checkpoint, structure: Structure) -> Fingerprint:
    """The fingerprint of a checkpoint, with a bar on the terminal while its bytes pass."""
    total = sum(each.nbytes for each in checkpoint.tensors.values())
    bar: AbstractContextManager[Advance] = progress(Path(checkpoint.place).name[-24:] or "reading", total)
    with bar as advance:
        return fingerprint(_watched(checkpoint, advance), structure)


def _watched(checkpoint: Checkpoint, advance: Advance) -> Checkpoint:
    """The same checkpoint; every read is reported."""
    tensors = {
        name: replace(each, read_raw=_reporting_raw(each.read_raw, advance), read_rows=_reporting_rows(each, advance))
        for name, each in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def _reporting_raw(read: Callable[[int, int], bytes], advance: Advance) -> Callable[[int, int], bytes]:
    def reading(first: int, count: int) -> bytes:
        content = read(first, count)
        advance(len(content))
        return content

    return reading


def _reporting_rows(tensor: StoredTensor, advance: Advance) -> Callable[[int, int], Array]:
    def reading(first: int, end: int) -> Array:
        rows = tensor.read_rows(first, end)
        advance(tensor.nbytes * (end - first) / max(1, tensor.shape[0] if tensor.shape else 1))
        return rows

    return reading


def _whole_tensors(of: Fingerprint, precision: int) -> dict[str, str]:
    """Digest of the numbers of each tensor that is one slot, by name."""
    return {
        each.tensor: f"{each.digest.whole[precision]} {each.shape} {each.transposed}"
        for each in of.slots.values()
        if each.rows is None
    }
