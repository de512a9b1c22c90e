"""PyTorch's zip archives written from a plan, without PyTorch: a pickle that names tensors, beside their bytes.

The layout is that of ``torch.save`` since 1.6: ``NAME/data.pkl``, ``NAME/byteorder``, ``NAME/data/0`` …, stored without
compression and aligned to 64 bytes, ``NAME/version``. ``torch.load`` reads it with ``weights_only`` and with ``mmap``.
"""

import pickle
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from fromscratch.anatomy.convert.copying import Written
from fromscratch.anatomy.convert.plan import Output, nbytes
from fromscratch.anatomy.convert.stream import BLOCK_BYTES, Range, stream
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.files import atomic_write

__all__ = ["STORAGES", "write_torch"]

STORAGES = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}
ALIGNMENT = 64
LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name; PKWARE's APPNOTE, 4.3.7
ZIP64_BYTES = 20


def write_torch(path: Path, outputs: Sequence[Output], checkpoint: Checkpoint, written: Written) -> None:
    """Write one file that ``torch.load`` reads as a dictionary of these outputs, atomically."""
    root = path.stem
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(f"{root}/data.pkl"), _pickle(outputs))
        archive.writestr(_entry(f"{root}/byteorder"), "little")
        for number, output in enumerate(outputs):
            entry = _entry(f"{root}/data/{number}")
            start = archive.start_dir + LOCAL_HEADER_BYTES + len(entry.filename) + ZIP64_BYTES + 4
            padding = -start % ALIGNMENT
            entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            entry.file_size = nbytes(output.shape, output.kind)
            with archive.open(entry, "w", force_zip64=True) as file:
                for content in _contents(stream(output, checkpoint)):
                    file.write(content)
                    written(len(content))
        archive.writestr(_entry(f"{root}/version"), "3\n")


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # equal plans give equal bytes


def _contents(chunks: Iterator[Range | bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if isinstance(chunk, bytes):
            yield chunk
            continue
        with chunk.path.open("rb") as file:
            file.seek(chunk.begin)
            for first in range(0, chunk.nbytes, BLOCK_BYTES):
                yield file.read(min(BLOCK_BYTES, chunk.nbytes - first))


def _pickle(outputs: Sequence[Output]) -> bytes:
    """The dictionary as pickle's opcodes (protocol 2): each tensor is rebuilt from the storage of its number."""
    code = bytearray(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
    for number, output in enumerate(outputs):
        count = 1
        strides: list[int] = []
        for size in reversed(output.shape):
            strides.insert(0, count)
            count *= size
        code += _text(output.name) + _global("torch._utils", "_rebuild_tensor_v2") + pickle.MARK
        code += pickle.MARK + _text("storage") + _global("torch", STORAGES[output.kind]) + _text(str(number))
        code += _text("cpu") + _integer(count) + pickle.TUPLE + pickle.BINPERSID + _integer(0)
        code += _integers(output.shape) + _integers(strides) + pickle.NEWFALSE
        code += _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
        code += pickle.TUPLE + pickle.REDUCE + pickle.SETITEM
    return bytes(code + pickle.STOP)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _integers(numbers: Sequence[int]) -> bytes:
    return pickle.MARK + b"".join(map(_integer, numbers)) + pickle.TUPLE


def _integer(number: int) -> bytes:
    if number < 2**31:
        return pickle.BININT + struct.pack("<i", number)
    encoded = pickle.encode_long(number)
    return pickle.LONG1 + bytes([len(encoded)]) + encoded
