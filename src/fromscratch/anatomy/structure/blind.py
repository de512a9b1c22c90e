"""Roles found without names: by the census of shapes, by who works with whom, by likeness of neighbours.

n layers · D number of the stream that is looked at
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.assignment import best_assignment
from fromscratch.anatomy.structure.blocks import Blocks, Reader, attention_blocks, is_transposed, mlp_blocks
from fromscratch.anatomy.structure.census import Census, take_census
from fromscratch.anatomy.structure.order import Matrix, arrange, likeness, place_beside, second_moments
from fromscratch.anatomy.structure.roles import Finding, Part, Role
from fromscratch.anatomy.structure.sizes import READERS, Sizes
from fromscratch.anatomy.structure.units import unit_sample
from fromscratch.anatomy.structure.vectors import Vectors, read_vectors
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["FoundRoles", "find_roles"]

STREAM, UNITS = 512, 768  # numbers of the stream and units of each matrix that are looked at
CLEAR_ENOUGH = 0.5  # below this share of clear pairs nothing is said: weights that were never trained show none
TABLE_ROWS = 4096
LAYERS_TO_ORDER = 6  # among fewer, an order by likeness alone would often be found by chance


@dataclass(frozen=True)
class FoundRoles:
    """Parts by name, and how they were found."""

    parts: Mapping[str, Part]
    together: Mapping[str, Part]
    """Matrices that work together under one number, which need be no layer: enough to look into heads."""
    sizes: Sizes
    present: frozenset[Role]
    """Roles that some tensors must have, by their counts, without it being known which."""
    findings: Mapping[str, Finding]
    unknown: tuple[str, ...]


def find_roles(checkpoint: Checkpoint) -> FoundRoles:
    """The role of each tensor from shapes and numbers. What nothing tells stays ``unknown``, or without a layer."""
    parts = {name: Part(name, Role.UNKNOWN, None) for name in checkpoint.tensors}
    census = take_census(checkpoint)
    if census is None:
        nothing = Finding("unknown", "weak", "no decoder has matrices of these shapes so many times")
        return FoundRoles(parts, parts, Sizes(0, 0, 0, 0, 0, 0, ()), frozenset(), {"roles": nothing}, ("what it is",))
    attention, mlp, transposed, assumed = _blocks(checkpoint, census)
    vectors = read_vectors(census)
    findings, unknown = {"roles": _roles_finding(census, attention, mlp)}, [*vectors.unknown, *assumed]
    tables, untold = _tables(checkpoint, census)
    parts |= tables
    unknown += untold
    seats, findings["order of layers"] = _seats(checkpoint, census, attention, mlp, transposed)
    together: dict[str, Part] = {}
    for blocks, seat in zip((attention, mlp), seats, strict=True):
        if blocks.clear >= CLEAR_ENOUGH:
            together |= _named(blocks, list(range(len(blocks.blocks))), transposed, ())
            parts |= _named(blocks, seat, transposed, blocks.interchangeable)
            unknown += [f"which are {_words(blocks.interchangeable)}"] if blocks.interchangeable else []
        else:
            kind = "attention" if blocks is attention else "MLPs"
            unknown.append(f"which matrices of the {kind} belong together: they meet no more than by chance")
    rows = checkpoint.tensors[census.tables[0]].shape
    vocabulary = rows[0] if rows[1] == census.width else rows[1]
    sizes = Sizes(census.width, vocabulary, census.layers, census.mlp_width, census.query_width, census.kv_width, ())
    return FoundRoles(parts, together, sizes, _present(census, vectors), findings, tuple(unknown))


def _named(
    blocks: Blocks, seat: Sequence[int | None], transposed: bool, interchangeable: tuple[Role, ...]
) -> dict[str, Part]:
    """The parts of blocks whose layers are ``seat``; roles that nothing tells apart are unknown, their layer is not."""
    parts = {}
    for block, at in zip(blocks.blocks, seat, strict=True):
        for role, name in block.items():
            known = Role.UNKNOWN if role in interchangeable else role
            order = blocks.order if role == Role.QUERY_KEY_VALUE else "stacked"
            parts[name] = Part(name, known, at, transposed, order)
    return parts


def _words(roles: tuple[Role, ...]) -> str:
    return " and which ".join(role.value for role in roles)


def _blocks(checkpoint: Checkpoint, census: Census) -> tuple[Blocks, Blocks, bool, tuple[str, ...]]:
    """Attentions and MLPs, whether matrices are stored (in, out), and a sentence where shapes do not tell."""
    turned = is_transposed(checkpoint, census)
    first = max(0, (census.width - STREAM) // 2)
    sample = slice(first, min(census.width, first + STREAM))
    reader = Reader(checkpoint, sample, bool(turned))
    untold = () if turned is not None else ("whether matrices are stored (out, in), as nearly all are: it is assumed",)
    return attention_blocks(reader, census), mlp_blocks(reader, census), bool(turned), untold


def _roles_finding(census: Census, attention: Blocks, mlp: Blocks) -> Finding:
    told = f"{census.layers} layers of {census.attention} attention and a {census.mlp} MLP by the census of shapes"
    told += f" ({census.rivals} other readings)" if census.rivals else ""
    clear = min(attention.clear, mlp.clear)
    sure = "strong" if clear > 0.9 and not census.rivals else "weak"
    return Finding(f"{clear:.0%} clear", sure, f"{told}; {attention.evidence}; {mlp.evidence}")  # type: ignore[arg-type]


def _present(census: Census, vectors: Vectors) -> frozenset[Role]:
    attention = {Role.QUERY_KEY_VALUE} if census.attention == "fused" else {Role.QUERY, Role.KEY, Role.VALUE}
    mlp = {"gated": {Role.GATE, Role.UP}, "plain": {Role.UP}, "fused": {Role.GATE_UP}}[census.mlp]
    return frozenset({*attention, *mlp, Role.ATTENTION_OUTPUT, Role.DOWN, *vectors.roles})


def _tables(checkpoint: Checkpoint, census: Census) -> tuple[dict[str, Part], tuple[str, ...]]:
    """The embedding, and the head if it is another, with what could not be told of them.

    Rows of a head share a direction, for every wrong token's logit is lowered in every step; those of an embedding
    hardly do. Of eleven small models and the demo the heads share 0.28 to 0.55 of their square, the embeddings less
    than 0.01.
    """
    parts = {}
    if census.positions is not None:
        parts[census.positions] = Part(census.positions, Role.POSITION_EMBEDDING, None)
    if len(census.tables) == 1:
        return parts | {census.tables[0]: Part(census.tables[0], Role.EMBEDDING, None)}, ()
    (less, embedding), (more, head) = sorted((_shared(checkpoint, name), name) for name in census.tables)
    if more < 0.05 or more < 5 * less:
        return parts, ("which of the two tables over the vocabulary is the embedding and which the head",)
    return parts | {embedding: Part(embedding, Role.EMBEDDING, None), head: Part(head, Role.HEAD, None)}, ()


def _shared(checkpoint: Checkpoint, name: str) -> float:
    """The share of the square of a table's rows that their mean has."""
    tensor = checkpoint.tensors[name]
    rows = tensor.read_rows(0, min(TABLE_ROWS, tensor.shape[0])).astype(np.float32)
    return float((rows.mean(0) ** 2).sum() / max(float((rows**2).sum(1).mean()), 1e-12))


