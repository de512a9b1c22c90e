"""Safetensors headers: every dtype is read, and nothing is believed that the bytes do not bear out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.core.errors import FromScratchError
from tests.anatomy.opening.files import entry, safetensors_bytes

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
EIGHT_BITS = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
)
WHOLE = (
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
)


def test_every_dtype_reads_as_torch_reads_it(tmp_path: Path) -> None:
    numbers = torch.tensor([[0.0, -0.0, 1.5], [-2.75, 448.0, 3e-5]], dtype=torch.float64)
    tensors = {str(dtype): numbers.to(dtype) for dtype in (*FLOATS, torch.complex64)}
    tensors["too large for float32"] = torch.tensor([1e300], dtype=torch.float64)
    tensors |= {str(dtype): torch.tensor([[0, 1, 5], [7, 100, 127]]).to(dtype) for dtype in WHOLE}
    codes = torch.arange(256).to(torch.uint8)
    tensors |= {str(dtype): codes.clone().view(dtype) for dtype in EIGHT_BITS}  # every code of each
    save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.format == "safetensors"
    assert set(checkpoint.tensors) == set(tensors)
    for name, tensor in tensors.items():
        expected = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
        read = checkpoint.tensors[name].read()
        assert read.dtype == expected.dtype
        np.testing.assert_array_equal(read, expected)


def test_rows_bytes_scalars_and_empty_tensors(tmp_path: Path) -> None:
    matrix = torch.arange(24, dtype=torch.bfloat16).reshape(6, 4)
    save_file({"m": matrix, "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3)}, tmp_path / "model.safetensors")
    tensors = open_checkpoint(tmp_path / "model.safetensors").tensors
    np.testing.assert_array_equal(tensors["m"].read_rows(2, 4), matrix[2:4].float().numpy())
    assert tensors["m"].read_rows(4, 99).shape == (2, 4)
    assert tensors["m"].read_rows(3, 3).shape == (0, 4)
    assert tensors["m"].read_raw(3, 9) == matrix.view(torch.uint8).numpy().tobytes()[3:12]
    assert tensors["m"].nbytes == 48
    assert tensors["scalar"].read() == np.float32(2.5)
    assert tensors["scalar"].read().shape == ()
    assert tensors["none"].read().shape == (0, 3)
    with pytest.raises(IndexError):
        tensors["m"].read_raw(40, 9)


def test_four_bit_floats_are_two_in_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"w": entry("F4", [2, 4], 0, 4)}, bytes([0x10, 0x32, 0x9F, 0x76])))
    np.testing.assert_array_equal(
        open_checkpoint(path).tensors["w"].read(), [[0, 0.5, 1, 1.5], [-6, -0.5, 4, 6]]
    )  # OCP Microscaling: 0 .5 1 1.5 2 3 4 6, and the sign above


GOOD = entry("F32", [2, 2], 0, 16)
DEEP = b'{"a":' + b"[" * 100_000
WRONG: dict[str, tuple[bytes, str]] = {
    "shorter than a length": (b"\1\2\3", "has 3 bytes"),
    "longer header than file": (
        safetensors_bytes({"a": GOOD}, bytes(16), length=500),
        "its header would have 500 bytes",
    ),
    "absurd header": (safetensors_bytes({"a": GOOD}, bytes(16), length=2**63), "its header would have 9,223,"),
    "no JSON": (safetensors_bytes(b"{nothing}"), "no JSON"),
    "no UTF-8": (safetensors_bytes(b'{"\xff\xfe": 1}'), "no JSON"),
    "a list": (safetensors_bytes(b"[1, 2]     "), "holds no JSON object"),
    "too deep": (safetensors_bytes(DEEP), "nested too deeply"),
    "not a number": (safetensors_bytes(b'{"a": NaN}'), "NaN is no JSON"),
    "twice": (safetensors_bytes(b'{"a": {}, "a": {}}'), "`a` stands there twice"),
    "no entry": (safetensors_bytes({"a": 5}), "is described by 5"),
    "no offsets": (safetensors_bytes({"a": {"dtype": "F32", "shape": [1]}}), "is described by"),
    "true for an offset": (safetensors_bytes({"a": entry("F32", [], False, 4)}, bytes(4)), "is described by"),
    "unknown dtype": (safetensors_bytes({"a": entry("F99", [4], 0, 16)}, bytes(16)), "`F99`, which is not known"),
    "negative axis": (safetensors_bytes({"a": entry("F32", [-2, -2], 0, 16)}, bytes(16)), "the shape [-2, -2]"),
    "half an axis": (safetensors_bytes({"a": entry("F32", [2.0, 2], 0, 16)}, bytes(16)), "the shape [2.0, 2]"),
    "absurd shape": (
        safetensors_bytes({"a": entry("F32", [2**40, 2**40], 0, 16)}, bytes(16)),
        "the shape [1099511627776",
    ),
    "other size": (safetensors_bytes({"a": entry("F32", [2, 3], 0, 16)}, bytes(16)), "24 bytes, and takes 16"),
    "beyond the end": (safetensors_bytes({"a": entry("F32", [2, 2], 8, 24)}, bytes(16)), "outside of"),
    "before the start": (safetensors_bytes({"a": entry("F32", [2, 2], -16, 0)}, bytes(16)), "is described by"),
    "overlap": (
        safetensors_bytes({"a": GOOD, "b": entry("F32", [2, 2], 8, 24)}, bytes(24)),
        "`b` and `a` lie on the same bytes",
    ),
    "metadata": (safetensors_bytes({"__metadata__": 3, "a": GOOD}, bytes(16)), "`__metadata__` is no table"),
    "no tensors": (safetensors_bytes({}), "holds no tensors"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_header_is_refused_with_its_file_and_the_value(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content, said = WRONG[wrong]
    path.write_bytes(content)
    with pytest.raises(FromScratchError) as caught:
        open_checkpoint(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"a": GOOD}, bytes(15)))
    with pytest.raises(FromScratchError, match="outside of"):
        open_checkpoint(path)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"a": GOOD}, bytes(16)))
    tensor = open_checkpoint(path).tensors["a"]
    path.write_bytes(safetensors_bytes({"a": GOOD}, bytes(17)))
    with pytest.raises(FromScratchError, match="was changed while it was read"):
        tensor.read()


def test_hidden_bytes_between_tensors_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt"},
        "a": entry("F32", [1], 8, 12),
        "z": entry("U8", [0], 0, 0),
    }
    path.write_bytes(safetensors_bytes(header, np.arange(4, dtype="<f4").tobytes()))
    assert open_checkpoint(path).tensors["a"].read().tolist() == [2.0]


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\ud800", "x" * 2000])
def test_names_that_a_terminal_would_obey_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({name: GOOD}, bytes(16)))
    with pytest.raises(FromScratchError, match="a tensor is called") as caught:
        open_checkpoint(path)
    assert caught.value.message.isprintable()
