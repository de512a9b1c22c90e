"""Matrices gathered into the attention and the MLP of one layer each, by shape and by who works with whom.

U unit · D number of the stream that is looked at
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.structure.census import Census
from fromscratch.anatomy.structure.heads import WIDTHS, group_rows
from fromscratch.anatomy.structure.pairing import Bond, Pairs, bonds, pair_up
from fromscratch.anatomy.structure.roles import FusedOrder, Role
from fromscratch.anatomy.structure.units import directions, read_units, unit_sample
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["Blocks", "Reader", "attention_blocks", "is_transposed", "mlp_blocks"]

UNITS = 256
CLEAR_OF_FOUR = 0.9  # where four matrices have one form, a pair that is not clear may be of two other roles
LENGTHS_APART = 0.25  # SmolLM2-135M has 0.93; short training at a high rate, where gates follow ups, 0 to 0.4
Directions = NDArray[np.float32]


@dataclass(frozen=True)
class Blocks:
    """Blocks of one kind, each with the names of its tensors by role."""

    blocks: tuple[Mapping[Role, str], ...]
    clear: float
    """Share of the pairs within blocks that are stronger than any other; 0 where weights show nothing."""
    evidence: str
    order: FusedOrder = "stacked"
    interchangeable: tuple[Role, ...] = ()
    """Roles within a block that nothing told apart."""
    linked: float = 1.0
    """Of attention: share of blocks whose queries and keys clearly belong with their values and output."""


class Reader:
    """Units of matrices as pairing needs them: the same sample of the stream for every matrix."""

    def __init__(self, checkpoint: Checkpoint, sample: slice, transposed: bool) -> None:
        self.checkpoint, self.sample, self.transposed = checkpoint, sample, transposed

    def stack(self, names: Sequence[str], *, writes: bool, units: NDArray[np.int64] | None = None) -> Directions:
        """[matrices, U, D] of what they read, or write where they write."""
        return directions(self.units(names, writes=writes, units=units))

    def units(self, names: Sequence[str], *, writes: bool, units: NDArray[np.int64] | None = None) -> Directions:
        """The same with their lengths."""
        turned = writes != self.transposed
        tensors = (self.checkpoint.tensors[name] for name in names)
        return np.stack([read_units(each, writes=turned, sample=self.sample, units=units) for each in tensors])


def is_transposed(checkpoint: Checkpoint, census: Census) -> bool | None:
    """Whether matrices are stored (in, out), by the counts of each form; None where they are as many."""
    for side, per_layer_reads in _reading_sides(census).items():
        forms = [checkpoint.tensors[name].shape for name in census.matrices[side]]
        if side == census.width:
            continue
        rows = sum(shape[0] == side for shape in forms)
        if rows != len(forms) - rows:
            return (rows > len(forms) - rows) != per_layer_reads
    return None


def _reading_sides(census: Census) -> dict[int, bool]:
    """Sides of which a layer has more matrices that read the stream than that write to it."""
    sides = {}
    if census.attention == "fused":
        sides[census.query_width + 2 * census.kv_width] = True
    elif census.kv_width != census.query_width:
        sides[census.kv_width] = True
    else:
        sides[census.query_width] = True
    if census.mlp == "gated":
        sides[census.mlp_width] = True
    elif census.mlp == "fused":
        sides |= {2 * census.mlp_width: True, census.mlp_width: False}
    return sides


def _split(checkpoint: Checkpoint, names: Sequence[str], side: int, transposed: bool) -> tuple[list[str], list[str]]:
    """Those that read the stream and those that write to it, by their form."""
    reads = [name for name in names if (checkpoint.tensors[name].shape[0] == side) != transposed]
    return reads, [name for name in names if name not in set(reads)]


def _clear(*pairs: Pairs) -> float:
    return float(np.concatenate([each.clear for each in pairs]).mean())


def mlp_blocks(reader: Reader, census: Census) -> Blocks:
    """Gates, ups and downs of each MLP. Of the two that read, up is the one whose units are as long as those of down:
    scaling one and dividing the other changes nothing, and weight decay evens them out."""
    size, units = census.mlp_width, unit_sample(census.mlp_width, UNITS)
    reads, writes = _split(reader.checkpoint, census.matrices[size], size, reader.transposed)
    if census.mlp == "fused":
        return _fused_mlp(reader, census, writes)
    if size == census.width or len(reads) != len(writes) * (2 if census.mlp == "gated" else 1):
        return Blocks((), 0, "the forms of the MLP's matrices do not add up")
    reading, writing = reader.units(reads, writes=False, units=units), reader.units(writes, writes=True, units=units)
    bond = bonds(directions(reading), directions(writing))
    if census.mlp == "plain":
        pairs = pair_up(bond)
        blocks = [{Role.UP: reads[i], Role.DOWN: writes[j]} for i, j in enumerate(pairs.partner)]
        return Blocks(tuple(blocks), _clear(pairs), _told("up with down", pairs))
    pairs = pair_up(np.concatenate([bond, bond], 1))
    pairs = Pairs(pairs.partner % len(writes), pairs.strength, _rival_of_two(bond, pairs.partner % len(writes)))
    alike = _length_likeness(reading, writing)
    gates_and_ups = [sorted(np.flatnonzero(pairs.partner == j), key=lambda i: alike[i, j]) for j in range(len(writes))]
    blocks = [
        {Role.GATE: reads[gate], Role.UP: reads[up], Role.DOWN: writes[j]} for j, (gate, up) in enumerate(gates_and_ups)
    ]
    lengths = [np.median([alike[pair[which], j] for j, pair in enumerate(gates_and_ups)]) for which in (1, 0)]
    told = (
        f"{_told('both with down', pairs)}; up for the lengths of its units, which go with down's by {lengths[0]:.2f}"
    )
    same = () if lengths[0] - lengths[1] > LENGTHS_APART else (Role.GATE, Role.UP)
    told += f", the gate's by {lengths[1]:.2f}"
    return Blocks(tuple(blocks), _clear(pairs), told, interchangeable=same)


def _rival_of_two(bond: Bond, partner: NDArray[np.int64]) -> NDArray[np.float64]:
    """The strongest bond outside the pair, where two rows share a column."""
    rival = np.empty(len(partner))
    for i, j in enumerate(partner):
        rival[i] = max(np.delete(bond[i], j).max(initial=0), bond[partner != j, j].max(initial=0))
    return rival


def _length_likeness(one_nUD: Directions, other_mUD: Directions) -> NDArray[np.float64]:
    """Correlations [n, m] of the logarithms of units' lengths."""

    def standard(x_nUD: Directions) -> NDArray[np.float64]:
        x_nU = np.log(np.linalg.norm(x_nUD, axis=2) + 1e-9).astype(np.float64)
        x_nU -= x_nU.mean(1, keepdims=True)
        return np.asarray(x_nU / (np.linalg.norm(x_nU, axis=1, keepdims=True) + 1e-12))

    return np.asarray(standard(one_nUD) @ standard(other_mUD).T)


