"""PyTorch's zip archives are read without unpickling: every layout of a tensor, and nothing that a pickle asks for."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fromscratch.anatomy.opening import strided
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError


def saved(value: Any, path: Path) -> Checkpoint:
    torch.save(value, path)
    return open_checkpoint(path)


def assert_same(checkpoint: Checkpoint, expected: dict[str, Tensor]) -> None:
    assert set(checkpoint.tensors) == set(expected)
    for name, each in expected.items():
        tensor = each.detach()
        numbers = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
        stored = checkpoint.tensors[name]
        assert stored.name == name
        np.testing.assert_array_equal(stored.read(), numbers, strict=True)
        if tensor.dim() and len(tensor) > 2:
            np.testing.assert_array_equal(stored.read_rows(1, 3), numbers[1:3])
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        assert stored.read_raw(0, stored.nbytes) == raw
        assert stored.read_raw(len(raw) // 3, len(raw) // 3) == raw[len(raw) // 3 :][: len(raw) // 3]


BASE = torch.arange(48, dtype=torch.float32).reshape(6, 8)
LAYOUTS = {
    "whole": BASE,
    "transposed": BASE.t(),
    "cut out": BASE[1:4, 2:7],
    "every second row": BASE[::2],
    "one row": BASE[2],
    "one column": BASE[:, 3],
    "repeated": torch.arange(5.0).expand(4, 5),
    "permuted": torch.arange(60).reshape(3, 4, 5).permute(2, 0, 1),
    "permuted bytes": torch.arange(60, dtype=torch.int8).reshape(3, 4, 5).permute(1, 2, 0),
    "parameter": nn.Parameter(torch.ones(3)),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    "bfloat16": BASE.bfloat16().t(),
    "float16": BASE.half(),
    "float64": BASE.double(),
    "float8": BASE.to(torch.float8_e4m3fn),
    "float8 cut out": BASE.to(torch.float8_e5m2)[2:, 1:],
    "uint16": BASE.to(torch.uint16),
    "bool": BASE > 20,
    "int64": BASE.long()[:, ::3],
    "complex": torch.complex(BASE, -BASE),
}


def test_every_dtype_and_every_layout_over_a_storage(tmp_path: Path) -> None:
    checkpoint = saved(LAYOUTS, tmp_path / "model.bin")
    assert checkpoint.format == "pytorch"
    assert checkpoint.remarks == ()
    assert_same(checkpoint, LAYOUTS)


def test_a_large_transposed_tensor_is_gathered_in_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strided, "GATHERED_BYTES", 64)
    assert_same(saved(LAYOUTS, tmp_path / "model.bin"), LAYOUTS)


def test_tied_tensors_share_their_bytes(tmp_path: Path) -> None:
    tensors = saved({"a": BASE, "b": BASE}, tmp_path / "model.pt").tensors
    assert tensors["a"].offset == tensors["b"].offset


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
        self.lm_head = nn.Linear(2, 3, bias=False)
        self.register_buffer("positions", torch.arange(4))


def test_a_module_that_was_pickled_whole_has_the_names_of_its_state_dict(tmp_path: Path) -> None:
    tower = Tower()
    assert_same(saved(tower, tmp_path / "model.pt"), dict(tower.state_dict()))


def test_a_trainers_state_is_read_as_its_model(tmp_path: Path) -> None:
    tower = Tower()
    optimizer = torch.optim.AdamW(tower.parameters())
    tower.lm_head(tower.model(torch.ones(1, 3))).sum().backward()
    optimizer.step()
    state = {"model": tower.state_dict(), "optimizer": optimizer.state_dict(), "step": torch.tensor(3), "lr": 1e-3}
    checkpoint = saved(state, tmp_path / "last.pt")
    assert_same(checkpoint, dict(tower.state_dict()))
    assert "`model` is taken for the model; 16 tensors beside it are left out" in checkpoint.remarks[0]
    nested = saved({"app": {"model": {"a": {"b": BASE}}, "optim": {"x": BASE}}}, tmp_path / "nested.pt")
    assert set(nested.tensors) == {"a.b"}
    beside = saved({"w": BASE, "optimizer": {"w": BASE}, "deep": {"w": BASE}}, tmp_path / "beside.pt")
    assert set(beside.tensors) == {"w", "deep.w"}
    assert "the model is taken alone; 1 tensors beside it are left out" in beside.remarks[0]


def test_a_torchscript_archive_is_read_too(tmp_path: Path) -> None:
    tower = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with pytest.warns(DeprecationWarning):
        torch.jit.script(tower).save(str(tmp_path / "model.pt"))  # type: ignore[no-untyped-call]
    assert_same(open_checkpoint(tmp_path / "model.pt"), dict(tower.state_dict()))


# ---- hostile pickles


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def test_a_hostile_pickle_is_read_as_names_and_shapes_and_calls_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    value = OrderedDict(w=BASE, x=Calls(os.system, f"touch {trace}"), y=Calls(exec, f"open({str(trace)!r}, 'w')"))
    checkpoint = saved(value, tmp_path / "model.bin")
    assert checkpoint.tensors["w"].shape == (6, 8)
    assert not trace.exists()
    assert checkpoint.remarks == ("model.bin: its pickle names __builtin__.exec, posix.system, which was not called",)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED) -> Path:
    """The archive with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class Storage:
    """What PyTorch's pickler writes for a storage."""

    def __init__(self, values: Any = 48, key: Any = "0") -> None:
        self.reference = ("storage", torch.FloatStorage, key, "cpu", values)


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.reference if isinstance(value, Storage) else None


