"""Safetensors files written from a plan, tensor by tensor, without holding one of them.

The format: 8 bytes of length (little-endian), a JSON header of that length, then the tensors' bytes without holes, to
which the header's offsets are relative (https://github.com/huggingface/safetensors).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fromscratch.anatomy.convert.copying import Written, append
from fromscratch.anatomy.convert.plan import Output, nbytes
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.files import atomic_write, write_json

__all__ = ["WEIGHTS", "shard_names", "write_index", "write_safetensors"]

WEIGHTS = "model.safetensors"


def write_safetensors(path: Path, outputs: Sequence[Output], checkpoint: Checkpoint, written: Written) -> None:
    """Write one file with these outputs, in this order, atomically."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for each in outputs:
        begin, end = end, end + nbytes(each.shape, each.kind)
        header[each.name] = {"dtype": each.kind, "shape": each.shape, "data_offsets": [begin, end]}
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)  # tensors start at multiples of 8, as readers that map the file want
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(len(packed).to_bytes(8, "little") + packed)
        append(file, outputs, checkpoint, written)


def write_index(folder: Path, outputs: Sequence[Output]) -> None:
    """Write the index that names each tensor's file, where there is more than one file."""
    if len({each.file for each in outputs}) > 1:
        total = sum(nbytes(each.shape, each.kind) for each in outputs)
        weight_map = {each.name: each.file for each in outputs}
        write_json(folder / f"{WEIGHTS}.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def shard_names(sizes: Sequence[int], max_shard_bytes: int) -> list[str]:
    """The file of each tensor, given their bytes: filled one after another; a tensor is never split."""
    numbers: list[int] = []
    shard, filled = 0, 0
    for size in sizes:
        if filled and filled + size > max_shard_bytes:
            shard, filled = shard + 1, 0
        filled += size
        numbers.append(shard)
    if not shard:
        return [WEIGHTS] * len(numbers)
    return [f"model-{each + 1:05d}-of-{shard + 1:05d}.safetensors" for each in numbers]