def _fused_mlp(reader: Reader, census: Census, writes: list[str]) -> Blocks:
    """Gate above up, as every project that fuses them has it."""
    size, units = census.mlp_width, unit_sample(census.mlp_width, UNITS)
    reads, _ = _split(reader.checkpoint, census.matrices[2 * size], 2 * size, reader.transposed)
    if len(reads) != len(writes):
        return Blocks((), 0, "the forms of the MLP's matrices do not add up")
    down = reader.stack(writes, writes=True, units=units)
    bond = bonds(reader.stack(reads, writes=False, units=size + units), down)
    bond = np.maximum(bond, bonds(reader.stack(reads, writes=False, units=units), down))
    pairs = pair_up(bond)
    blocks = [{Role.GATE_UP: reads[i], Role.DOWN: writes[j]} for i, j in enumerate(pairs.partner)]
    return Blocks(tuple(blocks), _clear(pairs), _told("gate and up with down", pairs))


def _told(what: str, pairs: Pairs) -> str:
    return (
        f"{what}: alignment {np.median(pairs.strength):.1f} within a layer where chance is 1, "
        f"{np.median(pairs.rival):.1f} for the next best; {pairs.clear.sum()} of {len(pairs.clear)} clear"
    )


def attention_blocks(reader: Reader, census: Census) -> Blocks:
    """Queries, keys, values and outputs of each attention."""
    if census.attention == "fused":
        return _fused_attention(reader, census)
    if census.query_width == census.kv_width:
        return _even_attention(reader, census)
    query_side, kv_names = census.matrices[census.query_width], census.matrices[census.kv_width]
    kv_names = tuple(_split(reader.checkpoint, kv_names, census.kv_width, reader.transposed)[0])
    reads = writes = list(query_side)
    if census.query_width != census.width:
        reads, writes = _split(reader.checkpoint, query_side, census.query_width, reader.transposed)
    units = unit_sample(census.query_width, UNITS)
    one, other = reader.stack(reads, writes=False, units=units), reader.stack(writes, writes=True, units=units)
    kv = reader.stack(kv_names, writes=False)
    bond_of = {}
    for width in _possible_widths(census):
        rows = kv[:, group_rows(census.query_width, census.kv_width, width)[units]]
        bond_of[width] = bonds(rows, one), bonds(rows, other)
    with_reads, with_writes = max(bond_of.values(), key=lambda both: float(np.maximum(*both).max(1).mean()))
    if reads is writes:
        pairs = pair_up(np.maximum(with_reads, with_writes))
        is_key = with_reads[np.arange(len(kv)), pairs.partner] > with_writes[np.arange(len(kv)), pairs.partner]
        side = reads
    else:
        pairs = pair_up(np.concatenate([with_reads, with_writes], 1))
        is_key, side = pairs.partner < len(reads), [*reads, *writes]
    if is_key.sum() * 2 != len(kv):
        return Blocks((), 0, "as many matrices would be keys as are not values")
    keys = [(side[pairs.partner[i]], kv_names[i]) for i in np.flatnonzero(is_key)]
    values = [(kv_names[i], side[pairs.partner[i]]) for i in np.flatnonzero(~is_key)]
    return _joined(reader, keys, values, pairs, census)


