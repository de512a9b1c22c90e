"""Outputs appended to an open file; what stays as it is stored is copied by the kernel, not through here."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from fromscratch.anatomy.convert.plan import Output
from fromscratch.anatomy.convert.stream import Range, stream
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError

__all__ = ["Written", "append", "copy_range"]

Written = Callable[[int], None]
"""Told of bytes as they are written, for a bar."""

CHUNK_BYTES = 1 << 26  # between two steps of the bar
NOT_HERE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}


def append(
    file: BinaryIO, outputs: Sequence[Output], checkpoint: Checkpoint, written: Written, *, alignment: int = 1
) -> None:
    """Write the outputs one after another from where ``file`` stands, each padded with zeros to ``alignment``."""
    chunks = itertools.chain.from_iterable(_padded(each, checkpoint, alignment) for each in outputs)
    for chunk in _joined(chunks):
        if isinstance(chunk, Range):
            file.flush()
            copy_range(chunk, file, written)
        else:
            file.write(chunk)
            written(len(chunk))


def copy_range(source: Range, file: BinaryIO, written: Written) -> None:
    """Copy bytes of another file to the end of this one, in the kernel where it can.

    ``copy_file_range`` shares blocks on file systems that can do so, ``sendfile`` copies from page cache to page cache.
    Raises FromScratchError for a source that ends early.
    """
    target = file.fileno()
    begin, left = source.begin, source.nbytes
    with source.path.open("rb") as origin:
        by_range = hasattr(os, "copy_file_range")
        while left:
            count = min(left, CHUNK_BYTES)
            try:
                if by_range:
                    done = os.copy_file_range(origin.fileno(), target, count, begin)
                else:
                    done = os.sendfile(target, origin.fileno(), begin, count)
            except OSError as error:
                if not by_range or error.errno not in NOT_HERE:
                    raise
                by_range = False
                continue
            if not done:
                raise FromScratchError(
                    f"{source.path}: ends {left:,} bytes before its last tensor does", "fetch or write it again"
                )
            begin, left = begin + done, left - done
            written(done)
    file.seek(0, os.SEEK_END)


def _padded(output: Output, checkpoint: Checkpoint, alignment: int) -> Iterator[Range | bytes]:
    size = 0
    for chunk in stream(output, checkpoint):
        size += chunk.nbytes if isinstance(chunk, Range) else len(chunk)
        yield chunk
    if padding := -size % alignment:
        yield bytes(padding)


def _joined(chunks: Iterator[Range | bytes]) -> Iterator[Range | bytes]:
    """Ranges that follow each other in one file become one."""
    pending: Range | None = None
    for chunk in chunks:
        if isinstance(chunk, Range):
            if pending and (pending.path, pending.begin + pending.nbytes) == (chunk.path, chunk.begin):
                pending = Range(pending.path, pending.begin, pending.nbytes + chunk.nbytes)
                continue
            if pending:
                yield pending
            pending = chunk
        else:
            if pending:
                yield pending
                pending = None
            yield chunk
    if pending:
        yield pending
