"""GGUF files: a table of keys and values, a table of tensors, their bytes (github.com/ggml-org/ggml/docs/gguf.md)."""

import struct
from typing import Any

import numpy as np

from fromscratch.anatomy.opening.headers import DAMAGED, HEADER_BYTES_AT_MOST, check_shape, check_spans, shown
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.anatomy.opening.stored import number_bytes, stored_tensor
from fromscratch.anatomy.tensors import StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["GGUF_MAGIC", "TENSOR_KINDS", "read_gguf"]

GGUF_MAGIC = b"GGUF"
VERSIONS = (2, 3)
FIRST_READ_BYTES = 1 << 20
AXES_AT_MOST = 4
NESTED_ARRAYS_AT_MOST = 4
ALIGNMENT_AT_MOST = 1 << 20

TENSOR_KINDS = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K"}
TENSOR_KINDS |= {12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S"}
TENSOR_KINDS |= {20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64"}
TENSOR_KINDS |= {28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0"}

NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9
LEAST_BYTES = {**{kind: np.dtype(form).itemsize for kind, form in NUMBERS.items()}, STRING: 8, ARRAY: 12}


def read_gguf(source: ByteSource, file: str) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """Its tensors and its key-value table, by name. Raises FromScratchError for a file that is not sound.

    Shapes are turned round: GGUF lists the axis first whose values lie side by side.
    """
    cursor = _Cursor(source)
    cursor.take(len(GGUF_MAGIC))
    version, tensor_count, key_count = cursor.numbers("<IQQ")
    if version not in VERSIONS:
        raise FromScratchError(
            f"{source.place}: is GGUF version {version}, of which {VERSIONS} are read",
            "convert the original model again; a file for big-endian machines has an odd version too",
        )
    table: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.text()
        if key in table:
            raise FromScratchError(f"{source.place}: the key `{shown(key)}` stands there twice", DAMAGED)
        table[key] = cursor.value(*cursor.numbers("<I"))
    entries: dict[str, tuple[tuple[int, ...], str, int]] = {}
    for _ in range(tensor_count):
        name, entry = _tensor_entry(cursor)
        if name in entries:
            raise FromScratchError(f"{source.place}: tensor `{shown(name)}` stands there twice", DAMAGED)
        entries[name] = entry
    alignment = _alignment(table, source.place)
    begin = -(-cursor.position // alignment) * alignment
    tensors = {
        name: stored_tensor(name, shape, kind, file, begin + offset, source)
        for name, (shape, kind, offset) in entries.items()
    }
    if odd := next((name for name, each in tensors.items() if (each.offset - begin) % alignment), None):
        raise FromScratchError(f"{source.place}: tensor `{shown(odd)}` is not aligned to {alignment} bytes", DAMAGED)
    spans = ((each.offset, each.offset + each.nbytes, each.name) for each in tensors.values())
    check_spans(spans, begin, source.nbytes, source.place)
    return tensors, table


def _tensor_entry(cursor: "_Cursor") -> tuple[str, tuple[tuple[int, ...], str, int]]:
    place = cursor.source.place
    name = cursor.text()
    (axes,) = cursor.numbers("<I")
    if axes > AXES_AT_MOST:
        raise FromScratchError(f"{place}: tensor `{shown(name)}` would have {axes} axes", DAMAGED)
    shape = check_shape(cursor.numbers(f"<{axes}Q")[::-1], place, name)
    number, offset = cursor.numbers("<IQ")
    kind = TENSOR_KINDS.get(number, f"GGML type {number}")
    values, _ = number_bytes(kind, place, name)
    if values > 1 and (not shape or shape[-1] % values):
        raise FromScratchError(f"{place}: tensor `{shown(name)}` {list(shape)} has no whole blocks of {kind}", DAMAGED)
    return name, (shape, kind, offset)


def _alignment(table: dict[str, Any], place: str) -> int:
    alignment = table.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= ALIGNMENT_AT_MOST or alignment & (alignment - 1):
        raise FromScratchError(f"{place}: `general.alignment` = {shown(alignment)} is no power of two", DAMAGED)
    return alignment


class _Cursor:
    """A place in the header, which is read as far as it is needed and no further than a header may reach."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.position = 0
        self._limit = min(source.nbytes, HEADER_BYTES_AT_MOST)
        self._read = b""

    def take(self, count: int) -> bytes:
        self.need(count)
        self.position += count
        return self._read[self.position - count : self.position]

    def need(self, count: int) -> None:
        """See that ``count`` more bytes are read. Raises FromScratchError if the header cannot have as many."""
        end = self.position + count
        if end > self._limit:
            raise FromScratchError(
                f"{self.source.place}: its header goes on for {count:,} bytes at byte {self.position:,} of "
                f"{self.source.nbytes:,}, and may have {self._limit:,}",
                DAMAGED,
            )
        if end > len(self._read):
            wanted = min(self._limit, max(end, FIRST_READ_BYTES, 2 * len(self._read)))
            self._read += self.source.read(len(self._read), wanted - len(self._read))

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self) -> str:
        (length,) = self.numbers("<Q")
        return self.take(length).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of the key-value table: a number, a truth value, a text, or a list of these."""
        if kind in NUMBERS:
            return np.frombuffer(self.take(LEAST_BYTES[kind]), NUMBERS[kind])[0].item()
        if kind == STRING:
            return self.text()
        if kind != ARRAY or depth > NESTED_ARRAYS_AT_MOST:
            raise FromScratchError(f"{self.source.place}: holds a value of the unknown type {kind}", DAMAGED)
        each, count = self.numbers("<IQ")
        self.need(count * LEAST_BYTES.get(each, 1))
        if each in NUMBERS:
            return np.frombuffer(self.take(count * LEAST_BYTES[each]), NUMBERS[each]).tolist()
        return [self.value(each, depth + 1) for _ in range(count)]
