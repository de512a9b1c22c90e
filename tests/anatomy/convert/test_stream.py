"""The bytes of an output are those that numpy gives for the whole tensor, however small the blocks are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fromscratch.anatomy.convert import stream as streaming
from fromscratch.anatomy.convert.plan import Output, Piece, Slice, Values, Zeros
from fromscratch.anatomy.convert.stream import Range, cast, stream
from fromscratch.anatomy.ggml_blocks import decode_blocks
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.tensors import Checkpoint, checkpoint_of_arrays
from fromscratch.core.errors import FromScratchError

RANDOM = np.random.default_rng(3)
MATRIX = RANDOM.standard_normal((24, 64)).astype(np.float32)
VECTOR = RANDOM.standard_normal(24).astype(np.float32)
Array = NDArray[np.float32]


@pytest.fixture(autouse=True, params=[1, 700, 1 << 24])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one row, of a few, and of all."""
    monkeypatch.setattr(streaming, "BLOCK_BYTES", request.param)
    monkeypatch.setattr(streaming, "TURNED_BYTES", request.param)


def in_memory() -> Checkpoint:
    return checkpoint_of_arrays({"matrix": MATRIX, "vector": VECTOR})


def content(pieces: tuple[Piece, ...], shape: tuple[int, ...], kind: str = "F32") -> bytes:
    chunks: Iterator[Range | bytes] = stream(Output("out", "file", shape, kind, pieces), in_memory())
    parts = []
    for chunk in chunks:
        assert isinstance(chunk, bytes), "nothing in memory is a range of a file"
        parts.append(chunk)
    return b"".join(parts)


ROWS = Slice("matrix", (4, 20), (0, 64))
CASES: dict[str, tuple[Piece, Callable[[], Array]]] = {
    "rows": (ROWS, lambda: MATRIX[4:20]),
    "columns": (replace(ROWS, columns=(3, 50)), lambda: MATRIX[4:20, 3:50]),
    "turned": (replace(ROWS, columns=(3, 50), transposed=True), lambda: MATRIX[4:20, 3:50].T),
    "to neighbours": (
        replace(ROWS, regroup=(2, 2, 4)),
        lambda: MATRIX[4:20].reshape(2, 2, 4, 64).swapaxes(1, 2).reshape(16, 64),
    ),
    "turned and regrouped": (
        replace(ROWS, columns=(0, 12), transposed=True, regroup=(2, 2, 3)),
        lambda: MATRIX[4:20, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]].T,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_step_is_that_of_numpy(case: str) -> None:
    piece, expected = CASES[case]
    wanted = expected()
    assert content((piece,), wanted.shape) == np.ascontiguousarray(wanted).tobytes()
    half = content((piece,), wanted.shape, "BF16")
    assert half == cast(wanted, "BF16", ""), "the same numbers go through a cast"


def test_regrouping_and_its_inverse_give_back_the_rows() -> None:
    there = np.frombuffer(content((replace(ROWS, regroup=(2, 2, 4)),), (16, 64)), np.float32).reshape(16, 64)
    made = checkpoint_of_arrays({"matrix": there})
    back = Output("out", "file", (16, 64), "F32", (Slice("matrix", (0, 16), (0, 64), regroup=(2, 4, 2)),))
    assert b"".join(each for each in stream(back, made) if isinstance(each, bytes)) == MATRIX[4:20].tobytes()


def test_pieces_stand_one_below_the_other() -> None:
    pieces = (Slice("vector", (20, 24), (0, 1)), Zeros((2, 1)), Values((0.5, 3.0)), Slice("vector", (0, 1), (0, 1)))
    expected = np.concatenate([VECTOR[20:], [0, 0, 0.5, 3], VECTOR[:1]]).astype(np.float32)
    assert content(pieces, (9,)) == expected.tobytes()


def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    numbers = np.concatenate([RANDOM.standard_normal(4000) * 10.0 ** RANDOM.integers(-38, 38, 4000), [0.0, -0.0]])
    odd = np.array([np.inf, -np.inf, np.nan, 3.4e38, 1e-45, 1.00390625, 1.01171875], np.float32)  # two ties at the end
    every = np.concatenate([numbers.astype(np.float32), odd])
    expected = torch.from_numpy(every).to(torch.bfloat16)
    ours = torch.frombuffer(bytearray(cast(every, "BF16", "")), dtype=torch.bfloat16)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)


def test_numbers_beyond_half_precision_are_refused_and_infinite_ones_stay() -> None:
    with pytest.raises(FromScratchError, match=r"tensor `out` has the number 70000, and F16 ends at 65,504"):
        cast(np.array([1, 7e4], np.float32), "F16", "out")
    assert np.frombuffer(cast(np.array([np.inf, 1], np.float32), "F16", ""), np.float16).tolist() == [np.inf, 1]


def test_blocks_of_ggml_are_those_of_whole_rows() -> None:
    quantised = content((ROWS,), (16, 64), "Q8_0")
    assert len(quantised) == 16 * 2 * 34
    back = decode_blocks(quantised, "Q8_0").reshape(16, 64)
    assert np.abs(back - MATRIX[4:20]).max() < np.abs(MATRIX).max() / 127


def test_what_stays_as_it_lies_in_a_file_is_told_as_a_range(tmp_path: Path) -> None:
    save_file({"matrix": MATRIX, "vector": VECTOR}, tmp_path / "model.safetensors")
    for place in (tmp_path, tmp_path / "model.safetensors"):
        made = open_checkpoint(place)
        (chunk,) = stream(Output("out", "file", (16, 64), "F32", (ROWS,)), made)
        assert isinstance(chunk, Range)
        stored = chunk.path.read_bytes()[chunk.begin : chunk.begin + chunk.nbytes]
        assert stored == MATRIX[4:20].tobytes()
