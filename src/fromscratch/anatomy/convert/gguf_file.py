"""GGUF files written from a plan: a table of typed keys and values, the tensors' shapes, then their bytes.

Version 3, little-endian, data aligned to 32 bytes (the format is described in ggml's docs/gguf.md). Shapes are listed
innermost axis first.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fromscratch.anatomy.convert.copying import Written, append
from fromscratch.anatomy.convert.plan import Output, nbytes
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.files import atomic_write

__all__ = ["ALIGNMENT", "GGML_NUMBERS", "Typed", "write_gguf"]

ALIGNMENT = 32
GGML_NUMBERS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "BF16": 30}
"""The number of each form among GGML's types."""

Form = Literal["u32", "i32", "f32", "bool", "string"]
FORMS: Mapping[Form, tuple[int, str]] = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?")}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Typed:
    """A value of the table with the form it is stored in; a list or tuple is an array of that form."""

    form: Form
    value: Any


def write_gguf(
    path: Path, table: Mapping[str, Typed], outputs: Sequence[Output], checkpoint: Checkpoint, written: Written
) -> None:
    """Write one file with this table and these outputs, atomically."""
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(outputs), len(table)))
    for key, typed in table.items():
        head += _string(key) + _value(typed)
    offset = 0
    for each in outputs:
        head += _string(each.name) + struct.pack("<I", len(each.shape))
        head += struct.pack(f"<{len(each.shape)}Q", *reversed(each.shape))
        head += struct.pack("<IQ", GGML_NUMBERS[each.kind], offset)
        offset += nbytes(each.shape, each.kind)
        offset += -offset % ALIGNMENT
    head += bytes(-len(head) % ALIGNMENT)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(head)
        append(file, outputs, checkpoint, written, alignment=ALIGNMENT)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(typed: Typed) -> bytes:
    number, layout = FORMS.get(typed.form, (STRING, ""))
    if not isinstance(typed.value, list | tuple):
        return struct.pack("<I", number) + (_string(typed.value) if not layout else struct.pack(layout, typed.value))
    head = struct.pack("<IIQ", ARRAY, number, len(typed.value))
    if not layout:
        return head + b"".join(map(_string, typed.value))
    return head + struct.pack(f"<{len(typed.value)}{layout[1]}", *typed.value)
