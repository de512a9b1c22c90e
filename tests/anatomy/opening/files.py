"""Files of weights written byte by byte, so that they can be wrong in one place."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fromscratch.anatomy.opening.gguf_file import TENSOR_KINDS

GGUF_NUMBERS = {kind: number for number, kind in TENSOR_KINDS.items()}


def safetensors_bytes(header: Mapping[str, Any] | bytes, content: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of this header, as JSON or as it is, and of this content behind it."""
    packed = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(packed) if length is None else length) + packed + content


def entry(kind: str, shape: list[Any], first: int, end: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [first, end]}


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """A sound file of float32 tensors."""
    header, content = {}, b""
    for name, array in arrays.items():
        header[name] = entry("F32", list(array.shape), len(content), len(content) + array.nbytes)
        content += array.astype("<f4").tobytes()
    path.write_bytes(safetensors_bytes(header, content))
    return path


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf_value(value: Any) -> bytes:
    """A value with its type before it; whole numbers as uint32."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case list():
            inner = [gguf_value(each) for each in value]
            return struct.pack("<I", 9) + inner[0][:4] + struct.pack("<Q", len(value)) + b"".join(i[4:] for i in inner)
    raise TypeError(value)


def gguf_bytes(
    table: Mapping[str, Any] | list[tuple[str, Any]],
    tensors: list[tuple[str, tuple[int, ...], str, bytes]],
    version: int = 3,
    alignment: int = 32,
    **wrong: Any,
) -> bytes:
    """A GGUF file of (name, shape, kind, content); ``offsets``, ``keys`` and ``count`` override what is written."""
    pairs = list(table.items()) if isinstance(table, Mapping) else table
    offsets, content = [], b""
    for *_, raw in tensors:
        content += b"\0" * (-len(content) % alignment)
        offsets.append(len(content))
        content += raw
    header = b"GGUF" + struct.pack("<IQQ", version, wrong.get("count", len(tensors)), wrong.get("keys", len(pairs)))
    header += b"".join(text(key) + gguf_value(value) for key, value in pairs)
    for (name, shape, kind, _), offset in zip(tensors, wrong.get("offsets", offsets), strict=True):
        header += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        header += struct.pack("<IQ", GGUF_NUMBERS.get(kind, 99), offset)
    return header + b"\0" * (-len(header) % alignment) + content
