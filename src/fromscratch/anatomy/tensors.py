"""A checkpoint as everybody here sees it: named tensors with shapes known at once and numbers read on demand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Checkpoint", "StoredTensor", "checkpoint_of_arrays"]

Array = NDArray[np.generic]


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint; nothing of it is in memory until it is read."""

    name: str
    shape: tuple[int, ...]
    """Outermost axis first, as in PyTorch and safetensors (GGUF lists them the other way round)."""
    kind: str
    """How numbers are stored: F64, F32, F16, BF16, F8_E4M3, I8 … as safetensors spells them, or a GGML form, Q8_0."""
    file: str
    """The file within the checkpoint that holds it; for messages and for reading in the order of the disk."""
    offset: int
    """First byte in that file. Reading tensors in the order of (file, offset) reads each file once, forwards."""
    nbytes: int
    """Bytes as stored."""
    read_raw: Callable[[int, int], bytes] = field(repr=False, compare=False)
    """(first byte, number of bytes) of the stored form, counted within the tensor."""
    read_rows: Callable[[int, int], Array] = field(repr=False, compare=False)
    """(first row, end) along the first axis, decoded: floating and quantised kinds as float32, integers as they are."""

    def read(self) -> Array:
        """The whole tensor, decoded; a scalar has shape ()."""
        if not self.shape:
            return self.read_rows(0, 1).reshape(())
        return self.read_rows(0, self.shape[0])


def _nothing_there(name: str) -> bytes:
    raise FileNotFoundError(name)


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies somewhere: tensors by name, and what its config and metadata say (claims, not facts)."""

    place: str
    """Where it was opened, for messages."""
    format: str
    """safetensors, pytorch, gguf, fromscratch, dcp, arrays."""
    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Any]
    """``config.json``, or GGUF's key-value table; empty where there is none."""
    other_files: tuple[str, ...] = ()
    """What lies beside the weights, by name: tokenizer, licence, code that is never run."""
    read_file: Callable[[str], bytes] = field(default=_nothing_there, repr=False, compare=False)
    """The content of one of ``other_files``."""
    remarks: tuple[str, ...] = ()
    """What was odd about it and did not keep it from being opened, each a sentence: an index that is stale …"""


def checkpoint_of_arrays(arrays: Mapping[str, Array], config: Mapping[str, Any] | None = None) -> Checkpoint:
    """A checkpoint in memory, for tests and for weights that somebody has loaded already."""
    kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8", "int32": "I32"}
    kinds |= {"int64": "I64", "bool": "BOOL"}
    tensors = {}
    offset = 0
    for name, array in arrays.items():
        content = np.ascontiguousarray(array).tobytes()

        def read_raw(first: int, count: int, content: bytes = content) -> bytes:
            return content[first : first + count]

        def read_rows(first: int, end: int, array: Array = array) -> Array:
            rows = array.reshape(1, *array.shape)[0:1] if array.ndim == 0 else array[first:end]
            return rows.astype(np.float32) if rows.dtype.kind == "f" else rows

        tensors[name] = StoredTensor(
            name, array.shape, kinds[str(array.dtype)], "memory", offset, len(content), read_raw, read_rows
        )
        offset += len(content)
    return Checkpoint("memory", "arrays", tensors, config or {})
