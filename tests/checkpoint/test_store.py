"""A checkpoint is wholly there, or set aside with its reason; what was saved comes back to the bit."""

import errno
import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fromscratch.checkpoint import store
from fromscratch.checkpoint.store import Damage, newest_checkpoint, remove_old_checkpoints, save_checkpoint

TENSORS = "__0_0.distcp"  # of the only process


def tensors(seed: int = 0) -> dict[str, Tensor]:
    """Every dtype that training keeps, with the values that a careless format loses."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "model.weight": torch.randn(5, 7, generator=generator),
        "model.odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "model.half": torch.randn(9, generator=generator).bfloat16(),
        "optimizer.step": torch.tensor(7.0),
        "position": torch.tensor([2**62 + 1, -1]),
        "model.turned": torch.randn(3, 4, generator=generator).T,
        "empty": torch.empty(0, 4),
    }


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().flatten().view(torch.uint8).numpy()) if tensor.numel() else b""


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype and one[name].shape == two[name].shape and bits(one[name]) == bits(two[name])
        for name in one
    )


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Let the system refuse longer files, as a full disk does, without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path / "checkpoints", 12, tensors(), {"tokens": 99})
    found = newest_checkpoint(tmp_path / "checkpoints")
    assert found == saved
    assert (found.step, found.facts) == (12, {"tokens": 99})
    assert same(found.read_tensors(), tensors())


def test_equal_states_have_equal_digests_and_others_have_not(tmp_path: Path) -> None:
    digests = [
        save_checkpoint(tmp_path / str(seed_and_place), 1, tensors(seed), {}).digest
        for seed_and_place, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_there_is_no_newest_checkpoint_where_there_is_no_folder(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_the_newest_is_the_one_of_the_highest_step_beyond_eight_digits_too(tmp_path: Path) -> None:
    for step in (5, 100_000_000, 99_999_999):
        save_checkpoint(tmp_path, step, {"a": torch.tensor(step)}, {})
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100_000_000


def test_saving_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors(0), {})
    save_checkpoint(tmp_path, 1, tensors(1), {})
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert same(found.read_tensors(), tensors(1))
    assert [each.name for each in tmp_path.iterdir()] == ["step-00000001"]


def test_any_flipped_bit_is_found_and_the_one_before_is_taken(tmp_path: Path) -> None:
    pristine = tmp_path / "pristine"
    save_checkpoint(pristine, 1, tensors(1), {"tokens": 10})
    save_checkpoint(pristine, 2, tensors(2), {"tokens": 20})
    draw = random.Random(0)
    files = {name: (pristine / "step-00000002" / name).stat().st_size for name in (store.COMMIT, store.PLACES, TENSORS)}
    for _ in range(200):
        name = draw.choice(sorted(files))
        offset, bit = draw.randrange(files[name]), draw.randrange(8)
        folder = tmp_path / "damaged"
        shutil.copytree(pristine, folder)
        with (folder / "step-00000002" / name).open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ (1 << bit)]))
        damages: list[Damage] = []
        found = newest_checkpoint(folder, damages.append)
        assert found is not None, (name, offset, bit)
        assert (found.step, [each.step for each in damages]) == (1, [2]), (name, offset, bit)
        assert name in damages[0].reason
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", [store.COMMIT, store.PLACES, TENSORS])
@pytest.mark.parametrize("left_bytes", [None, 0, 1, -1], ids=["missing", "empty", "one byte", "one byte short"])
def test_a_cut_or_missing_file_is_found(tmp_path: Path, name: str, left_bytes: int | None) -> None:
    save_checkpoint(tmp_path, 1, tensors(1), {})
    save_checkpoint(tmp_path, 2, tensors(2), {})
    path = tmp_path / "step-00000002" / name
    content = path.read_bytes()
    if left_bytes is None:
        path.unlink()
    else:
        path.write_bytes(content[:left_bytes])
    damages: list[Damage] = []
    found = newest_checkpoint(tmp_path, damages.append)
    assert found is not None
    assert found.step == 1
    assert name in damages[0].reason
    assert name == store.COMMIT or left_bytes is None or "bytes and not" in damages[0].reason


def test_a_damaged_checkpoint_is_set_aside_with_its_reason_and_not_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        save_checkpoint(tmp_path, 3, tensors(), {})
        (tmp_path / "step-00000003" / TENSORS).write_bytes(b"")
        damages: list[Damage] = []
        assert newest_checkpoint(tmp_path, damages.append) is None
        assert len(damages) == 1
        assert (damages[0].moved_to / store.REASON).read_text() == damages[0].reason + "\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["damaged-step-00000003", "damaged-step-00000003-2"]


def test_a_checkpoint_under_the_name_of_another_step_is_damage(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors(), {})
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000009")
    assert newest_checkpoint(tmp_path) is None


def test_what_a_killed_save_left_is_never_taken_and_is_removed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors(1), {})
    save_checkpoint(tmp_path, 2, tensors(2), {})
    (tmp_path / "step-00000002").rename(tmp_path / ".step-00000002.unfinished")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert [each.name for each in tmp_path.iterdir()] == ["step-00000001"]


def test_a_full_disk_is_an_oserror_that_leaves_nothing_behind(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors(), {})
    with files_limited_to(500), pytest.raises(OSError, match=r"File too large.*step-00000002"):
        save_checkpoint(tmp_path, 2, tensors(), {})
    assert [each.name for each in tmp_path.iterdir()] == ["step-00000001"]
    assert newest_checkpoint(tmp_path) is not None
    assert save_checkpoint(tmp_path, 2, tensors(), {}).step == 2


@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_a_disk_that_refuses_at_the_commit_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    save_checkpoint(tmp_path, 1, tensors(), {})
    calls = 0

    def refuse(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync" if fails == "fsync" else "pathlib.Path.rename", refuse)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(tmp_path, 2, tensors(), {})
    assert calls == 1
    assert [each.name for each in tmp_path.iterdir()] == ["step-00000001"]


def test_the_commit_record_is_written_after_the_tensors_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("os.fsync", lambda _: order.append("fsync"))
    write_tensors, seal = store._write_tensors, store._seal
    monkeypatch.setattr(store, "_write_tensors", lambda *each: (write_tensors(*each), order.append("tensors")))
    monkeypatch.setattr(store, "_seal", lambda body: (order.append("commit"), seal(body))[1])
    save_checkpoint(tmp_path, 1, tensors(), {})
    # Both files of the tensors and their folder; then the record, and its folder after the rename; last comes the
    # folder of all checkpoints.
    assert order == ["fsync", "fsync", "tensors", "fsync", "commit", "fsync", "fsync", "fsync"]


def test_retention_keeps_the_newest_and_never_counts_what_was_set_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, step, {"a": torch.tensor(step)}, {})
    (tmp_path / "step-00000004" / store.COMMIT).unlink()
    newest_checkpoint(tmp_path)
    remove_old_checkpoints(tmp_path, keep=2)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "damaged-step-00000004",
        "step-00000002",
        "step-00000003",
    ]
    remove_old_checkpoints(tmp_path, keep=0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["damaged-step-00000004", "step-00000003"]