def described(*arguments: Any, function: Any = torch._utils._rebuild_tensor_v2) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, 2).dump({"w": Calls(function, *arguments)})
    return stream.getvalue()


GOOD = (Storage(), 0, (6, 8), (8, 1), False, OrderedDict())
WRONG = {
    "beyond its storage": (described(Storage(), 1, *GOOD[2:]), "reaches out of its storage"),
    "strides beyond it": (described(Storage(), 0, (6, 8), (9, 1), *GOOD[4:]), "reaches out of its storage"),
    "a negative offset": (described(Storage(), -1, *GOOD[2:]), "described by no storage"),
    "a negative stride": (described(Storage(), 5, (6,), (-1,), *GOOD[4:]), "tensor `w, strides` has the shape (-1,)"),
    "an absurd shape": (described(Storage(), 0, (2**40, 2**40), (0, 0), *GOOD[4:]), "has the shape (1099511627776,"),
    "repeated beyond use": (described(Storage(), 0, (2**40,), (0,), *GOOD[4:]), "repeats a storage of 192 bytes"),
    "fewer strides": (described(Storage(), 0, (6, 8), (1,), *GOOD[4:]), "is missing, or has not"),
    "another size": (described(Storage(47), *GOOD[1:]), "is missing, or has not 188 bytes"),
    "an absurd size": (described(Storage(2**70), *GOOD[1:]), "described by no storage"),
    "no such storage": (described(Storage(key="7"), *GOOD[1:]), "the storage `7` of tensor `w` is missing"),
    "a path for a storage": (described(Storage(key="../../w"), *GOOD[1:]), "is missing, or has not"),
    "no storage at all": (described(3, *GOOD[1:]), "described by no storage"),
    "too few arguments": (described(Storage()), "described by no storage"),
    "text for a shape": (described(Storage(), 0, "68", (8, 1)), "the shape 68"),
    "a number of 24,000 digits": (described(Storage(1 << 80_000), *GOOD[1:]), "described by no storage"),
    "a shape of 24,000 digits": (described(Storage(), 0, (1 << 80_000,), (1,)), "the shape a very large number"),
    "a shape within a shape": (described(Storage(), 0, ((((8,),),),), (1,)), "the shape ((((8,),),),)"),
    "a name to be obeyed": (described(Storage(key="\x1b[2J"), *GOOD[1:]), r"the storage `\x1b[2J` of"),
    "cut": (described(*GOOD)[:-20], "its pickle"),
    "nothing": (b"", "its pickle has its end at byte 0"),
    "an opcode of protocol 0": (b"\x80\x02I3\n.", "its pickle has INT at byte 2"),
    "an extension": (b"\x80\x02\x82\x01.", "its pickle has EXT1"),
    "no opcode": (b"\x80\x02\xff.", "its pickle has byte 255"),
    "an empty stack": (b"\x80\x02.", "its pickle breaks"),
    "a mark that is missing": (b"\x80\x02t.", "its pickle breaks"),
    "a memo that is missing": (b"\x80\x02h\x07.", "its pickle breaks"),
    "a call of no name": (b"\x80\x02K\x01)R.", "its pickle breaks"),
    "text beyond the end": (b"\x80\x02X\xff\xff\xff\x7fabc.", "its pickle breaks"),
    "a number beyond the end": (b"\x80\x02\x8b\xff\xff\xff\x7f1.", "its pickle breaks"),
    "no tensors": (pickle.dumps({"a": 1}, 2), "holds no tensors"),
    "deep": (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "holds no tensors"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_description_is_refused(wrong: str, tmp_path: Path) -> None:
    content, said = WRONG[wrong]
    torch.save({"w": BASE}, tmp_path / "model.bin")
    path = rewritten(tmp_path / "model.bin", lambda members: members.update({"model/data.pkl": content}))
    with pytest.raises(FromScratchError) as caught:
        open_checkpoint(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_the_description_that_the_wrong_ones_vary_is_right(tmp_path: Path) -> None:
    torch.save({"w": BASE}, tmp_path / "model.bin")
    path = rewritten(tmp_path / "model.bin", lambda members: members.update({"model/data.pkl": described(*GOOD)}))
    assert_same(open_checkpoint(path), {"w": BASE})


def test_tables_that_contain_each_other_or_themselves_end(tmp_path: Path) -> None:
    # Twenty tables, each twice in the one before: a million paths; and a list in itself.
    table: Any = {"w": BASE}
    for _ in range(20):
        table = {"left": table, "right": table}
    loop: list[Any] = []
    loop.append(loop)
    assert len(saved({"table": table, "loop": loop}, tmp_path / "model.bin").tensors) == 1


def test_names_and_tables_that_a_pickle_repeats_take_no_time(tmp_path: Path) -> None:
    # A megabyte of name over a hundred tensors, and a module of twenty thousand tables in each other.
    with pytest.raises(FromScratchError, match="a tensor is called `xxxx"):
        saved({"x" * 1_000_000: {str(number): BASE for number in range(100)}}, tmp_path / "model.bin")
    deep = pickle.dumps({"a": Calls(Tower)}, 2)[:-2] + b"}" + b"X\1\0\0\0k}" * 20_000 + b"s" * 20_000 + b"bs."
    path = rewritten(tmp_path / "model.bin", lambda members: members.update({"model/data.pkl": deep}))
    with pytest.raises(FromScratchError, match="holds no tensors"):
        open_checkpoint(path)


def test_a_pickle_of_too_many_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fromscratch.anatomy.opening.pickle_data.OBJECTS_AT_MOST", 1000)
    torch.save({"w": BASE, "x": [[] for _ in range(1000)]}, tmp_path / "model.bin")
    with pytest.raises(FromScratchError, match="more than 1,000 objects"):
        open_checkpoint(tmp_path / "model.bin")


def test_archives_that_are_not_pytorchs_are_refused(tmp_path: Path) -> None:
    torch.save({"w": BASE}, tmp_path / "model.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    np.savez(tmp_path / "numpy.npz", w=BASE.numpy())
    (tmp_path / "cut.bin").write_bytes(whole[:-30])
    (tmp_path / "directory.bin").write_bytes(
        whole.replace(b"PK\x03\x04", b"PK\x03\x05").replace(b"PK\x03\x05", b"PK\x03\x04", 1)
    )
    torch.save({"w": BASE}, tmp_path / "deflated.bin")
    rewritten(tmp_path / "deflated.bin", lambda _: None, zipfile.ZIP_DEFLATED)
    torch.save({"w": BASE}, tmp_path / "big.bin")
    rewritten(tmp_path / "big.bin", lambda members: members.update({"big/byteorder": b"big"}))
    torch.save({"w": BASE}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for name, said in {
        "numpy.npz": "is a zip archive, and none of PyTorch's",
        "cut.bin": "no whole zip archive",
        "directory.bin": "is not where it should be",
        "deflated.bin": "is a zip archive, and none of PyTorch's",
        "big.bin": "written on a big-endian machine",
        "old.bin": "of PyTorch's format before version 1.6",
    }.items():
        with pytest.raises(FromScratchError, match=said):
            open_checkpoint(tmp_path / name)


def test_a_member_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    torch.save({"w": BASE}, tmp_path / "model.bin")
    with zipfile.ZipFile(tmp_path / "model.bin", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("model/data/0", bytes(192))
    with pytest.raises(FromScratchError, match="`model/data/0` stands there twice"):
        open_checkpoint(tmp_path / "model.bin")
