"""Compressed streams by the file's extension, and reading that a decompression bomb cannot make endless."""

import io
import lzma
from typing import IO

import pyarrow as pa

__all__ = ["TooLarge", "read_whole", "unpacked"]

BUFFER_BYTES = 1 << 14  # what a damaged file loses before the damage; larger ones are hardly faster
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class TooLarge(Exception):
    """A file or record that unpacks to more than its source allows."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"larger than {limit_bytes / 1e6:,g} MB")


def unpacked(stream: IO[bytes], name: str) -> IO[bytes]:
    """The stream behind a name that ends in .gz, .zst, .bz2 or .xz; any other stream as it is."""
    if name.endswith(".xz"):
        return lzma.LZMAFile(stream)
    for ending, codec in CODECS.items():
        if name.endswith(ending):
            # Arrow's streams, for they read concatenated members and raise OSError for a file that was cut.
            plain = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)
            return io.BufferedReader(plain, BUFFER_BYTES)
    return stream


def read_whole(stream: IO[bytes], limit_bytes: int) -> bytes:
    """All of a stream. Raises TooLarge as soon as that is known, so that a bomb costs no more than the limit."""
    content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise TooLarge(limit_bytes)
    return content