def _seats(
    checkpoint: Checkpoint, census: Census, attention: Blocks, mlp: Blocks, transposed: bool
) -> tuple[tuple[Sequence[int | None], Sequence[int | None]], Finding]:
    """The layer of each attention and of each MLP: MLPs by likeness, attentions beside them, the first where least is
    written. None throughout where likeness does not carry that far."""
    nowhere: list[int | None] = [None] * census.layers
    if min(attention.clear, mlp.clear) < CLEAR_ENOUGH or attention.linked < CLEAR_ENOUGH:
        told = "which attention and which MLP make one layer could not be told"
        return (nowhere, nowhere), Finding("unknown", "weak", told)
    reader = Reader(checkpoint, slice(0, min(census.width, STREAM)), transposed)
    moments = {role: _moments(reader, mlp, role) for role in mlp.blocks[0]}
    moments |= {role: _moments(reader, attention, role) for role in attention.blocks[0]}
    alike = _summed(moments, [(role, role) for role in mlp.blocks[0]])
    order = arrange(alike)
    reads = [role for role in (Role.GATE, Role.GATE_UP, Role.UP) if role in mlp.blocks[0]][:1]
    asks = [role for role in (Role.QUERY, Role.KEY, Role.QUERY_KEY_VALUE) if role in attention.blocks[0]]
    pairs = [(Role.ATTENTION_OUTPUT, Role.DOWN), *((one, other) for one in asks for other in reads)]
    cross = _summed(moments, pairs)[:, order]
    alike_attention = _summed(moments, [(role, role) for role in attention.blocks[0]])
    seat = place_beside(cross, alike_attention, best_assignment(cross))
    growth = _growth(reader, attention, seat)
    if growth < 0:
        seat, order = census.layers - 1 - seat, order[::-1]
    found = _order_finding(alike, order, abs(growth))
    if found.confidence != "strong":
        return (nowhere, nowhere), found
    return ([int(at) for at in seat], [int(at) for at in np.argsort(order)]), found


