"""Safetensors files: 8 bytes of length, a JSON header, the tensors' bytes (github.com/huggingface/safetensors)."""

from collections.abc import Mapping
from typing import Any

from fromscratch.anatomy.opening.headers import (
    DAMAGED,
    HEADER_BYTES_AT_MOST,
    check_shape,
    check_spans,
    is_count,
    parse_json,
    shown,
)
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.anatomy.opening.stored import stored_bytes, stored_tensor
from fromscratch.anatomy.tensors import StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["read_safetensors"]


def read_safetensors(source: ByteSource, file: str) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """Its tensors by name, and the header's ``__metadata__``. Raises FromScratchError for a file that is not sound."""
    if source.nbytes < 8:
        raise FromScratchError(f"{source.place}: has {source.nbytes} bytes, and no safetensors header", DAMAGED)
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(HEADER_BYTES_AT_MOST, source.nbytes - 8):
        raise FromScratchError(
            f"{source.place}: its header would have {length:,} bytes, of {source.nbytes:,} in the file",
            "it is no safetensors file, or it is cut; fetch or write it again",
        )
    header = parse_json(source.read(8, length), source.place)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise FromScratchError(f"{source.place}: its `__metadata__` is no table", DAMAGED)
    begin = 8 + length
    tensors = {name: _tensor(name, entry, begin, source, file) for name, entry in header.items()}
    spans = ((each.offset, each.offset + each.nbytes, each.name) for each in tensors.values())
    check_spans(spans, begin, source.nbytes, source.place)
    return tensors, metadata


def _tensor(name: str, entry: Any, begin: int, source: ByteSource, file: str) -> StoredTensor:
    known = entry if isinstance(entry, Mapping) else {}
    kind, span = known.get("dtype"), known.get("data_offsets")
    if not isinstance(kind, str) or not isinstance(span, list) or [*map(is_count, span)] != [True, True]:
        raise FromScratchError(f"{source.place}: tensor `{shown(name)}` is described by {shown(entry)}", DAMAGED)
    shape = check_shape(known.get("shape"), source.place, name)
    nbytes = stored_bytes(shape, kind, source.place, name)
    if span[1] - span[0] != nbytes:
        raise FromScratchError(
            f"{source.place}: tensor `{shown(name)}` is {kind} {list(shape)}, {nbytes:,} bytes, "
            f"and takes {span[1] - span[0]:,}",
            DAMAGED,
        )
    return stored_tensor(name, shape, kind, file, begin + span[0], source)
