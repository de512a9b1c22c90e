"""PyTorch's distributed checkpoints: a pickle that says where the chunks of each tensor lie, and files full of them.

Written by ``torch.distributed.checkpoint``: `.metadata` is a pickled ``Metadata``, and each chunk an archive of its own
at an offset of a `.distcp` file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fromscratch.anatomy.opening.headers import DAMAGED, HEADER_BYTES_AT_MOST, check_shape, check_spans, is_count, shown
from fromscratch.anatomy.opening.pickle_data import Made, Name, Table, read_pickle
from fromscratch.anatomy.opening.pytorch_archive import DTYPES, read_archive
from fromscratch.anatomy.opening.sources import ByteSource, Folder, window
from fromscratch.anatomy.opening.stored import decode_numbers, number_bytes, stored_bytes
from fromscratch.anatomy.opening.trainer_state import KeyPath
from fromscratch.anatomy.tensors import Array, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["DCP_METADATA", "read_dcp"]

DCP_METADATA = ".metadata"


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor, and where its archive lies."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    first: int
    nbytes: int


def read_dcp(folder: Folder) -> dict[KeyPath, StoredTensor]:
    """Its tensors by the keys that lead to them. Only `.metadata` is read, and as data.

    Raises FromScratchError where the chunks of a tensor do not fill it, or do not lie in their files.
    """
    source = folder.open(DCP_METADATA)
    if source.nbytes > HEADER_BYTES_AT_MOST:
        raise FromScratchError(f"{source.place}: has {source.nbytes:,} bytes", f"{HEADER_BYTES_AT_MOST:,} are read")
    value, _ = read_pickle(source.read(0, source.nbytes), source.place)
    tensors, places, keys = (
        _pairs(_field(value, name), source.place) for name in ("state_dict_metadata", "storage_data", "planner_data")
    )
    stored = _stored_chunks(places, source.place)
    keys_of = {name: path for name, path in keys if isinstance(name, str)}
    files = _Files(folder, [span for spans in stored.values() for span in spans.values()])
    found: dict[KeyPath, StoredTensor] = {}
    for name, about in tensors:
        if isinstance(name, str) and isinstance(about, Made) and about.maker.name == "TensorStorageMetadata":
            path = _key_path(keys_of.get(name), name)
            if path in found:
                raise FromScratchError(f"{source.place}: tensor `{shown(name)}` stands there twice", DAMAGED)
            found[path] = _tensor(name, about, stored.get(name, {}), files, source.place)
    return found


def _field(value: Any, name: str) -> Any:
    """An attribute of a pickled dataclass; None without."""
    return value.state.get(name) if isinstance(value, Made) and isinstance(value.state, Table) else None


def _pairs(value: Any, place: str) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    if not isinstance(value, Table):
        raise FromScratchError(f"{place}: is no metadata of a distributed checkpoint", DAMAGED)
    return value.pairs


def _key_path(keys: Any, name: str) -> KeyPath:
    sound = isinstance(keys, tuple) and keys and all(isinstance(each, str) or is_count(each) for each in keys)
    return tuple(map(str, keys)) if sound else (name,)


def _numbers(value: Any, place: str, name: str) -> tuple[int, ...]:
    """A `torch.Size`, or a plain tuple."""
    return check_shape(value.arguments[0] if isinstance(value, Made) and value.arguments else value, place, name)


def _stored_chunks(
    places: Sequence[tuple[Any, Any]], place: str
) -> dict[str, dict[tuple[int, ...], tuple[str, int, int]]]:
    """File, first byte and length of each chunk, by the tensor's name and the chunk's offsets."""
    stored: dict[str, dict[tuple[int, ...], tuple[str, int, int]]] = {}
    for index, about in places:
        name, offsets = _field(index, "fqn"), _field(index, "offset")
        span = (_field(about, "relative_path"), _field(about, "offset"), _field(about, "length"))
        if not isinstance(name, str) or not isinstance(span[0], str) or not all(map(is_count, span[1:])):
            raise FromScratchError(f"{place}: a chunk has no place", DAMAGED)
        if offsets is not None:  # without: an object that is no tensor
            stored.setdefault(name, {})[_numbers(offsets, place, name)] = span
    return stored


class _Files:
    """The chunk files of a folder, each opened once, and known to hold the chunks that they should."""

    def __init__(self, folder: Folder, spans: Sequence[tuple[str, int, int]]) -> None:
        self.sources: dict[str, ByteSource] = {}
        within: dict[str, list[tuple[int, int, str]]] = {}
        for file, first, count in spans:
            within.setdefault(file, []).append((first, first + count, f"the chunk at {first:,}"))
        for file, each in within.items():
            self.sources[file] = folder.open(file)
            check_spans(each, 0, self.sources[file].nbytes, self.sources[file].place)

    def open_chunk(self, chunk: Chunk, kind: str) -> StoredTensor:
        source = self.sources[chunk.file]
        place = f"{source.place}, the chunk at {chunk.first:,}"
        tensors, _ = read_archive(window(source, chunk.first, chunk.nbytes, place), chunk.file)
        found = tensors.get(())
        if found is None or found.shape != chunk.sizes or found.kind != kind:
            raise FromScratchError(f"{place}: is no {kind} tensor {list(chunk.sizes)}", DAMAGED)
        return found


def _tensor(
    name: str, about: Made, stored: Mapping[tuple[int, ...], tuple[str, int, int]], files: _Files, place: str
) -> StoredTensor:
    shape = _numbers(_field(about, "size"), place, name)
    properties = _field(about, "properties")
    state = properties.state if isinstance(properties, Made) else None
    dtype = state[0] if isinstance(state, tuple) and state else _field(properties, "dtype")
    kind = DTYPES.get(dtype.name, f"torch.{dtype.name}") if isinstance(dtype, Name) else "nothing known"
    nbytes = stored_bytes(shape, kind, place, name)
    width = number_bytes(kind, place, name)[1]
    chunks = _chunks(name, _field(about, "chunks"), stored, place)
    if nbytes:
        chunks = [each for each in chunks if math.prod(each.sizes)]  # a process with nothing of a tensor lists that too
    if not _fill(shape, chunks) or any(math.prod(each.sizes) * width > each.nbytes for each in chunks):
        raise FromScratchError(f"{place}: the chunks of tensor `{shown(name)}` {list(shape)} do not fill it", DAMAGED)
    open_chunk = cache(lambda number: files.open_chunk(chunks[number], kind))

    def gather(begin: int, end: int) -> bytes:
        """Rows as they are stored, each chunk's part at its place."""
        rows = np.empty((end - begin, *shape[1:]), f"u{width}")
        for number, chunk in enumerate(chunks):
            low, high = max(begin, chunk.offsets[0]), min(end, chunk.offsets[0] + chunk.sizes[0])
            row_bytes = math.prod(chunk.sizes[1:]) * width
            if low < high and row_bytes:
                raw = open_chunk(number).read_raw((low - chunk.offsets[0]) * row_bytes, (high - low) * row_bytes)
                box = [
                    slice(first, first + size) for first, size in zip(chunk.offsets[1:], chunk.sizes[1:], strict=True)
                ]
                part = np.frombuffer(raw, f"u{width}").reshape(high - low, *chunk.sizes[1:])
                rows[(slice(low - begin, high - begin), *box)] = part
        return rows.tobytes()

    def read_raw(first: int, count: int) -> bytes:
        if first < 0 or count < 0 or first + count > nbytes:
            raise IndexError(f"bytes {first} to {first + count} of tensor {name}, which has {nbytes}")
        if not shape or not nbytes:
            return open_chunk(0).read_raw(first, count) if count else b""
        row_bytes = nbytes // shape[0]
        row = first // row_bytes
        return gather(row, -(-(first + count) // row_bytes))[first - row * row_bytes :][:count]

    def read_rows(begin: int, end: int) -> Array:
        if not shape:
            return open_chunk(0).read_rows(0, 1)
        begin, end, _ = slice(begin, end).indices(shape[0])
        end = max(begin, end)
        return decode_numbers(gather(begin, end), kind).reshape(end - begin, *shape[1:])

    first_chunk = min(chunks, key=lambda each: (each.file, each.first), default=Chunk((), (), "", 0, 0))
    return StoredTensor(name, shape, kind, first_chunk.file, first_chunk.first, nbytes, read_raw, read_rows)


def _chunks(name: str, listed: Any, stored: Mapping[tuple[int, ...], tuple[str, int, int]], place: str) -> list[Chunk]:
    chunks = []
    for each in listed if isinstance(listed, list) else ():
        offsets, sizes = (_numbers(_field(each, field), place, name) for field in ("offsets", "sizes"))
        if offsets not in stored:
            raise FromScratchError(f"{place}: the chunk {list(offsets)} of tensor `{shown(name)}` is nowhere", DAMAGED)
        chunks.append(Chunk(offsets, sizes, *stored[offsets]))
    return sorted(chunks, key=lambda each: each.offsets)


def _fill(shape: tuple[int, ...], chunks: Sequence[Chunk]) -> bool:
    """Whether the chunks are the cells of a grid over the tensor, each there once; so PyTorch's shardings cut it."""
    if any(not len(each.offsets) == len(each.sizes) == len(shape) for each in chunks):
        return False
    cells = 1
    for axis, size in enumerate(shape):
        starts = sorted({each.offsets[axis] for each in chunks})
        ends = dict(zip(starts, [*starts[1:], size], strict=False))
        if starts[:1] != [0] or any(
            each.offsets[axis] + each.sizes[axis] != ends[each.offsets[axis]] for each in chunks
        ):
            return False
        cells *= len(starts)
    return len(chunks) == len({each.offsets for each in chunks}) == cells
