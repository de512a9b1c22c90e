"""Tensors that lie over a storage with strides of their own: transposed, cut out, repeated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fromscratch.anatomy.opening.headers import DAMAGED, shown
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.anatomy.opening.stored import decode_numbers, number_bytes, stored_tensor
from fromscratch.anatomy.tensors import Array, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["Strided", "tensor_over_storage"]

REPEATED_VALUES_AT_MOST = 1 << 24
GATHERED_BYTES = 1 << 24


@dataclass(frozen=True)
class Strided:
    """A tensor over a storage; ``offset`` and ``strides`` count numbers of its kind."""

    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def tensor_over_storage(
    name: str, strided: Strided, storage: tuple[int, int], file: str, source: ByteSource
) -> StoredTensor:
    """The tensor over the bytes (first, count) of ``source``. Raises FromScratchError where it reaches outside of them.

    One that is not in row-major order is brought into it as it is read, rows at a time.
    """
    first, length = storage
    shape, strides, count = strided.shape, strided.strides, math.prod(strided.shape)
    width = number_bytes(strided.kind, source.place, name)[1]
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1 if count else 0
    if (strided.offset + reach) * width > length:
        raise FromScratchError(
            f"{source.place}: tensor `{shown(name)}` {list(shape)} reaches out of its storage of {length:,} bytes",
            DAMAGED,
        )
    if count > max(length // width, REPEATED_VALUES_AT_MOST):
        raise FromScratchError(
            f"{source.place}: tensor `{shown(name)}` {list(shape)} repeats a storage of {length:,} bytes",
            "save it again with `.contiguous()`",
        )
    offset = first + strided.offset * width
    in_order = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if not count or all(size == 1 or a == b for size, a, b in zip(shape, strides, in_order, strict=True)):
        return stored_tensor(name, shape, strided.kind, file, offset, source)
    gather = partial(_gather, source, offset, width, shape, strides)
    row_bytes = count // shape[0] * width

    def read_raw(begin: int, size: int) -> bytes:
        if begin < 0 or size < 0 or begin + size > count * width:
            raise IndexError(f"bytes {begin} to {begin + size} of tensor {name}, which has {count * width}")
        row = begin // row_bytes
        return gather(row, -(-(begin + size) // row_bytes))[begin - row * row_bytes :][:size]

    def read_rows(begin: int, end: int) -> Array:
        begin, end, _ = slice(begin, end).indices(shape[0])
        end = max(begin, end)
        return decode_numbers(gather(begin, end), strided.kind).reshape(end - begin, *shape[1:])

    return StoredTensor(name, shape, strided.kind, file, offset, count * width, read_raw, read_rows)


def _gather(
    source: ByteSource, offset: int, width: int, shape: Sequence[int], strides: Sequence[int], begin: int, end: int
) -> bytes:
    """Rows ``begin`` to ``end`` in row-major order.

    The storage is passed over along the axis with the longest stride, some bytes at a time, so that little is in
    memory beside the result; a block of rows of a transposed matrix needs all of its storage read all the same.
    """
    sizes = (end - begin, *shape[1:])
    gathered = np.empty(sizes, f"u{width}")
    if not gathered.size:
        return b""
    outer = max(range(len(sizes)), key=lambda axis: strides[axis] * (sizes[axis] > 1))
    reaches = [(size - 1) * stride for size, stride in zip(sizes, strides, strict=True)]
    inner = sum(reaches) - reaches[outer]
    at_once = max(1, (GATHERED_BYTES // width - inner) // max(1, strides[outer]))
    for step in range(0, sizes[outer], at_once):
        part = min(at_once, sizes[outer] - step)
        first = begin * strides[0] + step * strides[outer]
        numbers = np.frombuffer(
            source.read(offset + first * width, (inner + (part - 1) * strides[outer] + 1) * width), f"u{width}"
        )
        seen = np.lib.stride_tricks.as_strided(
            numbers, (*sizes[:outer], part, *sizes[outer + 1 :]), [each * width for each in strides]
        )
        gathered[(slice(None),) * outer + (slice(step, step + part),)] = seen
    return gathered.tobytes()
