"""Roles found without names: by the census of shapes, by who works with whom, by likeness of neighbours.

n layers · D number of the stream that is looked at
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.assignment import best_assignment
from fromscratch.anatomy.structure.blocks import Blocks, Reader, attention_blocks, is_transposed, mlp_blocks
from fromscratch.anatomy.structure.census import Census, take_census
from fromscratch.anatomy.structure.order import Matrix, arrange, likeness, place_beside, second_moments
from fromscratch.anatomy.structure.roles import Finding, Part, Role
from fromscratch.anatomy.structure.sizes import READERS, Sizes
from fromscratch.anatomy.structure.vectors import Vectors, read_vectors
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["BlindRoles", "find_roles"]

STREAM, UNITS = 512, 768  # numbers of the stream and units of each matrix that are looked at
CLEAR_ENOUGH = 0.5  # below this share of clear pairs nothing is said: weights that were never trained show none


@dataclass(frozen=True)
class BlindRoles:
    """Parts by name, and how they were found."""

    parts: Mapping[str, Part]
    sizes: Sizes
    present: frozenset[Role]
    """Roles that some tensors must have, by the counts of vectors, without it being known which."""
    findings: Mapping[str, Finding]
    unknown: tuple[str, ...]


def find_roles(checkpoint: Checkpoint) -> BlindRoles:
    """The role of each tensor from shapes and numbers. What nothing tells stays ``unknown``, or without a layer."""
    parts = {name: Part(name, Role.UNKNOWN, None) for name in checkpoint.tensors}
    census = take_census(checkpoint)
    if census is None:
        nothing = Finding("unknown", "weak", "no decoder has matrices of these shapes so many times")
        return BlindRoles(parts, Sizes(0, 0, 0, 0, 0, 0, ()), frozenset(), {"roles": nothing}, ("what it is",))
    attention, mlp, transposed = _blocks(checkpoint, census)
    vectors = read_vectors(census)
    findings, unknown = {"roles": _roles_finding(census, attention, mlp)}, list(vectors.unknown)
    for name, part in _tables(census, unknown).items():
        parts[name] = part
    if min(attention.clear, mlp.clear) >= CLEAR_ENOUGH:
        placed, findings["order of layers"] = _placed(checkpoint, census, attention, mlp, transposed)
        parts |= placed
        unknown += [f"which are {_words(each.interchangeable)}" for each in (attention, mlp) if each.interchangeable]
    else:
        unknown.append("which matrices of one shape belong together: these weights look untrained")
    sizes = Sizes(
        census.width,
        checkpoint.tensors[census.tables[0]].shape[0],
        census.layers,
        census.mlp_width,
        census.query_width,
        census.kv_width,
        (),
    )
    return BlindRoles(parts, sizes, _present(census, vectors), findings, tuple(unknown))


def _words(roles: tuple[Role, ...]) -> str:
    return " and which ".join(role.value for role in roles)


def _blocks(checkpoint: Checkpoint, census: Census) -> tuple[Blocks, Blocks, bool]:
    """Attentions and MLPs, and whether matrices are stored (in, out); where shapes do not tell, pairs do."""
    turned = is_transposed(checkpoint, census)
    first = max(0, (census.width - STREAM) // 2)
    sample = slice(first, min(census.width, first + STREAM))
    found = []
    for transposed in (False, True) if turned is None else (turned,):
        reader = Reader(checkpoint, sample, transposed)
        found.append((attention_blocks(reader, census), mlp_blocks(reader, census), transposed))
    return max(found, key=lambda each: each[0].clear + each[1].clear)


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


def _tables(census: Census, unknown: list[str]) -> dict[str, Part]:
    """The embedding, and the head if it is another. Rows of a head share a direction, by which all logits are lowered
    together in vain; rows of an embedding share less."""
    parts = {}
    if census.positions is not None:
        parts[census.positions] = Part(census.positions, Role.POSITION_EMBEDDING, None)
    if len(census.tables) == 1:
        return parts | {census.tables[0]: Part(census.tables[0], Role.EMBEDDING, None)}
    unknown.append("which of the two tables over the vocabulary is the embedding and which the head")
    roles = (Role.EMBEDDING, Role.HEAD)
    return parts | {name: Part(name, role, None) for name, role in zip(census.tables, roles, strict=True)}


def _placed(
    checkpoint: Checkpoint, census: Census, attention: Blocks, mlp: Blocks, transposed: bool
) -> tuple[dict[str, Part], Finding]:
    """Every matrix in its layer: MLPs by likeness, attentions beside them, the first where outputs are short."""
    reader = Reader(checkpoint, slice(0, min(census.width, STREAM)), transposed)
    moments = {role: _moments(reader, mlp, role) for role in mlp.blocks[0]}
    moments |= {role: _moments(reader, attention, role) for role in attention.blocks[0]}
    order = arrange(_summed(moments, [(role, role) for role in mlp.blocks[0]]))
    place = {int(block): at for at, block in enumerate(order)}
    reads = [role for role in (Role.GATE, Role.GATE_UP, Role.UP) if role in mlp.blocks[0]][:1]
    asks = [role for role in (Role.QUERY, Role.KEY, Role.QUERY_KEY_VALUE) if role in attention.blocks[0]]
    pairs = [(Role.ATTENTION_OUTPUT, Role.DOWN), *((one, other) for one in asks for other in reads)]
    cross = _summed(moments, pairs)[:, order]
    alike = _summed(moments, [(role, role) for role in attention.blocks[0]])
    seat = place_beside(cross, alike, best_assignment(cross))
    growth = _growth(reader, attention, seat)
    if growth < 0:
        seat, place = census.layers - 1 - seat, {block: census.layers - 1 - at for block, at in place.items()}
    seats = [(attention, block, int(at)) for block, at in enumerate(seat)]
    seats += [(mlp, block, at) for block, at in place.items()]
    parts = {
        name: Part(name, role, at, transposed, blocks.order if role == Role.QUERY_KEY_VALUE else "stacked")
        for blocks, block, at in seats
        for role, name in blocks.blocks[block].items()
    }
    return parts, _order_finding(_summed(moments, [(role, role) for role in mlp.blocks[0]]), order, growth)


def _moments(reader: Reader, blocks: Blocks, role: Role) -> NDArray[np.float32]:
    names = [block[role] for block in blocks.blocks]
    writes = role not in READERS
    rows = reader.checkpoint.tensors[names[0]].shape
    total = rows[1] if writes != reader.transposed else rows[0]
    units = np.linspace(0, total - 1, min(total, UNITS)).astype(np.int64)
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
    sure = "strong" if share > 0.9 and len(order) > 5 else "weak"
    told = f"neighbours are more alike than layers two apart in {share:.0%} of {len(pairs)} comparisons"
    way = f"the first is where attention writes least (rank correlation {abs(growth):.2f}), which is a habit and no law"
    return Finding(f"{len(order)} layers", sure, f"{told}; {way}")  # type: ignore[arg-type]
