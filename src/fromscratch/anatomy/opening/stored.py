"""Tensors as they lie in a file: how many bytes a kind of number takes, and what numbers they are."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.ggml_blocks import BLOCK_FORMS, FOUR_BIT_FLOATS, decode_blocks
from fromscratch.anatomy.opening.headers import DAMAGED, shown
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.anatomy.tensors import Array, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["decode_numbers", "number_bytes", "stored_bytes", "stored_tensor"]

AS_THEY_ARE = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"}
AS_THEY_ARE |= {"U64": "<u8", "I64": "<i8", "C64": "<c8"}
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
# Exponent bits, mantissa bits, bias, and what codes are no numbers: the highest exponent (infinity and NaN), all ones
# (NaN), or minus zero (NaN). The first two are of the OCP 8-bit Floating Point Specification (2023), FNUZ of ONNX.
EIGHT_BIT_FLOATS = {
    "F8_E4M3": (4, 3, 7, "all ones"),
    "F8_E5M2": (5, 2, 15, "highest exponent"),
    "F8_E4M3FNUZ": (4, 3, 8, "minus zero"),
    "F8_E5M2FNUZ": (5, 2, 16, "minus zero"),
}
UNREAD = {"F6_E2M3": (4, 3), "F6_E3M2": (4, 3)}

BLOCKS = {kind: (1, np.dtype(form).itemsize) for kind, form in (AS_THEY_ARE | FLOATS).items()}
BLOCKS |= {"BF16": (1, 2), "F4": (2, 1), "F8_E8M0": (1, 1), **dict.fromkeys(EIGHT_BIT_FLOATS, (1, 1)), **UNREAD}
BLOCKS |= {kind: (form.values, form.nbytes) for kind, form in BLOCK_FORMS.items()}
"""Values and bytes of the smallest stretch that can be read by itself."""


def number_bytes(kind: str, place: str, name: str) -> tuple[int, int]:
    """(values, bytes) of a block of this kind; one value unless they are packed. FromScratchError if it is unknown."""
    if kind not in BLOCKS:
        raise FromScratchError(
            f"{place}: tensor `{shown(name)}` is stored as `{shown(kind)}`, which is not known",
            f"known are {', '.join(BLOCKS)}",
        )
    return BLOCKS[kind]


def stored_bytes(shape: tuple[int, ...], kind: str, place: str, name: str) -> int:
    """Bytes of a tensor. Raises FromScratchError for an unknown kind and for values that fill no whole blocks."""
    values, nbytes = number_bytes(kind, place, name)
    count = math.prod(shape)
    if count % values:
        raise FromScratchError(
            f"{place}: tensor `{shown(name)}` {list(shape)} fills no whole blocks of {kind}", DAMAGED
        )
    return count // values * nbytes


def stored_tensor(
    name: str, shape: tuple[int, ...], kind: str, file: str, offset: int, source: ByteSource
) -> StoredTensor:
    """A tensor that lies in one piece and in row-major order from byte ``offset`` of ``source``."""
    nbytes = stored_bytes(shape, kind, source.place, name)
    row_values = math.prod(shape[1:])

    def read_raw(first: int, count: int) -> bytes:
        if first < 0 or count < 0 or first + count > nbytes:
            raise IndexError(f"bytes {first} to {first + count} of tensor {name}, which has {nbytes}")
        return source.read(offset + first, count)

    def read_rows(first: int, end: int) -> Array:
        first, end, _ = slice(first, end).indices(shape[0] if shape else 1)
        end = max(first, end)
        return _values(read_raw, kind, first * row_values, end * row_values).reshape(end - first, *shape[1:])

    return StoredTensor(name, shape, kind, file, offset, nbytes, read_raw, read_rows)


def _values(read_raw: Callable[[int, int], bytes], kind: str, first: int, end: int) -> Array:
    """Values ``first`` to ``end`` of a tensor, which may begin within a block."""
    values, nbytes = BLOCKS[kind]
    begin, stop = first // values, -(-end // values)
    numbers = decode_numbers(read_raw(begin * nbytes, (stop - begin) * nbytes), kind)
    return numbers[first - begin * values :][: end - first]


def decode_numbers(content: bytes, kind: str) -> Array:
    """The numbers in these bytes: floating kinds as float32, integers and complex numbers as they are.

    Raises FromScratchError for a kind that is known by its size alone.
    """
    if kind in AS_THEY_ARE:
        return np.frombuffer(content, AS_THEY_ARE[kind])
    if kind in FLOATS:
        with np.errstate(over="ignore"):  # of float64, the largest become infinite
            return np.frombuffer(content, FLOATS[kind]).astype(np.float32, copy=False)
    if kind == "BF16":
        widened = np.frombuffer(content, "<u2").astype(np.uint32)
        widened <<= 16
        return widened.view(np.float32)
    if kind == "F4":  # the lower half of a byte is the first number
        packed = np.frombuffer(content, np.uint8)
        return FOUR_BIT_FLOATS[np.stack((packed & 15, packed >> 4), axis=1).reshape(-1)] / np.float32(2)
    if kind in UNREAD:
        raise FromScratchError(f"numbers stored as {kind} cannot be read", "use a file in another precision")
    if kind in BLOCK_FORMS:
        return decode_blocks(content, kind)
    return _eight_bit_floats(kind)[np.frombuffer(content, np.uint8)]


@cache
def _eight_bit_floats(kind: str) -> NDArray[np.float32]:
    """The number that each of the 256 bytes stands for."""
    code = np.arange(256)
    if kind == "F8_E8M0":  # a power of two, of the OCP Microscaling Formats Specification (2023)
        return np.append(2.0 ** (code[:255] - 127), np.nan).astype(np.float32)
    exponent_bits, mantissa_bits, bias, no_number = EIGHT_BIT_FLOATS[kind]
    mantissa = code & ((1 << mantissa_bits) - 1)
    exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1)
    fraction = (exponent > 0) + mantissa / (1 << mantissa_bits)
    value: NDArray[np.float64] = fraction * 2.0 ** (np.maximum(exponent, 1) - bias) * np.where(code & 0x80, -1.0, 1.0)
    if no_number == "highest exponent":
        special = np.where(mantissa == 0, np.copysign(np.inf, value), np.nan)
        value = np.where(exponent == exponent.max(), special, value)
    else:
        value[[0x80] if no_number == "minus zero" else [0x7F, 0xFF]] = np.nan
    return value.astype(np.float32)
