"""Safetensors files read by their header and written anew under other names, without loading the tensors.

The format: 8 bytes of length (little-endian), a JSON header of that length, then the tensors' bytes, to which the
header's offsets are relative (https://github.com/huggingface/safetensors).
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, write_json

__all__ = ["WEIGHTS", "TensorEntry", "read_header", "rewrite"]

WEIGHTS = "model.safetensors"
CHUNK_BYTES = 1 << 24
DAMAGED = "it is damaged; remove its folder and run the same command again"


@dataclass(frozen=True)
class TensorEntry:
    """A tensor as a header names it. Its bytes start at ``begin`` of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    bytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> list[TensorEntry]:
    """The tensors of a safetensors file by name. Raises FromScratchError for anything else."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        entries = [_entry(name, each, 8 + length) for name, each in header.items() if name != "__metadata__"]
    except FileNotFoundError:
        raise FromScratchError(f"{path}: no such file", "run the command that makes it") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise FromScratchError(f"{path}: not a safetensors file ({error})", DAMAGED) from None
    return sorted(entries, key=lambda each: each.name)


def rewrite(source: Path, folder: Path, names: Mapping[str, str], max_shard_bytes: int) -> dict[str, dict[str, Any]]:
    """Copy the tensors of ``source`` into ``folder`` as ``names`` (old → new) says, in that order.

    Bytes are copied as they are, a chunk at a time, so that a model of any size passes. More than ``max_shard_bytes``
    become several files with an index; one tensor is never split. Returns dtype, shape, SHA-256 and old name of each
    tensor, by its new name. Raises FromScratchError for a source that is damaged.
    """
    entries = {each.name: each for each in read_header(source)}
    shards = list(_shards([entries[name] for name in names], max_shard_bytes))
    tensors: dict[str, dict[str, Any]] = {}
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = WEIGHTS if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for entry, digest in zip(shard, _write_shard(source, folder / file, shard, names), strict=True):
            tensors[names[entry.name]] = {
                "dtype": entry.dtype,
                "shape": list(entry.shape),
                "sha256": digest,
                "trained_as": entry.name,
            }
            weight_map[names[entry.name]] = file
    if len(shards) > 1:
        total = sum(each.bytes for each in entries.values())
        write_json(folder / f"{WEIGHTS}.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    return tensors


def _entry(name: str, entry: Mapping[str, Any], data_begin: int) -> TensorEntry:
    begin, end = entry["data_offsets"]
    return TensorEntry(name, entry["dtype"], tuple(entry["shape"]), data_begin + begin, end - begin)


def _shards(tensors: Sequence[TensorEntry], max_shard_bytes: int) -> Iterator[list[TensorEntry]]:
    shard: list[TensorEntry] = []
    for each in tensors:
        if shard and sum(placed.bytes for placed in shard) + each.bytes > max_shard_bytes:
            yield shard
            shard = []
        shard.append(each)
    yield shard


def _write_shard(source: Path, path: Path, shard: Sequence[TensorEntry], names: Mapping[str, str]) -> list[str]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for each in shard:
        begin, end = end, end + each.bytes
        header[names[each.name]] = {"dtype": each.dtype, "shape": each.shape, "data_offsets": [begin, end]}
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)  # tensors start at multiples of 8, as readers that map the file want
    with atomic_write(path) as temporary, source.open("rb") as origin, temporary.open("wb") as file:
        file.write(len(packed).to_bytes(8, "little") + packed)
        return [_copy(origin, file, each, source) for each in shard]


def _copy(origin: BinaryIO, file: BinaryIO, entry: TensorEntry, source: Path) -> str:
    """Copy the bytes of one tensor; return their SHA-256."""
    digest = hashlib.sha256()
    origin.seek(entry.begin)
    left = entry.bytes
    while left:
        chunk = origin.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise FromScratchError(f"{source}: ends within tensor `{entry.name}`", DAMAGED)
        digest.update(chunk)
        file.write(chunk)
        left -= len(chunk)
    return digest.hexdigest()
