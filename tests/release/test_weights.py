"""Safetensors files read and rewritten by their headers; what is none is refused."""

from pathlib import Path

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.release.weights import read_header, rewrite
from tests.release.conftest import write_weights_header


def test_parameters_are_counted_from_the_header_alone(tmp_path: Path) -> None:
    write_weights_header(tmp_path / "model.safetensors")
    assert sum(each.parameters for each in read_header(tmp_path / "model.safetensors")) == 2 * 8000 * 256 + 688 * 1536


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b'\x10\0\0\0\0\0\0\0{"a":{"dtype":1'])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(FromScratchError, match=r"model\.safetensors: not a safetensors file"):
        read_header(tmp_path / "model.safetensors")


def test_a_cut_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    (tmp_path / "source").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 9)
    (tmp_path / "out").mkdir()
    with pytest.raises(FromScratchError, match="ends within tensor `a`"):
        rewrite(tmp_path / "source", tmp_path / "out", {"a": "b"}, 100)
    assert not list((tmp_path / "out").iterdir())
