"""Wheels, zips and tars read in place: files are listed and streamed, never unpacked, and links never followed."""

import errno
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.readers.page import Span, Unreadable
from fromscratch.corpus.readers.remote import open_binary
from fromscratch.corpus.sources import Package

__all__ = ["Member", "damage_named", "is_archive", "list_members", "open_members", "package_file"]

ZIPS = (".zip", ".whl")
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 0x1  # bit of an entry's flags
# What the decoders raise over damaged bytes, beside OSError and EOFError.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    UnicodeError,
)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class Member(NamedTuple):
    """A file within an archive, or below a folder, or a part of it."""

    name: str
    bytes: int  # unpacked from this archive
    span: Span = (0, None)


def is_archive(path: Path | str) -> bool:
    return str(path).lower().endswith(ZIPS + TARS)


def package_file(folder: Path, package: Package) -> Path | None:
    """The fetched file of a package, told by name, version and form as they stand in the file's name."""
    pin = _normal(f"{package.name}-{package.version}")
    for each in sorted(folder.iterdir()):
        if each.suffix == ".whl":
            name, form = "-".join(each.name.split("-")[:2]), "wheel"
        elif is_archive(each):
            name, form = re.sub(r"(\.tar)?\.\w+$", "", each.name), "sdist"
        else:
            continue
        if form == package.form and _normal(name) == pin:
            return each
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def list_members(path: Path | str) -> list[Member]:
    """The regular files of an archive in its own order, each name once. Raises FromScratchError for a damaged one."""
    with damage_named(str(path)), open_binary(path) as stream:
        if str(path).lower().endswith(ZIPS):
            with zipfile.ZipFile(stream) as archive:
                return [Member(each.filename, each.file_size) for each in _zip_files(archive).values()]
        with tarfile.open(fileobj=stream) as archive:
            sizes: dict[str, int] = {}
            for entry in _tar_entries(archive):
                sizes.setdefault(entry.name, entry.size)
            return [Member(*each) for each in sizes.items()]


def open_members(path: Path | str, names: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The asked files as streams, in the archive's order; each stream must be read before the next is asked for."""
    wanted = set(names)
    with damage_named(str(path)), open_binary(path) as file:
        if str(path).lower().endswith(ZIPS):
            with zipfile.ZipFile(file) as archive:
                for name, entry in _zip_files(archive).items():
                    if name in wanted:
                        with _opened(archive, entry) as stream:
                            yield name, stream
            return
        with tarfile.open(fileobj=file) as archive:
            for header in _tar_entries(archive):
                if header.name in wanted:
                    wanted.discard(header.name)  # the first of a name, as in the list
                    content = archive.extractfile(header)
                    assert content is not None
                    yield header.name, content
                    if not wanted:  # the rest of a compressed tar need not be unpacked
                        return


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    """The member as a stream; one whose header is damaged raises when it is read, so that it costs itself alone."""
    try:
        return archive.open(entry)
    except DAMAGE as error:
        return io.BufferedReader(_Broken(error))


class _Broken(io.RawIOBase):
    def __init__(self, error: Exception) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: memoryview) -> int:  # type: ignore[override]
        raise self._error


def _zip_files(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    files: dict[str, zipfile.ZipInfo] = {}
    for each in archive.infolist():
        if each.flag_bits & ENCRYPTED or each.compress_type not in COMPRESSIONS:
            raise zipfile.BadZipFile(f"{each.filename} is encrypted or of an unknown compression")
        if not each.is_dir():
            files.setdefault(each.filename, each)
    return files


def _tar_entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The regular files as they come; links, devices and folders are passed over."""
    for entry in archive:
        archive.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header of a large archive
        if entry.isreg():
            yield entry


@contextmanager
def damage_named(place: str) -> Iterator[None]:
    """Turn what is raised over a damaged file into Unreadable, and what the system refuses into a FromScratchError."""
    try:
        yield
    except EOFError:
        raise Unreadable(f"{place}: the file ends too early", "get it again; a copy was cut off") from None
    except DAMAGE as error:
        raise Unreadable(f"{place}: a damaged file ({error})", "get it again and compare its digest") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # of a decoder, or of a damaged offset
            raise Unreadable(f"{place}: a damaged file ({error})", "get it again and compare its digest") from None
        raise FromScratchError(f"{place}: cannot be opened ({error.strerror})", "check the path and the disk") from None