def _moments(reader: Reader, blocks: Blocks, role: Role) -> NDArray[np.float32]:
    names = [block[role] for block in blocks.blocks]
    writes = role not in READERS
    rows = reader.checkpoint.tensors[names[0]].shape
    total = rows[1] if writes != reader.transposed else rows[0]
    units = unit_sample(total, UNITS)
    return np.stack([second_moments(reader.stack([name], writes=writes, units=units)[0]) for name in names])


def _summed(moments: Mapping[Role, NDArray[np.float32]], pairs: list[tuple[Role, Role]]) -> Matrix:
    return np.asarray(sum(likeness(moments[one], moments[other]) for one, other in pairs))


def _growth(reader: Reader, attention: Blocks, seat: NDArray[np.int64]) -> float:
    """Rank correlation of a layer's place with the length of what its attention writes: the stream grows on its way
    through layers that normalise their input, and what is added to it with it."""
    names = [block[Role.ATTENTION_OUTPUT] for block in attention.blocks]
    length = [float(np.linalg.norm(reader.units([name], writes=True))) for name in names]
    if len(names) < 3:
        return 0.0
    return float(np.corrcoef(np.argsort(np.argsort(length)), seat)[0, 1])


def _order_finding(alike: Matrix, order: NDArray[np.int64], growth: float) -> Finding:
    """Neighbours must be more alike than those two apart, everywhere, for the order to be called strong."""
    sorted_alike = alike[np.ix_(order, order)]
    near, next_but_one = np.diag(sorted_alike, 1), np.diag(sorted_alike, 2)
    pairs = np.concatenate([near[:-1] - next_but_one, near[1:] - next_but_one])
    share = float((pairs > 0).mean()) if len(pairs) else 0.0
    told = f"neighbours are more alike than layers two apart in {share:.0%} of {len(pairs)} comparisons"
    if share < 0.9 or len(order) < LAYERS_TO_ORDER or growth < 0.7:
        return Finding("unknown", "weak", f"{told}, and the rank of what attention writes goes with it by {growth:.2f}")
    way = f"the first is where attention writes least (rank correlation {growth:.2f}), which is a habit and no law"
    return Finding("found", "strong", f"{told}; {way}")
