"""Where the members of an uncompressed zip archive lie, so that they are read by range like any other bytes."""

import zipfile

from fromscratch.anatomy.opening.headers import DAMAGED, check_spans, shown
from fromscratch.anatomy.opening.sources import ByteSource
from fromscratch.core.errors import FromScratchError

__all__ = ["ZIP_MAGIC", "zip_members"]

ZIP_MAGIC = b"PK\x03\x04"
LOCAL_HEADER_BYTES = 30
DIRECTORY_BYTES_AT_MOST = 16 << 20  # of which `zipfile` makes ten times as much memory; enough for 150,000 tensors


def zip_members(source: ByteSource) -> dict[str, tuple[int, int]]:
    """First byte and length of each member by name, without those that are compressed or encrypted.

    Raises FromScratchError for an archive that is damaged, and for repeated or overlapping members.
    """
    try:
        with zipfile.ZipFile(_Seekable(source)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, OverflowError) as error:
        raise FromScratchError(f"{source.place}: no whole zip archive ({shown(str(error))})", DAMAGED) from None
    members: dict[str, tuple[int, int]] = {}
    for each in entries:
        if each.filename in members:
            raise FromScratchError(f"{source.place}: its member `{shown(each.filename)}` stands there twice", DAMAGED)
        if each.compress_type == zipfile.ZIP_STORED and each.compress_size == each.file_size and not each.flag_bits & 1:
            members[each.filename] = _span(each, source)
    spans = ((first, first + count, name) for name, (first, count) in members.items())
    check_spans(spans, 0, source.nbytes, source.place)
    return members


def _span(entry: zipfile.ZipInfo, source: ByteSource) -> tuple[int, int]:
    local = source.read(entry.header_offset, LOCAL_HEADER_BYTES)
    if local[:4] != ZIP_MAGIC:
        raise FromScratchError(
            f"{source.place}: its member `{shown(entry.filename)}` is not where it should be", DAMAGED
        )
    lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")  # of name and extra
    return entry.header_offset + LOCAL_HEADER_BYTES + lengths, entry.file_size


class _Seekable:
    """A source as `zipfile` wants it, of which no more is read at once than a directory may have."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self._position = source, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._position, self._source.nbytes)[whence]
        if position < 0:
            raise OSError("a place before its beginning")
        self._position = position
        return position

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._source.nbytes - self._position)
        count = left if count < 0 else min(count, left)
        if count > DIRECTORY_BYTES_AT_MOST:
            raise zipfile.BadZipFile(f"its directory would have {count:,} bytes")
        content = self._source.read(self._position, count) if count else b""
        self._position += count
        return content
