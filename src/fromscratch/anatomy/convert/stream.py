"""The bytes of one output of a plan, a block at a time: byte ranges of a file where nothing changes, else numbers cast.

R rows · C columns, of a tensor seen as a matrix: its first axis, and all others as one
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.convert.plan import WIDTHS, Output, Slice, Values, Zeros, rows_and_columns
from fromscratch.anatomy.ggml_blocks import encode_blocks
from fromscratch.anatomy.tensors import Checkpoint, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["Range", "cast", "stream"]

BLOCK_BYTES = 1 << 24
"""Held at a time, of what is read; a cast holds a few times as much."""

TURNED_BYTES = 1 << 27
"""Held at a time of a matrix that is turned over: so many passes are made over it as it has such parts."""

IN_ONE_STRETCH = ("safetensors", "gguf", "fromscratch")
"""Formats in which a tensor's rows follow each other in its file."""

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Range:
    """Bytes of a file on this machine that are copied as they are."""

    path: Path
    begin: int
    nbytes: int


def stream(output: Output, checkpoint: Checkpoint) -> Iterator[Range | bytes]:
    """The content of one output from first to last byte. Raises FromScratchError for numbers that F16 cannot hold."""
    for piece in output.pieces:
        if isinstance(piece, Slice):
            yield from _slice(piece, output, checkpoint)
        elif isinstance(piece, Zeros):
            yield cast(np.zeros(piece.shape, np.float32), output.kind, output.name)
        else:
            assert isinstance(piece, Values)
            yield cast(np.array(piece.values, np.float32).reshape(-1, 1), output.kind, output.name)


def cast(numbers_RC: Numbers, kind: str, name: str) -> bytes:
    """Float32 as the bytes of ``kind``, rounded to nearest, ties to even; GGML forms as their own rule has it."""
    if kind == "F32":
        return np.ascontiguousarray(numbers_RC, np.float32).tobytes()
    if kind == "BF16":
        bits_RC = np.ascontiguousarray(numbers_RC, np.float32).view(np.uint32)
        rounded_RC = (bits_RC + (0x7FFF + ((bits_RC >> 16) & 1))) >> 16
        quiet_RC = np.where(np.isnan(numbers_RC), (bits_RC >> 16) | 0x40, rounded_RC)
        return quiet_RC.astype("<u2").tobytes()
    if kind == "F16":
        with np.errstate(over="ignore"):
            half_RC = numbers_RC.astype("<f2")
        if np.isinf(half_RC).any() and not np.isinf(numbers_RC).any():
            raise FromScratchError(
                f"tensor `{name}` has the number {np.abs(numbers_RC).max():g}, and F16 ends at 65,504",
                "use --type BF16 or F32",
            )
        return half_RC.tobytes()
    return encode_blocks(np.ascontiguousarray(numbers_RC, np.float32), kind).tobytes()


def _slice(piece: Slice, output: Output, checkpoint: Checkpoint) -> Iterator[Range | bytes]:
    tensor = checkpoint.tensors[piece.input]
    raw = output.kind == tensor.kind
    whole_rows = piece.columns == (0, rows_and_columns(tensor.shape)[1]) and not piece.transposed
    if raw and whole_rows and piece.regroup is None:
        yield from _as_it_lies(piece, tensor, checkpoint)
        return
    for block_RC in _turned(piece, tensor, raw) if piece.transposed else _straight(piece, tensor, raw):
        yield block_RC.tobytes() if raw else cast(block_RC, output.kind, output.name)


def _as_it_lies(piece: Slice, tensor: StoredTensor, checkpoint: Checkpoint) -> Iterator[Range | bytes]:
    row_bytes = tensor.nbytes // rows_and_columns(tensor.shape)[0]
    begin, end = (each * row_bytes for each in piece.rows)
    path = _local_file(tensor, checkpoint)
    if path is not None:
        yield Range(path, tensor.offset + begin, end - begin)
        return
    for first in range(begin, end, BLOCK_BYTES):
        yield tensor.read_raw(first, min(BLOCK_BYTES, end - first))


def _local_file(tensor: StoredTensor, checkpoint: Checkpoint) -> Path | None:
    """The file that holds the tensor's bytes in one stretch, if it lies on this machine."""
    if checkpoint.format not in IN_ONE_STRETCH:
        return None
    place = Path(checkpoint.place)
    for path in (place / tensor.file, place):
        if path.is_file() and path.name == Path(tensor.file).name:
            return path
    return None


def _straight(piece: Slice, tensor: StoredTensor, raw: bool) -> Iterator[Numbers]:
    """Blocks of rows, in the order of the output; with ``raw`` their elements or, of GGML forms, their bytes."""
    columns = rows_and_columns(tensor.shape)[1]
    step = max(1, BLOCK_BYTES // (columns * 4))
    cut = slice(*piece.columns) if not raw or tensor.kind in WIDTHS else slice(None)
    if piece.regroup is None:
        for first in range(piece.rows[0], piece.rows[1], step):
            yield _read(tensor, first, min(first + step, piece.rows[1]), raw)[:, cut]
        return
    groups, b, c = piece.regroup
    together = max(1, step // (b * c))
    for group in range(0, groups, together):
        several = min(together, groups - group)
        first = piece.rows[0] + group * b * c
        block_RC = _read(tensor, first, first + several * b * c, raw)[:, cut]
        yield block_RC.reshape(several, b, c, -1).swapaxes(1, 2).reshape(several * b * c, -1)


def _turned(piece: Slice, tensor: StoredTensor, raw: bool) -> Iterator[Numbers]:
    """Blocks of columns as rows. The matrix is read once for each block, so blocks are large."""
    (top, bottom), (left, right) = piece.rows, piece.columns
    columns = rows_and_columns(tensor.shape)[1]
    width = max(1, TURNED_BYTES // ((bottom - top) * 4))
    if piece.regroup is not None:
        group = piece.regroup[1] * piece.regroup[2]
        width = max(1, width // group) * group
    step = max(1, BLOCK_BYTES // (columns * 4))
    for begin in range(left, right, width):
        end = min(begin + width, right)
        parts = [
            _read(tensor, first, min(first + step, bottom), raw)[:, begin:end].T for first in range(top, bottom, step)
        ]
        block_RC = np.concatenate(parts, 1)
        if piece.regroup is not None:
            _, b, c = piece.regroup
            block_RC = block_RC.reshape(-1, b, c, block_RC.shape[1]).swapaxes(1, 2).reshape(block_RC.shape)
        yield np.ascontiguousarray(block_RC)


def _read(tensor: StoredTensor, first: int, end: int, raw: bool) -> Numbers:
    rows, columns = rows_and_columns(tensor.shape)
    if not raw:
        return tensor.read_rows(first, end).reshape(end - first, columns)
    row_bytes = tensor.nbytes // rows
    content = tensor.read_raw(first * row_bytes, (end - first) * row_bytes)
    word = np.dtype(f"<u{WIDTHS[tensor.kind]}") if tensor.kind in WIDTHS else np.dtype("u1")
    return np.frombuffer(content, word).reshape(end - first, -1)
