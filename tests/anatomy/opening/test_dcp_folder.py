"""Distributed checkpoints: the chunks of a tensor are found, put together, and must fill it."""

import io
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.core.errors import FromScratchError

FULL = torch.arange(42, dtype=torch.float32).reshape(7, 6).bfloat16()
BOXES = [((0, 0), (4, 3)), ((0, 3), (4, 3)), ((4, 0), (3, 3)), ((4, 3), (3, 3))]


def test_what_pytorch_saves_is_read_as_the_model(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    weights = {**model.state_dict(), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "bf16": FULL}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": weights, "optimizer": optimizer.state_dict(), "step": 7}, checkpoint_id=tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.format == "dcp"
    assert set(checkpoint.tensors) == set(weights)
    assert "`model` is taken for the model" in checkpoint.remarks[0]
    for name, tensor in weights.items():
        np.testing.assert_array_equal(checkpoint.tensors[name].read(), tensor.detach().float().numpy(), strict=True)


def write_sharded(folder: Path, change: Callable[[Metadata], None] = lambda _: None, boxes: Any = BOXES) -> Path:
    """A tensor in boxes over two files, as two processes write it."""
    streams = [io.BytesIO(), io.BytesIO()]
    places, chunks = {}, []
    for number, (offsets, sizes) in enumerate(boxes):
        stream = streams[number % 2]
        first = stream.tell()
        rows, columns = (slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))
        torch.save(FULL[rows, columns].clone(), stream)
        chunks.append(ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
        index = MetadataIndex("w", torch.Size(offsets), number)
        places[index] = _StorageInfo(f"__{number % 2}_0.distcp", first, stream.tell() - first)
    about = TensorStorageMetadata(TensorProperties(torch.bfloat16), torch.Size([7, 6]), chunks)
    metadata = Metadata({"w": about}, storage_data=places)
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    for number, stream in enumerate(streams):
        (folder / f"__{number}_0.distcp").write_bytes(stream.getvalue())
    return folder


def test_a_tensor_in_boxes_over_two_files_is_put_together(tmp_path: Path) -> None:
    tensor = open_checkpoint(write_sharded(tmp_path)).tensors["w"]
    expected = FULL.float().numpy()
    np.testing.assert_array_equal(tensor.read(), expected)
    np.testing.assert_array_equal(tensor.read_rows(3, 5), expected[3:5])
    assert tensor.read_raw(7, 61) == FULL.view(torch.uint8).numpy().tobytes()[7:68]
    assert (tensor.kind, tensor.nbytes) == ("BF16", 84)


def test_chunks_of_nothing_do_not_matter(tmp_path: Path) -> None:
    boxes = [((0, 0), (7, 6)), ((7, 0), (0, 6)), ((7, 0), (0, 6))]  # two processes with nothing of it
    np.testing.assert_array_equal(
        open_checkpoint(write_sharded(tmp_path, boxes=boxes)).tensors["w"].read(), FULL.float().numpy()
    )


def place_of(metadata: Metadata, number: int) -> Any:
    return list(metadata.storage_data.values())[number]


class Call:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/never",)


def claim(metadata: Metadata) -> None:
    """A tensor of 2 TB in one chunk."""
    metadata.state_dict_metadata["w"] = TensorStorageMetadata(
        TensorProperties(torch.bfloat16),
        torch.Size([2**20, 2**20]),
        [ChunkStorageMetadata(torch.Size([0, 0]), torch.Size([2**20, 2**20]))],
    )


WRONG: dict[str, tuple[Callable[[Metadata], object], str]] = {
    "a chunk less": (lambda m: m.state_dict_metadata["w"].chunks.pop(), "do not fill it"),
    "a chunk twice": (
        lambda m: m.state_dict_metadata["w"].chunks.append(m.state_dict_metadata["w"].chunks[0]),
        "do not fill",
    ),
    "a larger tensor": (lambda m: setattr(m.state_dict_metadata["w"], "size", torch.Size([8, 6])), "do not fill it"),
    "another rank": (lambda m: setattr(m.state_dict_metadata["w"], "size", torch.Size([42])), "do not fill it"),
    "an absurd tensor": (
        lambda m: setattr(m.state_dict_metadata["w"], "size", torch.Size([2**40, 2**40])),
        "the shape",
    ),
    "a claim beyond the bytes": (claim, "do not fill it"),
    "no place": (lambda m: m.storage_data.clear(), "is nowhere"),
    "beyond its file": (lambda m: setattr(place_of(m, 3), "length", 10**9), "outside of"),
    "on another chunk": (lambda m: setattr(place_of(m, 3), "offset", 0), "lie on the same bytes"),
    "another folder": (
        lambda m: setattr(place_of(m, 0), "relative_path", "../__0_0.distcp"),
        "leads out of the folder",
    ),
    "a path": (lambda m: setattr(place_of(m, 0), "relative_path", "/etc/passwd"), "leads out of the folder"),
    "a missing file": (lambda m: setattr(place_of(m, 0), "relative_path", "__7_0.distcp"), "no such file"),
    "no chunks": (lambda m: setattr(m.state_dict_metadata["w"], "chunks", Call()), "do not fill it"),
    "no properties": (lambda m: setattr(m.state_dict_metadata["w"], "properties", 3), "is not known"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_metadata_that_does_not_fit_is_refused(wrong: str, tmp_path: Path) -> None:
    change, said = WRONG[wrong]
    write_sharded(tmp_path, lambda metadata: change(metadata) and None)
    with pytest.raises(FromScratchError, match=said):
        open_checkpoint(tmp_path)
    assert not Path("/tmp/never").exists()


def test_a_chunk_that_is_another_tensor_is_refused_when_it_is_read(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    path = tmp_path / "__0_0.distcp"
    first = io.BytesIO()
    torch.save(FULL[:4, :3].float().clone(), first)
    path.write_bytes(first.getvalue() + path.read_bytes()[len(first.getvalue()) :])
    with pytest.raises(FromScratchError):
        open_checkpoint(tmp_path).tensors["w"].read()
