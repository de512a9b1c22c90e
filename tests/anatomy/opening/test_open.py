"""A place is opened as what lies there: shards, stale indexes, several formats, links, URLs, our own folders."""

import json
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from fromscratch.anatomy.opening import open as opening
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.checkpoint.store import save_checkpoint
from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import save_model
from fromscratch.model.settings import DecoderSettings
from tests.anatomy.opening.files import gguf_bytes, write_safetensors

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((4,), np.float32)


def write_index(path: Path, weight_map: dict[str, str]) -> Path:
    path.write_text(json.dumps({"metadata": {"total_size": 40}, "weight_map": weight_map}))
    return path


def write_shards(folder: Path) -> dict[str, str]:
    write_safetensors(folder / "model-00001-of-00002.safetensors", {"a": A})
    write_safetensors(folder / "model-00002-of-00002.safetensors", {"b": B})
    return {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}


def test_shards_are_one_model_with_index_and_without(tmp_path: Path) -> None:
    weight_map = write_shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for place in (tmp_path, tmp_path / weight_map["b"], write_index(index, weight_map), tmp_path):
        checkpoint = open_checkpoint(place)
        assert set(checkpoint.tensors) == {"a", "b"}
        assert checkpoint.tensors["b"].file == weight_map["b"]
        assert checkpoint.remarks == ()
        np.testing.assert_array_equal(checkpoint.tensors["a"].read(), A)


def test_a_stale_index_is_a_remark_and_the_headers_are_believed(tmp_path: Path) -> None:
    weight_map = write_shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    write_index(index, {"a": "model-00001-of-00003.safetensors"})
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == {"a", "b"}
    assert checkpoint.remarks == (
        "model.safetensors.index.json is stale: it names model-00001-of-00003.safetensors, which is not there",
    )
    write_index(index, {"old_a": weight_map["a"], "b": weight_map["b"]})
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == {"a", "b"}
    assert checkpoint.remarks == (
        "model.safetensors.index.json: 1 tensors are in no file, such as `old_a`",
        "the files: 1 tensors are in no index, such as `a`",
    )


def test_a_single_file_is_taken_before_an_index_as_transformers_does(tmp_path: Path) -> None:
    write_index(tmp_path / "model.safetensors.index.json", write_shards(tmp_path))
    write_safetensors(tmp_path / "model.safetensors", {"whole": A})
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == {"whole"}
    assert checkpoint.remarks == ("model.safetensors is read, and not what model.safetensors.index.json lists",)


def test_a_tensor_saved_alone_has_a_name(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "x.pt")
    assert open_checkpoint(tmp_path / "x.pt").tensors["tensor"].name == "tensor"


