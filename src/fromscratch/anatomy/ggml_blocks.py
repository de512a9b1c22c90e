"""The block forms of GGML: a few numbers share a scale, to the bit as its reference code writes and reads them.

Layouts and arithmetic follow ``ggml-common.h`` and the ``quantize_row_*_ref`` and ``dequantize_row_*`` functions of
``ggml-quants.c`` (github.com/ggml-org/ggml): float32 throughout, in their order of operations.
"""

# N block · H half of a block · J group of values · L value within a group · V value within a block

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError

__all__ = ["BLOCK_FORMS", "ENCODED_KINDS", "FOUR_BIT_FLOATS", "BlockForm", "decode_blocks", "encode_blocks"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Blocks = NDArray[np.void]

LARGEST_HALF = 65504.0
BLOCKS_AT_ONCE = 1 << 12  # what is unpacked of so many blocks stays in the processor's cache


@dataclass(frozen=True)
class BlockForm:
    """How many values a block stands for, and the fields that it is made of."""

    values: int
    fields: np.dtype[np.void]

    @property
    def nbytes(self) -> int:
        return self.fields.itemsize


def decode_blocks(content: bytes | Bytes, kind: str) -> Floats:
    """The values in these blocks, in order, shape (values,).

    Raises FromScratchError for a form that is known by its size alone, ValueError for bytes that are no whole blocks.
    """
    form = BLOCK_FORMS[kind]
    if kind not in DECODERS:
        raise FromScratchError(
            f"numbers stored as {kind} cannot be read: their tables are not known here",
            f"use a file in another precision; {', '.join(DECODERS)} are read",
        )
    blocks_N = np.frombuffer(content, form.fields)
    values = np.empty((len(blocks_N), form.values), np.float32)
    for first in range(0, len(blocks_N), BLOCKS_AT_ONCE):
        part = slice(first, first + BLOCKS_AT_ONCE)
        with np.errstate(all="ignore"):  # a damaged scale may be infinite
            DECODERS[kind](blocks_N[part], values[part])
    return values.reshape(-1)


def encode_blocks(values: Floats, kind: str) -> Bytes:
    """The blocks of these values, shape (..., bytes of a row) for values of shape (..., row).

    Raises FromScratchError for rows that are no whole blocks, for numbers that are not finite or too large for a scale
    in half precision, and for a form that is only read.
    """
    if kind not in ENCODERS:
        raise FromScratchError(f"nothing is written as {kind!r}", f"use one of {', '.join(ENCODERS)}")
    form = BLOCK_FORMS[kind]
    *outer, row = values.shape
    if row % form.values:
        raise FromScratchError(
            f"rows of {row} values are no whole blocks of {kind}, which has {form.values}", "keep this tensor in F16"
        )
    values_NV = np.ascontiguousarray(values, np.float32).reshape(-1, form.values)
    blocks_N = np.empty(len(values_NV), form.fields)
    for first in range(0, len(values_NV), BLOCKS_AT_ONCE):
        part = slice(first, first + BLOCKS_AT_ONCE)
        if not np.abs(values_NV[part]).max() <= LARGEST_HALF:  # so said, NaN is refused too
            raise FromScratchError(f"a number is not finite, or too large for {kind}", "keep this tensor in F32")
        ENCODERS[kind](values_NV[part], blocks_N[part])
    return blocks_N.view(np.uint8).reshape(*outer, row // form.values * form.nbytes)


# ---- reading: blocks (N,) with their fields → values (N, values of a block), written in place


def _nibbles(packed: Bytes) -> Bytes:
    """(N, L) bytes as (N, 2, L): all lower halves, then all upper ones."""
    return np.stack((packed & 15, packed >> 4), axis=1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """(N, 4) bytes as (N, 2, 16): bit j of the 32 belongs to value j."""
    return np.unpackbits(packed, axis=1, bitorder="little").reshape(-1, 2, 16)


def _scale(blocks_N: Blocks, field: str) -> Floats:
    """A half-precision field as float32, to be multiplied with (N, J, L)."""
    return blocks_N[field].astype(np.float32)[:, None, None]


def _read_q8_0(blocks_N: Blocks, values: Floats) -> None:
    np.multiply(blocks_N["q"], blocks_N["d"].astype(np.float32)[:, None], out=values)


def _read_q4_0(blocks_N: Blocks, values: Floats) -> None:
    number = _nibbles(blocks_N["q"]).view(np.int8) - np.int8(8)
    np.multiply(number, _scale(blocks_N, "d"), out=values.reshape(-1, 2, 16))


def _read_q4_1(blocks_N: Blocks, values: Floats) -> None:
    out = values.reshape(-1, 2, 16)
    np.multiply(_nibbles(blocks_N["q"]), _scale(blocks_N, "d"), out=out)
    out += _scale(blocks_N, "m")


def _read_q5_0(blocks_N: Blocks, values: Floats) -> None:
    number = _nibbles(blocks_N["q"]) | _fifth_bits(blocks_N["high"]) << 4
    np.multiply(number.view(np.int8) - np.int8(16), _scale(blocks_N, "d"), out=values.reshape(-1, 2, 16))


def _read_q5_1(blocks_N: Blocks, values: Floats) -> None:
    out = values.reshape(-1, 2, 16)
    np.multiply(_nibbles(blocks_N["q"]) | _fifth_bits(blocks_N["high"]) << 4, _scale(blocks_N, "d"), out=out)
    out += _scale(blocks_N, "m")


def _read_iq4_nl(blocks_N: Blocks, values: Floats) -> None:
    np.multiply(UNEVEN[_nibbles(blocks_N["q"])], _scale(blocks_N, "d"), out=values.reshape(-1, 2, 16))


def _read_iq4_xs(blocks_N: Blocks, values: Floats) -> None:
    low = np.stack((blocks_N["low"] & 15, blocks_N["low"] >> 4), axis=2).reshape(-1, 8)
    high = blocks_N["high"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    scale_NJ = blocks_N["d"].astype(np.float32)[:, None] * (low + (high << 4).astype(np.int16) - 32).astype(np.float32)
    packed_NJL = blocks_N["q"].reshape(-1, 8, 16)
    out = values.reshape(-1, 8, 2, 16)
    np.multiply(UNEVEN[packed_NJL & 15], scale_NJ[:, :, None], out=out[:, :, 0])
    np.multiply(UNEVEN[packed_NJL >> 4], scale_NJ[:, :, None], out=out[:, :, 1])


def _read_mxfp4(blocks_N: Blocks, values: Floats) -> None:
    # The table holds doubled values, so that it is whole; hence the halved scale.
    scale = np.ldexp(np.float32(1), blocks_N["e"].astype(np.int32) - 128)[:, None, None]
    np.multiply(FOUR_BIT_FLOATS[_nibbles(blocks_N["q"])], scale, out=values.reshape(-1, 2, 16))


def _read_q2_k(blocks_N: Blocks, values: Floats) -> None:
    packed_NHJL = blocks_N["q"].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    scale_NJ = blocks_N["d"].astype(np.float32)[:, None] * (blocks_N["scales"] & 15)
    least_NJ = blocks_N["least"].astype(np.float32)[:, None] * (blocks_N["scales"] >> 4)
    out = values.reshape(-1, 16, 16)
    np.multiply((packed_NHJL & 3).reshape(-1, 16, 16), scale_NJ[:, :, None], out=out)
    out -= least_NJ[:, :, None]


def _read_q3_k(blocks_N: Blocks, values: Floats) -> None:
    packed = blocks_N["scales"]
    low = np.concatenate((packed[:, :8] & 15, packed[:, :8] >> 4), axis=1)
    high = (packed[:, None, 8:] >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3).reshape(-1, 16)
    scale_NJ = blocks_N["d"].astype(np.float32)[:, None] * ((low | high << 4).view(np.int8) - np.int8(32))
    low_NJL = (blocks_N["q"].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3).reshape(-1, 8, 32)
    high_NJL = blocks_N["high"][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    number = (low_NJL | high_NJL << 2).view(np.int8) - np.int8(4)
    np.multiply(number.reshape(-1, 16, 16), scale_NJ[:, :, None], out=values.reshape(-1, 16, 16))


def _six_bit_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Scales and minima (N, 8) of Q4_K and Q5_K from their 12 bytes."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate((first & 63, third & 15 | first >> 6 << 4), axis=1)
    minima = np.concatenate((second & 63, third >> 4 | second >> 6 << 4), axis=1)
    return scales, minima


def _read_q4_k(blocks_N: Blocks, values: Floats, high_NJL: Bytes | None = None) -> None:
    scales, minima = _six_bit_scales(blocks_N["scales"])
    scale_NJ = blocks_N["d"].astype(np.float32)[:, None] * scales
    least_NJ = blocks_N["least"].astype(np.float32)[:, None] * minima
    packed = blocks_N["q"].reshape(-1, 4, 32)
    number_NJL = np.stack((packed & 15, packed >> 4), axis=2).reshape(-1, 8, 32)
    if high_NJL is not None:
        number_NJL |= high_NJL << 4
    out = values.reshape(-1, 8, 32)
    np.multiply(number_NJL, scale_NJ[:, :, None], out=out)
    out -= least_NJ[:, :, None]


def _read_q5_k(blocks_N: Blocks, values: Floats) -> None:
    high_NJL: Bytes = np.bitwise_and(blocks_N["high"][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None], np.uint8(1))
    _read_q4_k(blocks_N, values, high_NJL)


def _read_q6_k(blocks_N: Blocks, values: Floats) -> None:
    low = blocks_N["q"].reshape(-1, 2, 2, 32)
    low_NHJL = np.concatenate((low & 15, low >> 4), axis=2)
    high_NHJL = blocks_N["high"].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    number = (low_NHJL | high_NHJL << 4).view(np.int8) - np.int8(32)
    scale_NJ = blocks_N["d"].astype(np.float32)[:, None] * blocks_N["scales"]
    np.multiply(number.reshape(-1, 16, 16), scale_NJ[:, :, None], out=values.reshape(-1, 16, 16))


# ---- writing: values (N, values of a block) → fields of the blocks (N,), written in place


def _inverse(scale: Floats) -> Floats:
    """1 / scale, and 0 where that is no float32: such a scale is 0 in half precision."""
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=np.abs(scale) > 2.0**-128)


def _write_q8_0(values: Floats, blocks_N: Blocks) -> None:
    scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    number = values * _inverse(scale)
    whole = np.trunc(number)
    whole += np.trunc((number - whole) * 2)  # halves go away from zero, unlike np.rint; the difference is exact
    blocks_N["d"], blocks_N["q"] = scale[:, 0], whole


def _signed_steps(values: Floats, blocks_N: Blocks, half: int) -> Bytes:
    """Steps 0 to 2·half - 1 as (N, 2, 16), scaled so that the value of largest magnitude becomes step 0."""
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], axis=1)
    scale = largest / np.float32(-half)
    blocks_N["d"] = scale[:, 0]
    steps: Bytes = (values * _inverse(scale) + np.float32(half + 0.5)).astype(np.uint8)
    np.minimum(steps, np.uint8(2 * half - 1), out=steps)
    return steps.reshape(-1, 2, 16)


def _steps_from_least(values: Floats, blocks_N: Blocks, highest: int) -> Bytes:
    """Steps 0 to ``highest`` as (N, 2, 16), of which 0 stands for the least value."""
    least = values.min(axis=1, keepdims=True)
    scale = (values.max(axis=1, keepdims=True) - least) / np.float32(highest)
    blocks_N["d"], blocks_N["m"] = scale[:, 0], least[:, 0]
    steps: Bytes = ((values - least) * _inverse(scale) + np.float32(0.5)).astype(np.uint8)
    np.minimum(steps, np.uint8(highest), out=steps)
    return steps.reshape(-1, 2, 16)


def _pack_nibbles(steps: Bytes) -> Bytes:
    packed: Bytes = (steps[:, 0] & 15) + (steps[:, 1] << 4)
    return packed


def _pack_fifth_bits(steps: Bytes) -> Bytes:
    return np.packbits((steps >> 4).reshape(-1, 32), axis=1, bitorder="little")


def _write_q4_0(values: Floats, blocks_N: Blocks) -> None:
    blocks_N["q"] = _pack_nibbles(_signed_steps(values, blocks_N, 8))


def _write_q4_1(values: Floats, blocks_N: Blocks) -> None:
    blocks_N["q"] = _pack_nibbles(_steps_from_least(values, blocks_N, 15))


def _write_q5_0(values: Floats, blocks_N: Blocks) -> None:
    steps = _signed_steps(values, blocks_N, 16)
    blocks_N["q"], blocks_N["high"] = _pack_nibbles(steps), _pack_fifth_bits(steps)


def _write_q5_1(values: Floats, blocks_N: Blocks) -> None:
    steps = _steps_from_least(values, blocks_N, 31)
    blocks_N["q"], blocks_N["high"] = _pack_nibbles(steps), _pack_fifth_bits(steps)


# ---- the forms

UNEVEN = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
FOUR_BIT_FLOATS = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


def _form(values: int, **fields: str | tuple[str, int]) -> BlockForm:
    described = [(name, *((field,) if isinstance(field, str) else field)) for name, field in fields.items()]
    return BlockForm(values, np.dtype(described))


BLOCK_FORMS: Mapping[str, BlockForm] = MappingProxyType(
    {
        "Q4_0": _form(32, d="<f2", q=("u1", 16)),
        "Q4_1": _form(32, d="<f2", m="<f2", q=("u1", 16)),
        "Q5_0": _form(32, d="<f2", high=("u1", 4), q=("u1", 16)),
        "Q5_1": _form(32, d="<f2", m="<f2", high=("u1", 4), q=("u1", 16)),
        "Q8_0": _form(32, d="<f2", q=("i1", 32)),
        "Q2_K": _form(256, scales=("u1", 16), q=("u1", 64), d="<f2", least="<f2"),
        "Q3_K": _form(256, high=("u1", 32), q=("u1", 64), scales=("u1", 12), d="<f2"),
        "Q4_K": _form(256, d="<f2", least="<f2", scales=("u1", 12), q=("u1", 128)),
        "Q5_K": _form(256, d="<f2", least="<f2", scales=("u1", 12), high=("u1", 32), q=("u1", 128)),
        "Q6_K": _form(256, q=("u1", 128), high=("u1", 64), scales=("i1", 16), d="<f2"),
        "IQ4_NL": _form(32, d="<f2", q=("u1", 16)),
        "IQ4_XS": _form(256, d="<f2", high="<u2", low=("u1", 4), q=("u1", 128)),
        "MXFP4": _form(32, e="u1", q=("u1", 16)),
        # Known by their size: they are listed, and their numbers are not read.
        "IQ1_S": _form(256, raw=("u1", 50)),
        "IQ1_M": _form(256, raw=("u1", 56)),
        "IQ2_XXS": _form(256, raw=("u1", 66)),
        "IQ2_XS": _form(256, raw=("u1", 74)),
        "IQ2_S": _form(256, raw=("u1", 82)),
        "IQ3_XXS": _form(256, raw=("u1", 98)),
        "IQ3_S": _form(256, raw=("u1", 110)),
        "TQ1_0": _form(256, raw=("u1", 54)),
        "TQ2_0": _form(256, raw=("u1", 66)),
        "NVFP4": _form(64, raw=("u1", 36)),
        "Q1_0": _form(128, raw=("u1", 18)),
    }
)

DECODERS: Mapping[str, Callable[[Blocks, Floats], None]] = MappingProxyType(
    {
        "Q4_0": _read_q4_0,
        "Q4_1": _read_q4_1,
        "Q5_0": _read_q5_0,
        "Q5_1": _read_q5_1,
        "Q8_0": _read_q8_0,
        "Q2_K": _read_q2_k,
        "Q3_K": _read_q3_k,
        "Q4_K": _read_q4_k,
        "Q5_K": _read_q5_k,
        "Q6_K": _read_q6_k,
        "IQ4_NL": _read_iq4_nl,
        "IQ4_XS": _read_iq4_xs,
        "MXFP4": _read_mxfp4,
    }
)

ENCODERS: Mapping[str, Callable[[Floats, Blocks], None]] = MappingProxyType(
    {"Q8_0": _write_q8_0, "Q4_0": _write_q4_0, "Q4_1": _write_q4_1, "Q5_0": _write_q5_0, "Q5_1": _write_q5_1}
)
ENCODED_KINDS = tuple(ENCODERS)