def _possible_widths(census: Census) -> list[int]:
    """Head widths to pair by: the usual ones, for a wrong one makes pairs fainter and not other ones."""
    usual = [width for width in (32, 64, 128) if census.kv_width % width == 0]
    return usual or [width for width in WIDTHS if census.kv_width % width == 0] or [census.kv_width]


def _joined(
    reader: Reader, keys: list[tuple[str, str]], values: list[tuple[str, str]], pairs: Pairs, census: Census
) -> Blocks:
    """Queries with keys and values with outputs, put together by layer: queries read what outputs of their layer write,
    unit by unit, and keys what values read; where all are of one size, each of the first is held to both others."""
    query, key = ([pair[i] for pair in keys] for i in (0, 1))
    value, output = ([pair[i] for pair in values] for i in (0, 1))
    outer, inner = unit_sample(census.query_width, UNITS), unit_sample(census.kv_width, UNITS)
    one, two = reader.stack(query, writes=False, units=outer), reader.stack(key, writes=False, units=inner)
    three, four = reader.stack(value, writes=False, units=inner), reader.stack(output, writes=True, units=outer)
    bond = bonds(one, four) * bonds(two, three)
    if census.query_width == census.kv_width:
        bond = bond * bonds(one, three) * bonds(two, four)
    together = pair_up(bond)
    blocks = [
        {Role.QUERY: query[i], Role.KEY: key[i], Role.VALUE: value[j], Role.ATTENTION_OUTPUT: output[j]}
        for i, j in enumerate(together.partner)
    ]
    told = f"{_told('keys with queries, values with outputs', pairs)}; {_told('these with those', together)}"
    return Blocks(tuple(blocks), _clear(pairs), told, linked=_clear(together))


def _even_attention(reader: Reader, census: Census) -> Blocks:
    """Multi-head attention: queries and keys meet row by row, values and outputs row by column; which of queries and
    keys is which, no direction tells."""
    names, size = list(census.matrices[census.query_width]), census.query_width
    units = unit_sample(size, UNITS)
    reads = writes = names
    if size != census.width:
        reads, writes = _split(reader.checkpoint, names, size, reader.transposed)
    ends = [*reads, *writes]
    end_eUD = np.concatenate(
        [reader.stack(reads, writes=False, units=units), reader.stack(writes, writes=True, units=units)]
    )
    owner = np.array([names.index(name) for name in ends])
    bond = np.where(owner[:, None] == owner[None], 0, bonds(end_eUD, end_eUD))
    keys: list[tuple[str, str]] = []
    values: list[tuple[str, str]] = []
    free, strengths, rivals = set(names), [], []
    for e, f in zip(*np.unravel_index(np.argsort(-bond, axis=None), bond.shape), strict=True):
        if e >= len(reads) or (f < len(reads) and e > f):
            continue  # one reads at least, and two that read are looked at once
        kind, pair = keys if f < len(reads) else values, (ends[e], ends[f])
        if free.issuperset(pair) and len(kind) < census.layers:
            kind.append(pair)
            free -= {*pair}
            strengths.append(bond[e, f])
            rivals.append(max(np.delete(bond[e], f).max(), np.delete(bond[f], e).max()))
    if len(keys) != census.layers or len(values) != census.layers:
        return Blocks((), 0, "queries, keys, values and outputs do not pair up")
    pairs = Pairs(np.arange(len(strengths)), np.array(strengths), np.array(rivals))
    found = _joined(reader, keys, values, pairs, census)
    sure = found.clear if found.clear >= CLEAR_OF_FOUR else 0.0
    return replace(found, clear=sure, interchangeable=(Role.QUERY, Role.KEY))


def _fused_attention(reader: Reader, census: Census) -> Blocks:
    """The rows of the values are those that meet the output's columns: stacked, or key/value head by head."""
    query, kv = census.query_width, census.kv_width
    fused, _ = _split(reader.checkpoint, census.matrices[query + 2 * kv], query + 2 * kv, reader.transposed)
    output = list(census.matrices[query])
    if query != census.width:
        _, output = _split(reader.checkpoint, output, query, reader.transposed)
    units = unit_sample(query, UNITS)
    written = reader.stack(output, writes=True, units=units)
    found: dict[FusedOrder, Bond] = {}
    for order in ("stacked", "grouped"):
        for width in _possible_widths(census):
            group = group_rows(query, kv, width)[units]
            start = query + kv + group
            if order == "grouped":
                start = (group // width * (query // kv + 2) + query // kv + 1) * width + group % width
            bond = bonds(written, reader.stack(fused, writes=False, units=start))
            if order not in found or bond.max(1).mean() > found[order].max(1).mean():
                found[order] = bond
    order = max(found, key=lambda each: float(found[each].max(1).mean()))
    pairs = pair_up(found[order].T)
    blocks = [{Role.QUERY_KEY_VALUE: fused[i], Role.ATTENTION_OUTPUT: output[j]} for i, j in enumerate(pairs.partner)]
    return Blocks(tuple(blocks), _clear(pairs), _told(f"values, {order}, with outputs", pairs), order)
