"""Checkpoints on disk: each is wholly there and digested, or set aside with its reason and the one before is taken.

Tensors are in the format of ``torch.distributed.checkpoint``: each process writes what it holds into a file of its own,
and any other number of processes, however they share the tensors out, reads its part from there.
"""

import errno
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from fromscratch.core.files import atomic_write, canonical_json, digest_file, digest_value, sync_folder

__all__ = ["Blank", "Checkpoint", "Damage", "newest_checkpoint", "remove_old_checkpoints", "save_checkpoint"]

PLACES = ".metadata"  # which part of which tensor lies where; not the same bytes each time
COMMIT = "commit.json"
REASON = "reason.txt"
FORMAT = 2

Blank = Callable[[str, torch.Size, torch.dtype], Tensor | None]
"""Name, shape and type of a saved tensor → where to read it, as this process holds it; None for what it does not."""


def _whole(_name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint. ``digest`` is of its tensor files: equal states, equally shared out, have equal ones."""

    folder: Path
    step: int
    digest: str
    facts: Mapping[str, Any] = field(repr=False)

    def read_tensors(self, blank: Blank = _whole, group: dist.ProcessGroup | None = None) -> dict[str, Tensor]:
        """The tensors by name, to the bit as saved, each in the place that ``blank`` gives; whole when it is left out.

        With a ``group`` all its processes call this together.
        """
        reader = FileSystemReader(self.folder)
        saved = reader.read_metadata().state_dict_metadata
        places = {name: blank(name, each.size, each.properties.dtype) for name, each in saved.items()}  # type: ignore[union-attr]
        tensors: dict[str, Any] = {name: place for name, place in places.items() if place is not None}
        with _one_process_is_no_mistake():
            load(tensors, storage_reader=reader, process_group=group, no_dist=group is None)
        return tensors


@dataclass(frozen=True)
class Damage:
    """A checkpoint that is not what was written, and where it now lies for whoever wants to look."""

    step: int
    reason: str
    moved_to: Path


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    group: dist.ProcessGroup | None = None,
) -> Checkpoint:
    """Write a checkpoint that is durable on return and invisible before.

    With a ``group`` (gloo) all its processes call this together, each with the tensors or parts of tensors that it
    holds; the folder is one that all of them see. Each writes and digests a file; the commit record with all digests
    follows when those are fsynced, and the rename when it is. ``facts`` are plain finite JSON values. A checkpoint of
    the same step is replaced. Raises OSError on every process, with nothing left behind, when the disk of one is full
    or refuses.
    """
    unfinished = folder / f".{_name(step)}.unfinished"
    first = group is None or dist.get_rank(group) == 0
    with _together(group):
        if first:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed in here
            unfinished.mkdir(parents=True)
    try:
        _write_tensors(unfinished, tensors, group)
        files: dict[str, Any] = {}
        with _together(group):
            for each in sorted(unfinished.iterdir()):
                if each.name.startswith(f"__{_rank(group)}_") or (first and each.name == PLACES):
                    files[each.name] = {"bytes": each.stat().st_size, "sha256": digest_file(each)}
        for part in _gathered(files, group):
            files |= part
        body = {"format": FORMAT, "step": step, "facts": dict(facts), "files": files}
        with _together(group):
            if first:
                _commit(unfinished, folder / _name(step), body)
    except BaseException:
        if first:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return _checkpoint(folder / _name(step), body)


def newest_checkpoint(
    folder: Path, on_damage: Callable[[Damage], None] | None = None, group: dist.ProcessGroup | None = None
) -> Checkpoint | None:
    """The newest checkpoint of which every byte is as written, or None.

    A damaged one is renamed, its reason beside it in ``reason.txt``, told to ``on_damage``, and the one before is
    tried. What a killed save or removal left is removed. With a ``group`` all its processes call this together and
    have the same answer; the first of them looks.
    """
    if group is None:
        return _newest(folder, on_damage)
    answer: list[Any] = [None]
    with _together(group):
        if dist.get_rank(group) == 0:
            answer = [_newest(folder, on_damage)]
    dist.broadcast_object_list(answer, group=group, group_src=0)
    found: Checkpoint | None = answer[0]
    return found


def remove_old_checkpoints(folder: Path, keep: int) -> None:
    """Keep the newest ``keep`` checkpoints, at least one; damaged ones that were set aside count for nothing."""
    for old in _committed(folder)[: -max(1, keep)]:
        _discard(old)


def _newest(folder: Path, on_damage: Callable[[Damage], None] | None) -> Checkpoint | None:
    for torn in folder.glob(".step-*"):
        shutil.rmtree(torn)
    for candidate in reversed(_committed(folder)):
        try:
            return _checkpoint(candidate, _verify(candidate))
        except ValueError as error:
            damage = _set_aside(candidate, str(error))
            if on_damage is not None:
                on_damage(damage)
    return None


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _rank(group: dist.ProcessGroup | None) -> int:
    return 0 if group is None else dist.get_rank(group)


def _committed(folder: Path) -> list[Path]:
    found = [each for each in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", each.name)]
    return sorted(found, key=lambda each: int(each.name.removeprefix("step-")))


def _discard(folder: Path) -> None:
    """Remove a checkpoint; a kill in the middle leaves no committed name with files missing."""
    removing = folder.with_name(f".{folder.name}.removing")
    folder.rename(removing)
    shutil.rmtree(removing)


def _write_tensors(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Every process its file, fsynced, and the first one the places of all."""
    writer = FileSystemWriter(folder, overwrite=False)
    try:
        with _one_process_is_no_mistake():
            save(dict(tensors), storage_writer=writer, process_group=group, no_dist=group is None)
    except CheckpointException as error:  # the same on all processes
        reason, _ = next(iter(error.failures.values()))
        if not isinstance(reason, OSError | RuntimeError):
            raise
        # The archive writer of torch tells of a full disk by a RuntimeError without a number.
        number = reason.errno if isinstance(reason, OSError) and reason.errno else errno.EIO
        raise OSError(number, str(getattr(reason, "strerror", reason)), str(folder)) from error


def _commit(unfinished: Path, final: Path, body: Mapping[str, Any]) -> None:
    sync_folder(unfinished)
    with atomic_write(unfinished / COMMIT) as temporary:
        temporary.write_bytes(_seal(body))
    if final.exists():
        _discard(final)
    unfinished.rename(final)
    sync_folder(final.parent)


def _gathered(value: Any, group: dist.ProcessGroup | None) -> list[Any]:
    if group is None:
        return [value]
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


@contextmanager
def _together(group: dist.ProcessGroup | None) -> Iterator[None]:
    """What fails in the block with an OSError on one process fails on all of them, so that none waits for another."""
    failure: OSError | None = None
    try:
        yield
    except OSError as error:
        failure = error
    failures = [each for each in _gathered(failure, group) if each is not None]
    if failures:
        raise failure or failures[0]


@contextmanager
def _one_process_is_no_mistake() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _seal(body: Mapping[str, Any]) -> bytes:
    """The commit record: one canonical line that holds its own digest, so that no byte of it can change unseen."""
    return (canonical_json({**body, "seal": digest_value(body)}) + "\n").encode()


def _verify(folder: Path) -> dict[str, Any]:
    """The commit record of a checkpoint that is sound. Raises ValueError with the reason of one that is not."""
    body = _read_commit(folder / COMMIT)
    if _name(body["step"]) != folder.name:
        raise ValueError(f"{folder.name} holds the record of step {body['step']}")
    for name, expected in body["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{name} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise ValueError(f"{name} has {path.stat().st_size:,} bytes and not {expected['bytes']:,}")
        if _digest(path) != expected["sha256"]:
            raise ValueError(f"{name} is not what was written: its digest differs")
    return body


def _read_commit(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    raw = path.read_bytes()
    try:
        body = json.loads(raw)
        del body["seal"]
        sound = _seal(body) == raw and body["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ValueError(f"{path.name} is not what was written: its seal differs")
    return dict(body)


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except PermissionError:
        raise
    except OSError as error:  # a disk that cannot give the bytes back
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error


def _checkpoint(folder: Path, body: Mapping[str, Any]) -> Checkpoint:
    tensors = {name: each["sha256"] for name, each in body["files"].items() if name != PLACES}
    return Checkpoint(folder, body["step"], digest_value(tensors), body["facts"])


def _set_aside(folder: Path, reason: str) -> Damage:
    taken = len(list(folder.parent.glob(f"damaged-{folder.name}*")))
    target = folder.with_name(f"damaged-{folder.name}" + (f"-{taken + 1}" if taken else ""))
    folder.rename(target)
    (target / REASON).write_text(reason + "\n", encoding="utf-8")
    sync_folder(folder.parent)
    return Damage(int(folder.name.removeprefix("step-")), reason, target)
