"""Checkpoints on disk: each is wholly there and digested, or set aside with its reason and the one before is taken."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromscratch.core.files import atomic_write, canonical_json, digest_file, digest_value, sync_folder

__all__ = ["Checkpoint", "Damage", "newest_checkpoint", "remove_old_checkpoints", "save_checkpoint"]

TENSORS = "tensors.safetensors"
COMMIT = "commit.json"
REASON = "reason.txt"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint. ``digest`` is the SHA-256 of its tensors file: equal states have equal digests."""

    folder: Path
    step: int
    digest: str
    facts: Mapping[str, Any] = field(repr=False)

    def read_tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, on the CPU, to the bit as it was saved."""
        return load_file(self.folder / TENSORS)


@dataclass(frozen=True)
class Damage:
    """A checkpoint that is not what was written, and where it now lies for whoever wants to look."""

    step: int
    reason: str
    moved_to: Path


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Checkpoint:
    """Write a checkpoint that is durable on return and invisible before.

    Tensors of any dtype go into one safetensors file; the commit record with its digest follows when that is
    fsynced, and the rename when both are. ``facts`` are plain finite JSON values. A checkpoint of the same step
    is replaced. Raises OSError, with nothing left behind, when the disk is full or refuses.
    """
    unfinished = folder / f".{_name(step)}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed in here
        unfinished.mkdir(parents=True)
        with atomic_write(unfinished / TENSORS) as temporary:
            _write_tensors(temporary, tensors)
        written = unfinished / TENSORS
        files = {TENSORS: {"bytes": written.stat().st_size, "sha256": digest_file(written)}}
        body = {"format": FORMAT, "step": step, "facts": dict(facts), "files": files}
        with atomic_write(unfinished / COMMIT) as temporary:
            temporary.write_bytes(_seal(body))
        final = folder / _name(step)
        if final.exists():
            _discard(final)
        unfinished.rename(final)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_folder(folder)
    return _checkpoint(final, body)


def newest_checkpoint(folder: Path, on_damage: Callable[[Damage], None] | None = None) -> Checkpoint | None:
    """The newest checkpoint of which every byte is as written, or None.

    A damaged one is renamed, its reason beside it in ``reason.txt``, told to ``on_damage``, and the one before is
    tried. What a killed save or removal left is removed.
    """
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


def remove_old_checkpoints(folder: Path, keep: int) -> None:
    """Keep the newest ``keep`` checkpoints, at least one; damaged ones that were set aside count for nothing."""
    for old in _committed(folder)[: -max(1, keep)]:
        _discard(old)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _committed(folder: Path) -> list[Path]:
    found = [each for each in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", each.name)]
    return sorted(found, key=lambda each: int(each.name.removeprefix("step-")))


def _discard(folder: Path) -> None:
    """Remove a checkpoint; a kill in the middle leaves no committed name with files missing."""
    removing = folder.with_name(f".{folder.name}.removing")
    folder.rename(removing)
    shutil.rmtree(removing)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # its only failure on sound tensors is the disk
        raise OSError(f"{path}: {error}") from error


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
    return Checkpoint(folder, body["step"], body["files"][TENSORS]["sha256"], body["facts"])


def _set_aside(folder: Path, reason: str) -> Damage:
    taken = len(list(folder.parent.glob(f"damaged-{folder.name}*")))
    target = folder.with_name(f"damaged-{folder.name}" + (f"-{taken + 1}" if taken else ""))
    folder.rename(target)
    (target / REASON).write_text(reason + "\n", encoding="utf-8")
    sync_folder(folder.parent)
    return Damage(int(folder.name.removeprefix("step-")), reason, target)