def test_safetensors_are_taken_before_a_bin_its_index_and_a_gguf(tmp_path: Path) -> None:
    write_shards(tmp_path)
    torch.save({"c": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    write_index(tmp_path / "pytorch_model.bin.index.json", {"x": "pytorch_model-00001-of-00001.bin"})
    (tmp_path / "model.gguf").write_bytes(gguf_bytes({}, [("d", (1,), "F32", bytes(4))]))
    assert set(open_checkpoint(tmp_path).tensors) == {"a", "b"}
    assert set(open_checkpoint(tmp_path / "pytorch_model.bin").tensors) == {"c"}
    assert set(open_checkpoint(tmp_path / "model.gguf").tensors) == {"d"}


def test_a_sharded_bin_is_read_by_its_index_and_the_optimizer_is_passed_over(tmp_path: Path) -> None:
    for number, name in enumerate("ab", start=1):
        torch.save({name: torch.full((2,), number)}, tmp_path / f"pytorch_model-0000{number}-of-00002.bin")
    torch.save({"state": torch.ones(1)}, tmp_path / "optimizer.pt")
    torch.save([1], tmp_path / "training_args.bin")
    assert set(open_checkpoint(tmp_path).tensors) == {"a", "b"}
    weight_map = {name: f"pytorch_model-0000{number}-of-00002.bin" for number, name in enumerate("ab", start=1)}
    write_index(tmp_path / "pytorch_model.bin.index.json", weight_map)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.tensors["b"].read().tolist() == [2, 2]
    assert checkpoint.format == "pytorch"


def test_one_file_among_a_trainers_leavings_is_the_model(tmp_path: Path) -> None:
    for name in ("weights", "optimizer", "scheduler", "rng_state_0", "random_states-1"):
        torch.save({name: torch.ones(1)}, tmp_path / f"{name}.pt")
    assert set(open_checkpoint(tmp_path).tensors) == {"weights"}


def test_what_lies_beside_is_listed_and_read(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"a": A})
    (tmp_path / "config.json").write_text('{"model_type": "llama", "limit": [0, Infinity]}')
    (tmp_path / "modeling_llama.py").write_text("raise SystemExit('it was run')")
    (tmp_path / ".git").mkdir()
    for place in (tmp_path, tmp_path / "model.safetensors"):
        checkpoint = open_checkpoint(place)
        assert checkpoint.config == {"model_type": "llama", "limit": [0, float("inf")]}
        assert checkpoint.other_files == ("config.json", "modeling_llama.py")
        assert checkpoint.read_file("modeling_llama.py").startswith(b"raise")
    (tmp_path / "config.json").write_text('{"model_type": ')
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == {}
    assert "no JSON that can be read" in checkpoint.remarks[0]


REFUSED = {
    "an index out of the folder": ({"a": "../secret.safetensors"}, "leads out of the folder"),
    "an absolute index": ({"a": "/etc/passwd"}, "leads out of the folder"),
    "a Windows path": ({"a": "..\\secret.safetensors"}, "leads out of the folder"),
    "a URL": ({"a": "http://example.org/model.safetensors"}, "leads out of the folder"),
    "an index through a folder": ({"a": "sub/../../secret.safetensors"}, "leads out of the folder"),
    "nothing": ({"a": ""}, "leads out of the folder"),
    "no text": ({"a": 3}, "no `weight_map`"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_an_index_that_leads_out_of_the_folder_is_refused(wrong: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "secret.safetensors", {"s": A})
    folder = tmp_path / "model"
    folder.mkdir()
    write_safetensors(folder / "b.safetensors", {"b": B})
    weight_map, said = REFUSED[wrong]
    index = write_index(folder / "model.safetensors.index.json", weight_map)  # type: ignore[arg-type]
    for place in (index, folder):
        with pytest.raises(FromScratchError, match=said):
            open_checkpoint(place)


def test_links_out_of_the_folder_are_refused_but_those_of_the_hub_cache(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    write_safetensors(tmp_path / "blobs" / "0a1b", {"a": A})
    write_safetensors(tmp_path / "elsewhere.safetensors", {"a": A})
    folder = tmp_path / "snapshots" / "revision"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to("../../blobs/0a1b")
    assert set(open_checkpoint(folder).tensors) == {"a"}
    for target in ("../../elsewhere.safetensors", "/etc/hostname"):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").symlink_to(target)
        with pytest.raises(FromScratchError, match=r"is a link to .*, out of the folder"):
            open_checkpoint(folder)
    (folder / "licence").symlink_to("/etc/hostname")
    (folder / "model.safetensors").unlink()
    write_safetensors(folder / "model.safetensors", {"a": A})
    checkpoint = open_checkpoint(folder)
    with pytest.raises(FromScratchError, match="out of the folder"):
        checkpoint.read_file("licence")
    with pytest.raises(FromScratchError, match="leads out of the folder"):
        checkpoint.read_file("../../elsewhere.safetensors")
    # who names a link by itself means where it leads
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "blobs" / "0a1b")
    assert set(open_checkpoint(tmp_path / "link.safetensors").tensors) == {"a"}


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    for place in (tmp_path / "model.safetensors", Path("/dev/zero")):
        with pytest.raises(FromScratchError, match="is no plain file"):
            open_checkpoint(place)


def test_places_without_a_model_are_refused_in_words(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "one.safetensors", {"a": A})
    write_safetensors(tmp_path / "two.safetensors", {"a": A})
    with pytest.raises(FromScratchError, match=r"tensor `a` is in one.safetensors and in two.safetensors"):
        open_checkpoint(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FromScratchError, match="holds no model"):
        open_checkpoint(empty)
    write_index(empty / "model.safetensors.index.json", {"a": "model-00001-of-00002.safetensors"})
    with pytest.raises(FromScratchError, match="none of the files it names"):
        open_checkpoint(empty)
    write_safetensors(empty / "model-00002-of-00002.safetensors", {"a": A})
    for place in (empty, empty / "model-00002-of-00002.safetensors"):
        with pytest.raises(FromScratchError, match=r"part 1 of 2 is missing|00001-of-00002.safetensors: no such file"):
            open_checkpoint(place)
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "empty" / name).write_bytes(gguf_bytes({}, [("d", (1,), "F32", bytes(4))]))
    (empty / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FromScratchError, match=r"holds several models, such as a.gguf and b.gguf"):
        open_checkpoint(empty)
    (tmp_path / "pointer.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n"
    )
    with pytest.raises(FromScratchError, match="pointer of Git LFS"):
        open_checkpoint(tmp_path / "pointer.safetensors")
    (tmp_path / "page.html").write_text("<html></html>")
    with pytest.raises(FromScratchError, match="in no known format"):
        open_checkpoint(tmp_path / "page.html")
    with pytest.raises(FromScratchError, match="no such file or folder"):
        open_checkpoint(tmp_path / "missing")


def test_our_own_models_and_states_of_training_are_opened(tmp_path: Path) -> None:
    settings = DecoderSettings(layers=1, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=8)
    decoder = Decoder(settings, 64)
    save_model(tmp_path / "model", decoder)
    weights = {name: each.detach().numpy() for name, each in decoder.named_parameters()}
    model = open_checkpoint(tmp_path / "model")
    assert model.format == "fromscratch"
    assert model.config["settings"]["layers"] == 1
    state = {f"model.{name}": torch.from_numpy(each) for name, each in weights.items()}
    for step in (9, 10):
        tensors = {**state, "optimizer.step": torch.tensor(step)}
        save_checkpoint(tmp_path / "train" / "checkpoints", step, tensors, {"step": step})
    for place in ("train", "train/checkpoints", "train/checkpoints/step-00000010"):
        found = open_checkpoint(tmp_path / place)
        assert found.config["step"] == 10
        for each in (found, model):
            assert set(each.tensors) == set(weights)
            for name, array in weights.items():
                assert each.tensors[name].name == name
                np.testing.assert_array_equal(each.tensors[name].read(), array)


# ---- behind a URL


def put(folder: Path, url: str) -> None:
    fsspec.filesystem("memory").put(str(folder), url.removeprefix("memory:/"), recursive=True)


def test_a_url_is_opened_by_byte_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight_map = write_shards(tmp_path)
    large = np.arange(1 << 18, dtype=np.float32).reshape(512, 512)
    write_safetensors(tmp_path / weight_map["b"], {"b": large})
    (tmp_path / "config.json").write_text('{"model_type": "yi"}')
    put(tmp_path, "memory://opened/model")
    read = []
    memory = fsspec.implementations.memory.MemoryFile.read
    monkeypatch.setattr(
        fsspec.implementations.memory.MemoryFile, "read", lambda file, size=-1: read.append(size) or memory(file, size)
    )
    checkpoint = open_checkpoint("memory://opened/model")
    assert checkpoint.config == {"model_type": "yi"}
    assert checkpoint.other_files == ("config.json",)
    assert sum(read) < 2000
    np.testing.assert_array_equal(checkpoint.tensors["b"].read_rows(100, 103), large[100:103])
    assert read[-1] == 3 * 512 * 4
    for place in (weight_map["a"], weight_map["b"]):
        assert set(open_checkpoint(f"memory://opened/model/{place}").tensors) == {"a", "b"}
    with pytest.raises(FromScratchError, match="no such file or folder"):
        open_checkpoint("memory://opened/nothing")


def test_a_remote_index_that_leads_out_is_refused(tmp_path: Path) -> None:
    for wrong in ("../x.safetensors", "file:///etc/passwd", "x?y.safetensors", "a/../../x"):
        write_index(tmp_path / "model.safetensors.index.json", {"a": wrong})
        put(tmp_path, "memory://leading/model")
        with pytest.raises(FromScratchError, match="leads out of the folder"):
            open_checkpoint("memory://leading/model/model.safetensors.index.json")


def test_a_remote_archive_and_a_remote_gguf(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(6.0).reshape(2, 3).t()}, tmp_path / "model.bin")
    (tmp_path / "model.gguf").write_bytes(gguf_bytes({"k": 1}, [("d", (2,), "F32", B[:2].tobytes())]))
    put(tmp_path, "memory://formats/model")
    assert open_checkpoint("memory://formats/model/model.bin").tensors["w"].read().tolist() == [[0, 3], [1, 4], [2, 5]]
    gguf = open_checkpoint("memory://formats/model/model.gguf")
    assert gguf.config == {"k": 1}
    assert gguf.tensors["d"].read().tolist() == [1, 1]


def test_a_file_that_is_beside_is_not_read_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OTHER_FILE_BYTES_AT_MOST", 10)
    write_safetensors(tmp_path / "model.safetensors", {"a": A})
    (tmp_path / "notes.txt").write_text("x" * 11)
    with pytest.raises(FromScratchError, match="has 11 bytes"):
        open_checkpoint(tmp_path).read_file("notes.txt")
