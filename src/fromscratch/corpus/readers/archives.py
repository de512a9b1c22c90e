"""Wheels, zips and tars read in place: files are listed and streamed, never unpacked, and links never followed."""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.sources import Package

__all__ = ["Member", "damage_named", "is_archive", "list_members", "open_members", "package_file"]

ZIPS = (".zip", ".whl")
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 0x1  # bit of an entry's flags
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class Member(NamedTuple):
    """A file within an archive, or below a folder."""

    name: str
    bytes: int  # unpacked from this archive


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ZIPS + TARS)


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


def list_members(path: Path) -> list[Member]:
    """The regular files of an archive in its own order, each name once. Raises FromScratchError for a damaged one."""
    with damage_named(str(path)):
        if path.name.lower().endswith(ZIPS):
            with zipfile.ZipFile(path) as archive:
                return [Member(each.filename, each.file_size) for each in _zip_files(archive).values()]
        with tarfile.open(path) as archive:
            sizes: dict[str, int] = {}
            for entry in _tar_entries(archive):
                sizes.setdefault(entry.name, entry.size)
            return [Member(*each) for each in sizes.items()]


def open_members(path: Path, names: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The asked files as streams, in the archive's order; each stream must be read before the next is asked for."""
    wanted = set(names)
    with damage_named(str(path)):
        if path.name.lower().endswith(ZIPS):
            with zipfile.ZipFile(path) as archive:
                for name, entry in _zip_files(archive).items():
                    if name in wanted:
                        with archive.open(entry) as stream:
                            yield name, stream
            return
        with tarfile.open(path) as archive:
            for header in _tar_entries(archive):
                if header.name in wanted:
                    wanted.discard(header.name)  # the first of a name, as in the list
                    content = archive.extractfile(header)
                    assert content is not None
                    yield header.name, content
                    if not wanted:  # the rest of a compressed tar need not be unpacked
                        return


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
    """Turn what is raised over missing, cut, and damaged files into a FromScratchError that names the place."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise FromScratchError(f"{place}: cannot be opened ({error.strerror})", "check the path") from None
    except EOFError:
        raise FromScratchError(f"{place}: the file ends too early", "get it again; a copy was cut off") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError) as error:
        raise FromScratchError(f"{place}: a damaged file ({error})", "get it again and compare its digest") from None
