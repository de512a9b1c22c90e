"""Two checkpoints, three questions: is it the same architecture, are the weights related, what do licences ask for."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from fromscratch.anatomy.duties import Duties, find_duties
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.relation.compare import compare_weights
from fromscratch.anatomy.relation.digests import NATIVE
from fromscratch.anatomy.relation.fingerprint import Fingerprint, fingerprint
from fromscratch.anatomy.relation.judgement import WeightVerdict
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.match import ArchitectureVerdict, match_names
from fromscratch.anatomy.structure.roles import Structure
from fromscratch.anatomy.tensors import Array, Checkpoint, StoredTensor
from fromscratch.core.progress import Advance, progress

__all__ = ["Comparison", "Side", "compare", "compare_checkpoints", "print_of", "side_of"]


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
    weights = compare_weights(*prints)
    architecture = match_names(*structures, (_whole_tensors(prints[0]), _whole_tensors(prints[1])))
    duties = find_duties(a, b, weights)
    return Comparison(*sides, blind, architecture, weights, duties, time.monotonic() - began)


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


def _whole_tensors(of: Fingerprint) -> dict[str, str]:
    """Digest of the numbers of each tensor that is one slot, by name."""
    return {each.tensor: f"{each.digest.whole[NATIVE]} {each.shape}" for each in of.slots.values() if each.rows is None}
