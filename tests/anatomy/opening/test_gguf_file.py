"""GGUF: the key-value table, shapes turned round, every number within its bounds."""

from pathlib import Path

import numpy as np
import pytest

from fromscratch.anatomy.ggml_blocks import encode_blocks
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.core.errors import FromScratchError
from tests.anatomy.opening.files import gguf_bytes

MATRIX = np.random.default_rng(5).standard_normal((6, 64)).astype(np.float32)
TABLE = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.tokens": ["a", "é", "<s>"],
    "tokenizer.ggml.add_bos_token": True,
    "nested": [[1, 2], [3]],
}
PLAIN = [("a", (6, 64), "F32", MATRIX.tobytes()), ("b", (3,), "F16", np.array([1, 2, 3], "<f2").tobytes())]


@pytest.mark.parametrize("version", [2, 3])
def test_the_table_and_the_tensors_are_read(version: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(TABLE, PLAIN, version))
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == "gguf"
    assert checkpoint.config == TABLE
    assert checkpoint.tensors["a"].shape == (6, 64)
    np.testing.assert_array_equal(checkpoint.tensors["a"].read(), MATRIX)
    np.testing.assert_array_equal(checkpoint.tensors["b"].read(), [1, 2, 3])


def test_rows_of_blocks_are_read_by_themselves(tmp_path: Path) -> None:
    blocks = encode_blocks(MATRIX, "Q8_0")
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes({"general.alignment": 64}, [("q", (6, 64), "Q8_0", blocks.tobytes())], alignment=64))
    tensor = open_checkpoint(path).tensors["q"]
    assert (tensor.kind, tensor.nbytes) == ("Q8_0", 6 * 2 * 34)
    whole = tensor.read()
    assert np.abs(whole - MATRIX).max() < 0.02
    np.testing.assert_array_equal(tensor.read_rows(2, 5), whole[2:5])
    assert tensor.read_raw(68, 68) == blocks[1].tobytes()


def test_a_vector_of_blocks_is_read_from_within_a_block(tmp_path: Path) -> None:
    values = MATRIX.reshape(-1)[:96]
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes({}, [("v", (96,), "Q8_0", encode_blocks(values, "Q8_0").tobytes())]))
    tensor = open_checkpoint(path).tensors["v"]
    np.testing.assert_array_equal(tensor.read_rows(40, 70), tensor.read()[40:70])


def test_a_form_known_by_its_size_alone_is_listed_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes({}, [("q", (1, 256), "IQ2_XS", bytes(74))]))
    tensor = open_checkpoint(path).tensors["q"]
    assert (tensor.shape, tensor.nbytes) == ((1, 256), 74)
    with pytest.raises(FromScratchError, match="stored as IQ2_XS cannot be read"):
        tensor.read()


def test_parts_are_one_model_whichever_is_named(tmp_path: Path) -> None:
    for number, tensor in enumerate(PLAIN, start=1):
        (tmp_path / f"m-{number:05d}-of-00002.gguf").write_bytes(gguf_bytes(TABLE if number == 1 else {}, [tensor]))
    for place in (tmp_path, tmp_path / "m-00002-of-00002.gguf"):
        checkpoint = open_checkpoint(place)
        assert set(checkpoint.tensors) == {"a", "b"}
        assert checkpoint.config["general.architecture"] == "llama"


HUGE = 2**60
Q8_ROW = ("q", (8, 60), "Q8_0", bytes(8 * 60 // 32 * 34))
WRONG: dict[str, tuple[bytes, str]] = {
    "version 1": (gguf_bytes({}, PLAIN, version=1), "is GGUF version 1"),
    "big-endian": (gguf_bytes({}, PLAIN, version=3 << 24), "is GGUF version 50331648"),
    "cut": (gguf_bytes(TABLE, PLAIN)[:-3], "outside of"),
    "cut in the table": (gguf_bytes(TABLE, PLAIN)[:60], "its header goes on"),
    "more keys than bytes": (gguf_bytes({}, PLAIN, keys=HUGE), "its header goes on"),
    "more tensors than bytes": (gguf_bytes({}, PLAIN, count=HUGE), "its header goes on"),
    "a key twice": (gguf_bytes([("a", 1), ("a", 2)], PLAIN), "the key `a` stands there twice"),
    "a tensor twice": (gguf_bytes({}, [PLAIN[0], PLAIN[0]]), "tensor `a` stands there twice"),
    "five axes": (gguf_bytes({}, [("a", (1, 1, 1, 1, 1), "F32", bytes(4))]), "would have 5 axes"),
    "an absurd shape": (gguf_bytes({}, [("a", (HUGE, HUGE), "F32", bytes(4))]), "the shape (1152921504606846976"),
    "a row of half a block": (gguf_bytes({}, [Q8_ROW]), "[8, 60] has no whole blocks of Q8_0"),
    "unknown type": (gguf_bytes({}, [("a", (1,), "?", bytes(4))]), "`GGML type 99`, which is not known"),
    "overlapping": (gguf_bytes({}, PLAIN, offsets=[0, 32]), "lie on the same bytes"),
    "outside": (gguf_bytes({}, PLAIN, offsets=[0, HUGE]), "outside of"),
    "between the alignment": (gguf_bytes({}, PLAIN[:1], offsets=[8]), "is not aligned to 32 bytes"),
    "no alignment": (gguf_bytes({"general.alignment": 0}, PLAIN), "`general.alignment` = 0"),
    "odd alignment": (gguf_bytes({"general.alignment": 24}, PLAIN, alignment=24), "`general.alignment` = 24"),
    "arrays in arrays": (gguf_bytes({"a": [[[[[[[[1]]]]]]]]}, PLAIN), "unknown type 9"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_header_is_refused(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    content, said = WRONG[wrong]
    path.write_bytes(content)
    with pytest.raises(FromScratchError) as caught:
        open_checkpoint(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize(("array", "bytes_asked"), [([1, 2, 3], "4,503,599,627,370,496"), (["a", "b", "c"], "9,007,")])
def test_an_array_longer_than_the_file_is_never_begun(array: list[object], bytes_asked: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    whole = gguf_bytes({"a": array}, PLAIN)
    path.write_bytes(whole.replace((3).to_bytes(8, "little"), (2**50).to_bytes(8, "little"), 1))
    with pytest.raises(FromScratchError, match=f"goes on for {bytes_asked}"):
        open_checkpoint(path)
