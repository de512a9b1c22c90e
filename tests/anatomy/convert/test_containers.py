"""What is written can be read by those whose format it is, and nothing half-written is left behind."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from fromscratch.anatomy.convert import copying
from fromscratch.anatomy.convert.convert import apply_plan
from fromscratch.anatomy.convert.gguf_file import Typed, write_gguf
from fromscratch.anatomy.convert.plan import Output, Plan, Slice
from fromscratch.anatomy.convert.safetensors_file import shard_names
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError

ARRAYS = {name: np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32) for name in "abc"}
ARRAYS["norm"] = np.arange(7, dtype=np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    (tmp_path / "source").mkdir()
    save_file(ARRAYS, tmp_path / "source" / "model.safetensors")
    return open_checkpoint(tmp_path / "source")


def outputs(file: str = "model.safetensors", kind: str = "F32") -> tuple[Output, ...]:
    return tuple(
        Output(f"new.{name}", file, each.shape, kind, (Slice(name, (0, each.shape[0]), (0, each[0].size)),))
        for name, each in ARRAYS.items()
    )


def plan(*made: Output) -> Plan:
    return Plan("source", "safetensors", "llama", made)


@pytest.mark.parametrize("refusing", ["neither", "copy_file_range", "both"])
def test_bytes_are_the_same_however_the_system_copies(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(18, "across devices")

    if refusing != "neither":
        monkeypatch.setattr(os, "copy_file_range", refuse)
    if refusing == "both":
        monkeypatch.setattr(os, "sendfile", refuse)
    monkeypatch.setattr(copying, "CHUNK_BYTES", 100)
    counted: list[int] = []
    if refusing == "both":
        with pytest.raises(OSError, match="across devices"):
            apply_plan(plan(*outputs()), source, tmp_path, counted.append)
        assert [each.name for each in tmp_path.iterdir()] == ["source"], "nothing half-written stays"
        return
    apply_plan(plan(*outputs()), source, tmp_path, counted.append)
    written = load_file(tmp_path / "model.safetensors")
    assert all(written[f"new.{name}"].tobytes() == each.tobytes() for name, each in ARRAYS.items())
    assert sum(counted) == sum(each.nbytes for each in ARRAYS.values())


def test_a_source_that_was_cut_meanwhile_is_refused(source: Checkpoint, tmp_path: Path) -> None:
    file = Path(source.place) / "model.safetensors"
    os.truncate(file, file.stat().st_size - 8)
    with pytest.raises(FromScratchError, match=r"ends .* bytes before its last tensor does"):
        apply_plan(plan(*outputs()), source, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_shards_are_filled_in_order_and_have_an_index(source: Checkpoint, tmp_path: Path) -> None:
    assert shard_names([4, 4, 4], 8) == ["model-00001-of-00002.safetensors"] * 2 + ["model-00002-of-00002.safetensors"]
    assert shard_names([40, 4], 8) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert shard_names([4, 4], 8) == ["model.safetensors"] * 2
    one, *others = outputs()
    apply_plan(plan(*outputs("x-1.safetensors")[:1], *outputs("x-2.safetensors")[1:]), source, tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {one.name: "x-1.safetensors", **{each.name: "x-2.safetensors" for each in others}}
    assert index["metadata"]["total_size"] == sum(each.nbytes for each in ARRAYS.values())


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_torch_reads_the_archive_without_running_code(source: Checkpoint, tmp_path: Path, kind: str) -> None:
    apply_plan(plan(*outputs("lit_model.pth", kind)), source, tmp_path)
    for mapped in (False, True):
        read = torch.load(tmp_path / "lit_model.pth", weights_only=True, mmap=mapped)
        dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind]
        assert list(read) == [f"new.{name}" for name in ARRAYS]
        for name, each in ARRAYS.items():
            assert torch.equal(read[f"new.{name}"], torch.from_numpy(each).to(dtype))
            assert read[f"new.{name}"].data_ptr() % 4 == 0


def test_gguf_keeps_table_and_tensors(source: Checkpoint, tmp_path: Path) -> None:
    table = {
        "general.architecture": Typed("string", "llama"),
        "a.count": Typed("u32", 7),
        "a.share": Typed("f32", 0.5),
        "a.is": Typed("bool", True),
        "a.texts": Typed("string", ["one", "zwei", "三"]),
        "a.numbers": Typed("i32", [-1, 2]),
        "a.nothing": Typed("f32", []),
    }
    made = (*outputs("x.gguf")[:3], Output("norm", "x.gguf", (7,), "F32", (Slice("norm", (0, 7), (0, 1)),)))
    write_gguf(tmp_path / "x.gguf", table, made, source, lambda _: None)
    read = open_checkpoint(tmp_path / "x.gguf")
    assert {key: read.config[key] for key in table} == {key: each.value for key, each in table.items()}
    assert read.tensors["norm"].offset % 32 == 0 and read.tensors["norm"].shape == (7,)
    assert all(np.array_equal(read.tensors[f"new.{name}"].read(), ARRAYS[name]) for name in "abc")


def test_what_is_left_out_between_two_tensors_is_not_copied(source: Checkpoint, tmp_path: Path) -> None:
    by_disk = sorted(outputs(), key=lambda each: source.tensors[each.name.removeprefix("new.")].offset)
    apply_plan(plan(by_disk[0], *by_disk[2:]), source, tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert all(each.tobytes() == ARRAYS[name.removeprefix("new.")].tobytes() for name, each in written.items())
