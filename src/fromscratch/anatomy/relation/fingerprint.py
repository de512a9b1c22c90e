"""A few megabytes that stand for a checkpoint in comparisons: digests of rows and columns, and a sample of numbers."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.relation.digests import NATIVE, Digest, Digester
from fromscratch.anatomy.relation.sampling import Places, Sample, kept_columns, sample_places
from fromscratch.anatomy.relation.slots import Slot, Source, sources_of
from fromscratch.anatomy.structure.roles import Role, Structure
from fromscratch.anatomy.tensors import Checkpoint, StoredTensor

__all__ = ["Fingerprint", "Heads", "SlotPrint", "fingerprint", "raw_blocks"]

BLOCK_BYTES = 2 << 20
READERS = 2

WORKING_CELLS = 32 << 20  # numbers of all matrices together
CELLS_AT_LEAST, CELLS_AT_MOST = 1 << 14, 1 << 18  # of each matrix
EMBEDDING_CELLS = 1 << 21
TALL_CELLS, TALL_COLUMNS = 200 << 20, 256
TALL = (Role.GATE, Role.UP, Role.QUERY, Role.KEY, Role.VALUE)  # whose rows are what permutations move

RAW: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class SlotPrint:
    """What a fingerprint knows of one slot."""

    tensor: str
    """The tensor that holds it, or holds it among others."""
    kind: str
    """How it is stored: F32, BF16, Q8_0 …"""
    shape: tuple[int, int]
    """(out, in); a vector is one row."""
    transposed: bool
    rows: tuple[int, int] | None
    """First and last row in a fused tensor; None where the slot is the whole tensor."""
    digest: Digest
    sample: Sample
    tall: Sample | None = None
    """Every row, in few columns; where the sample itself has every row, and in files, there is none."""

    @property
    def every_row(self) -> Sample | None:
        """A sample with all rows, or None."""
        return self.tall or (self.sample if len(self.sample.rows) == self.shape[0] else None)


@dataclass(frozen=True)
class Heads:
    """What is needed to take rows of queries and keys by heads."""

    query: int | None
    kv: int | None
    width: int | None


@dataclass(frozen=True)
class Fingerprint:
    """A checkpoint as far as comparisons need it."""

    place: str
    slots: Mapping[Slot, SlotPrint]
    heads: Heads
    layers: int

    @property
    def digest(self) -> str:
        """128 bits of all numbers in their slots; names and file layout do not matter."""
        lines = sorted(f"{slot.role} {slot.layer} {each.digest.whole[NATIVE]}" for slot, each in self.slots.items())
        return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def fingerprint(checkpoint: Checkpoint, structure: Structure) -> Fingerprint:
    """Read every tensor once, in the order of the disk, 2 MB at a time.

    Two tensors are read at a time. Of 34 billion parameters in bfloat16, about 330 MB stay in memory, 58 in a file.
    """
    sources = sources_of(checkpoint, structure)
    by_tensor: dict[str, list[Source]] = {}
    for source in sources:
        by_tensor.setdefault(source.tensor, []).append(source)
    budget = Budget(
        min(CELLS_AT_MOST, max(CELLS_AT_LEAST, WORKING_CELLS // max(1, len(sources)))),
        min(
            TALL_COLUMNS,
            TALL_CELLS // max(1, sum(_rows(checkpoint, each) for each in sources if each.slot.role in TALL)),
        ),
    )
    order = sorted(by_tensor, key=lambda name: (checkpoint.tensors[name].file, checkpoint.tensors[name].offset))
    tensors = {name: _scaled(checkpoint, name) for name in order}
    with ThreadPoolExecutor(READERS) as readers:
        prints = readers.map(lambda name: _prints(tensors[name], by_tensor[name], budget), order)
        slots = {slot: each for found in prints for slot, each in found}
    heads = Heads(structure.query_heads, structure.kv_heads, structure.head_width)
    return Fingerprint(checkpoint.place, slots, heads, structure.layers)


def _scaled(checkpoint: Checkpoint, name: str) -> StoredTensor:
    """Integers times what their rows reach, where that lies beside them as bitsandbytes stores it."""
    tensor, reach = checkpoint.tensors[name], checkpoint.tensors.get(f"{name.removesuffix('.weight')}.SCB")
    if tensor.kind != "I8" or reach is None or reach.shape != tensor.shape[:1]:
        return tensor
    step = (reach.read().astype(np.float32) / 127)[:, None]

    def read_rows(first: int, end: int) -> NDArray[np.generic]:
        return tensor.read_rows(first, end).astype(np.float32) * step[first:end]

    return replace(tensor, read_rows=read_rows)


def raw_blocks(tensor: StoredTensor) -> Iterable[tuple[int, NDArray[np.generic]]]:
    """(first row, rows) of a tensor as a matrix: a vector is one row, experts lie below each other."""
    columns = tensor.shape[-1] if tensor.shape else 1
    first_axis = tensor.shape[0] if len(tensor.shape) > 1 else 1
    per_index = (int(np.prod(tensor.shape[1:-1])) or 1) if len(tensor.shape) > 2 else 1
    kind, rows = RAW.get(tensor.kind), first_axis * per_index
    if kind is not None and tensor.nbytes == rows * columns * kind.itemsize:
        step = max(1, BLOCK_BYTES // (columns * kind.itemsize))
        for first in range(0, rows, step):
            count = min(step, rows - first)
            content = tensor.read_raw(first * columns * kind.itemsize, count * columns * kind.itemsize)
            yield first, np.frombuffer(content, kind).reshape(count, columns)
        return
    if len(tensor.shape) < 2:
        yield 0, tensor.read().astype(np.float32).reshape(1, columns)
        return
    step = max(1, BLOCK_BYTES // (columns * per_index * 4))
    for first in range(0, first_axis, step):
        decoded = tensor.read_rows(first, min(first_axis, first + step))
        yield first * per_index, decoded.astype(np.float32).reshape(-1, columns)


def _rows(checkpoint: Checkpoint, source: Source) -> int:
    shape = checkpoint.tensors[source.tensor].shape
    return len(source.rows) if source.rows is not None else int(shape[-1] if source.transposed else np.prod(shape[:-1]))


@dataclass(frozen=True)
class Budget:
    """How much of each matrix is kept in memory."""

    cells: int
    tall_columns: int


class _Picked:
    """Numbers at chosen places, picked while a matrix passes."""

    def __init__(self, rows: Places, columns: Places) -> None:
        self.places = rows, columns
        self.values: NDArray[np.generic] | None = None

    def take(self, at: int, block: NDArray[np.generic], *, transposed: bool) -> None:
        """Stored rows from ``at`` on."""
        if self.values is None:
            self.values = np.zeros([len(each) for each in self.places], block.dtype)
        along, across = self.places[::-1] if transposed else self.places
        low, high = np.searchsorted(along, (at, at + len(block)))
        if low < high:
            found = block[np.ix_(along[low:high] - at, across)]
            if transposed:
                self.values[:, low:high] = found.T
            else:
                self.values[low:high] = found

    def sample(self) -> Sample:
        """What was picked."""
        assert self.values is not None
        return Sample(*self.places, self.values)


class _Gatherer:
    """Digest and samples of one slot while its tensor passes."""

    def __init__(self, source: Source, stored: tuple[int, int], budget: Budget) -> None:
        self.source = source
        rows, columns = stored[::-1] if source.transposed else stored
        self.rows = source.rows
        self.shape = rows if self.rows is None else len(self.rows), columns
        tokens = source.slot.role in (Role.EMBEDDING, Role.HEAD)
        cells = EMBEDDING_CELLS if tokens else budget.cells
        self.picked = [_Picked(*sample_places(*self.shape, cells, every_column=tokens))]
        if source.slot.role in TALL and len(self.picked[0].places[0]) < self.shape[0]:
            self.picked.append(_Picked(np.arange(self.shape[0]), kept_columns(columns, budget.tall_columns)))
        self.digester = Digester(*self.shape)

    def take(self, first: int, block: NDArray[np.generic]) -> None:
        """A block of rows of the stored tensor."""
        at = first
        if self.source.transposed:
            block = block if self.rows is None else block[:, self.rows]
        elif self.rows is not None:
            inside = (self.rows >= first) & (self.rows < first + len(block))
            if not inside.any():
                return
            block, at = block[self.rows[inside] - first], int(np.flatnonzero(inside)[0])
        self.digester.add(block, at, transposed=self.source.transposed)
        for each in self.picked:
            each.take(at, block, transposed=self.source.transposed)

    def print(self, tensor: StoredTensor) -> SlotPrint:
        rows = None if self.rows is None else (int(self.rows[0]), int(self.rows[-1]))
        samples = [each.sample() for each in self.picked]
        kind, transposed = tensor.kind, self.source.transposed
        return SlotPrint(tensor.name, kind, self.shape, transposed, rows, self.digester.digest(), *samples)


def _prints(tensor: StoredTensor, sources: list[Source], budget: Budget) -> list[tuple[Slot, SlotPrint]]:
    columns = tensor.shape[-1] if tensor.shape else 1
    stored = (int(np.prod(tensor.shape[:-1])) if len(tensor.shape) > 1 else 1, columns)
    if len(tensor.shape) < 2 and sources[0].rows is not None:  # a fused bias: its rows are numbers
        return _bias_prints(tensor, sources, budget)
    gatherers = [_Gatherer(source, stored, budget) for source in sources]
    for first, block in raw_blocks(tensor):
        for gatherer in gatherers:
            gatherer.take(first, block)
    return [(each.source.slot, each.print(tensor)) for each in gatherers]


def _bias_prints(tensor: StoredTensor, sources: list[Source], budget: Budget) -> list[tuple[Slot, SlotPrint]]:
    ((_, whole),) = raw_blocks(tensor)
    found = []
    for source in sources:
        assert source.rows is not None
        gatherer = _Gatherer(Source(source.slot, source.tensor, False, None), (1, len(source.rows)), budget)
        gatherer.take(0, whole[:, source.rows])
        found.append((source.slot, gatherer.print(tensor)))
    return found
