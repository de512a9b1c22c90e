"""Tensors as they lie in a file: how many bytes a kind of number takes, and what numbers they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fromscratch.anatomy.opening.headers import DAMAGED
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.anatomy.tensors import Array, StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["decode_numbers", "stored_bytes", "stored_tensor"]

INTEGERS = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"}
INTEGERS |= {"U64": "<u8", "I64": "<i8", "C64": "<c8"}  # complex numbers too stay as they are
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class SmallFloat:
    """A float of 8 bits or fewer: sign, exponent, mantissa (OCP 8-bit Floating Point Specification, 2023)."""

    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: str
    """`ieee`: the highest exponent is infinity and NaN; `nan`: only all ones is NaN; `unsigned zero`: minus zero is."""


SMALL_FLOATS = {
    "F8_E4M3": SmallFloat(4, 3, 7, "nan"),
    "F8_E5M2": SmallFloat(5, 2, 15, "ieee"),
    "F8_E4M3FNUZ": SmallFloat(4, 3, 8, "unsigned zero"),
    "F8_E5M2FNUZ": SmallFloat(5, 2, 16, "unsigned zero"),
}


def stored_bytes(shape: tuple[int, ...], kind: str, place: str, name: str) -> int:
    """Bytes of a tensor. Raises FromScratchError for an unknown kind and for numbers that fill no whole bytes."""
    if kind not in BITS:
        raise FromScratchError(
            f"{place}: tensor `{name[:200]}` is stored as {kind[:40]!r}, which is not known",
            f"known are {', '.join(BITS)}",
        )
    bits = math.prod(shape) * BITS[kind]
    if bits % 8:
        raise FromScratchError(f"{place}: tensor `{name[:200]}` of {kind} fills no whole bytes", DAMAGED)
    return bits // 8


def stored_tensor(
    name: str, shape: tuple[int, ...], kind: str, file: str, offset: int, source: ByteSource
) -> StoredTensor:
    """A tensor that lies whole and in row-major order from ``offset`` of ``source``."""
    nbytes = stored_bytes(shape, kind, source.place, name)
    row_values = math.prod(shape[1:])

    def read_raw(first: int, count: int) -> bytes:
        if first < 0 or count < 0 or first + count > nbytes:
            raise IndexError(f"bytes {first} to {first + count} of tensor {name}, which has {nbytes}")
        return source.read(offset + first, count)

    def read_rows(first: int, end: int) -> Array:
        rows = shape[0] if shape else 1
        first, end = max(0, min(first, rows)), max(0, min(end, rows))
        end = max(first, end)
        return _values(read_raw, kind, first * row_values, end * row_values).reshape(end - first, *shape[1:])

    return StoredTensor(name, shape, kind, file, offset, nbytes, read_raw, read_rows)


def _values(read_raw: Callable[[int, int], bytes], kind: str, first: int, end: int) -> Array:
    """Numbers ``first`` to ``end`` of a tensor, which may begin within a byte."""
    bits = BITS[kind]
    start, stop = first * bits // 8, -(-end * bits // 8)
    numbers = decode_numbers(read_raw(start, stop - start), kind)
    skipped = first - start * 8 // bits
    return numbers[skipped : skipped + end - first]


def decode_numbers(content: bytes, kind: str) -> Array:
    """The numbers in these bytes: floating kinds as float32, integers and complex numbers as they are."""
    if kind in INTEGERS:
        return np.frombuffer(content, INTEGERS[kind])
    if kind in FLOATS:
        return np.frombuffer(content, FLOATS[kind]).astype(np.float32, copy=False)
    if kind == "BF16":
        widened = np.frombuffer(content, "<u2").astype(np.uint32)
        widened <<= 16
        return widened.view(np.float32)
    return small_floats(kind)[np.frombuffer(content, np.uint8)]


@cache
def small_floats(kind: str) -> NDArray[np.float32]:
    """The number that each of the 256 bytes stands for."""
    code = np.arange(256)
    form = SMALL_FLOATS[kind]
    mantissa = code & ((1 << form.mantissa_bits) - 1)
    exponent = (code >> form.mantissa_bits) & ((1 << form.exponent_bits) - 1)
    fraction = np.where(exponent == 0, 0.0, 1.0) + mantissa / (1 << form.mantissa_bits)
    value = fraction * 2.0 ** (np.maximum(exponent, 1) - form.bias)
    value = np.where(code & 0x80, -value, value)
    if form.specials == "ieee":
        top = exponent == (1 << form.exponent_bits) - 1
        value = np.where(top, np.where(mantissa == 0, np.copysign(np.inf, value), np.nan), value)
    elif form.specials == "nan":
        value = np.where(code & 0x7F == 0x7F, np.nan, value)
    else:
        value = np.where(code == 0x80, np.nan, value)
    return value.astype(np.float32)


BITS = {name: np.dtype(form).itemsize * 8 for name, form in (INTEGERS | FLOATS).items()}
BITS |= {"BF16": 16, **dict.fromkeys(SMALL_FLOATS, 8)}
