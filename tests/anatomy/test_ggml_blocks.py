"""The block forms of GGML, to the bit."""

import hashlib
import warnings

import numpy as np
import pytest

from fromscratch.anatomy.ggml_blocks import BLOCK_FORMS, DECODERS, ENCODED_KINDS, decode_blocks, encode_blocks
from fromscratch.core.errors import FromScratchError

# SHA-256, first 16 digits, of what the package gguf 0.19 makes of `some_blocks` and of `some_values`.
DECODED = {
    "Q4_0": "4b9ad252c82912f5",
    "Q4_1": "bf5603c78e961f95",
    "Q5_0": "3c6a5f73e713abce",
    "Q5_1": "ef39b9fccb77df1d",
    "Q8_0": "3670a5c0f1b4c07a",
    "Q2_K": "89cbf561c61e5389",
    "Q3_K": "65827ba154cf1e15",
    "Q4_K": "92cf352643a8707e",
    "Q5_K": "00b08775c2189e36",
    "Q6_K": "37ebe94f423a4a18",
    "IQ4_NL": "5e7553f24153dafb",
    "IQ4_XS": "c0c6d985d85e0517",
    "MXFP4": "efbbf4f7292ef250",
}
ENCODED = {
    "Q8_0": "1bfc816b91545197",
    "Q4_0": "e864e4b8d1c90f19",
    "Q4_1": "ad4225a6783c875d",
    "Q5_0": "edb251d8e8a9f5e8",
    "Q5_1": "e39ee7092caf1235",
}


def some_blocks(kind: str) -> np.ndarray:
    """64 blocks of pseudo-random bytes; scales in half precision are kept finite."""
    form = BLOCK_FORMS[kind]
    raw = (np.arange(64 * form.nbytes, dtype=np.uint64) * np.uint64(2654435761) >> np.uint64(7)).astype(np.uint8)
    blocks = raw.view(form.fields)
    for field in {"d", "m", "least"} & set(form.fields.names or ()):
        blocks[field] = np.linspace(-2, 2, 64)
    return blocks.view(np.uint8)


def some_values() -> np.ndarray:
    """4 rows of 256: smooth, all equal, zeros, and halves on which rounding must not be to even."""
    place = np.arange(256, dtype=np.float32)
    halves = np.where(place % 32 == 0, 127, (place * 37 % 255 - 127) / 2)
    rough = (place * 7919 % 613 - 300) / np.float32(97) * np.float32(1.5) ** (place % 29 - 20)
    return np.stack((rough, np.full_like(place, -3), np.zeros_like(place), halves)).astype(np.float32)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("kind", DECODERS)
def test_blocks_are_read_to_the_bit(kind: str) -> None:
    assert digest(decode_blocks(some_blocks(kind), kind)) == DECODED[kind]


@pytest.mark.parametrize("kind", ENCODED_KINDS)
def test_blocks_are_written_to_the_bit(kind: str) -> None:
    assert digest(encode_blocks(some_values(), kind)) == ENCODED[kind]


@pytest.mark.peer
@pytest.mark.parametrize("kind", DECODERS)
def test_gguf_reads_and_writes_the_same(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    theirs = gguf.GGMLQuantizationType[kind]
    blocks = some_blocks(kind)
    with warnings.catch_warnings():  # it divides by zero, and scales may overflow
        warnings.simplefilter("ignore")
        read = gguf.quants.dequantize(blocks.reshape(1, -1), theirs).reshape(-1)
        written = gguf.quants.quantize(some_values(), theirs) if kind in ENCODED_KINDS else None
    assert decode_blocks(blocks, kind).tobytes() == read.tobytes()
    if written is not None:
        assert encode_blocks(some_values(), kind).tobytes() == written.tobytes()


@pytest.mark.parametrize(
    ("kind", "step"), [("Q8_0", 1 / 127), ("Q5_0", 1 / 16), ("Q5_1", 2 / 31), ("Q4_0", 1 / 8), ("Q4_1", 2 / 15)]
)
def test_what_is_written_reads_back_within_a_step(kind: str, step: float) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (7, 96)).astype(np.float32)
    blocks = encode_blocks(values, kind)
    assert blocks.shape == (7, 3 * BLOCK_FORMS[kind].nbytes)
    assert np.abs(decode_blocks(blocks, kind).reshape(7, 96) - values).max() <= step * 1.01


@pytest.mark.parametrize("kind", ENCODED_KINDS)
def test_what_was_read_is_written_again_as_it_was(kind: str) -> None:
    # Of a block whose scale is set by its extremes, the scale and the steps come back.
    values = np.tile(np.arange(-16, 16, dtype=np.float32) / 16, (1, 2))
    once = decode_blocks(encode_blocks(values, kind), kind)
    np.testing.assert_allclose(decode_blocks(encode_blocks(once[None], kind), kind), once, rtol=2e-3, atol=1e-6)


def test_more_blocks_than_are_done_at_once_come_out_in_order() -> None:
    values = np.random.default_rng(1).standard_normal((5000, 64)).astype(np.float32)
    blocks = encode_blocks(values, "Q8_0")
    assert blocks[4097].tobytes() == encode_blocks(values[4097:4098], "Q8_0").tobytes()
    np.testing.assert_array_equal(decode_blocks(blocks, "Q8_0")[-64:], decode_blocks(blocks[-1], "Q8_0"))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e5])
def test_numbers_that_have_no_scale_are_refused(number: float) -> None:
    values = np.zeros((1, 32), np.float32)
    values[0, 5] = number
    with pytest.raises(FromScratchError, match="not finite, or too large for Q4_1"):
        encode_blocks(values, "Q4_1")


def test_denormal_numbers_become_zeros_and_warn_of_nothing() -> None:
    values = np.full((1, 32), 1e-44, np.float32)
    for kind in ENCODED_KINDS:
        assert not decode_blocks(encode_blocks(values, kind), kind).any()


def test_rows_that_are_no_whole_blocks_and_forms_that_are_only_read_are_refused() -> None:
    with pytest.raises(FromScratchError, match="rows of 48 values are no whole blocks of Q8_0"):
        encode_blocks(np.zeros((2, 48), np.float32), "Q8_0")
    with pytest.raises(FromScratchError, match="nothing is written as 'Q6_K'"):
        encode_blocks(np.zeros((1, 256), np.float32), "Q6_K")
    with pytest.raises(ValueError):
        decode_blocks(bytes(33), "Q8_0")
