"""Bytes by range, of a file on this machine or behind any URL, and folders that lead nowhere else."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from fromscratch.anatomy.opening.headers import shown
from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.readers.remote import is_url, list_remote, open_ranges, without_secrets

__all__ = ["ByteSource", "Folder", "check_file_name", "folder_of", "open_folder", "open_source", "window"]

PREAD_BYTES_AT_MOST = 1 << 30  # Linux reads no more than 2 GiB at once


@dataclass(frozen=True)
class ByteSource:
    """A file, or a stretch of one, that is read by ranges."""

    place: str
    """Path or URL, for messages."""
    nbytes: int
    read_range: Callable[[int, int], bytes] = field(repr=False)

    def read(self, first: int, count: int) -> bytes:
        """Exactly ``count`` bytes from ``first``. Raises FromScratchError where the file does not have them."""
        if first < 0 or count < 0 or first + count > self.nbytes:
            raise FromScratchError(
                f"{self.place}: bytes {first:,} to {first + count:,} are asked for, and it has {self.nbytes:,}",
                "it is cut or damaged; fetch or write it again",
            )
        return self.read_range(first, count) if count else b""


def window(source: ByteSource, first: int, count: int, place: str) -> ByteSource:
    """A stretch of a file as a source of its own. Raises FromScratchError if the file is shorter."""
    if first < 0 or count < 0 or first + count > source.nbytes:
        source.read(first, count)
    return ByteSource(place, count, lambda start, size: source.read_range(first + start, size))


@dataclass(frozen=True)
class Folder:
    """The files of one folder, by name; nothing outside of it can be opened through it."""

    place: str
    files: Mapping[str, int]
    """Bytes by name, in order of the names, without hidden ones. Only of the folder itself, not of those below it."""
    open: Callable[[str], ByteSource] = field(repr=False)
    """A file by its name or its path below the folder. Raises FromScratchError for one that is missing or outside."""
    unlisted: bool = False
    """Whether nobody asked what lies there: ``files`` is empty then."""


def open_source(place: str | Path) -> ByteSource:
    """The file at a path or URL. Raises FromScratchError for what is missing and for what is no plain file."""
    return _remote_source(str(place)) if is_url(str(place)) else _local_source(Path(place), str(place))


def open_folder(place: str | Path) -> Folder | None:
    """The folder at a path or URL, or None where a file lies. Raises FromScratchError for what is missing."""
    if is_url(str(place)):
        return _remote_folder(str(place))
    try:
        root = Path(place).resolve(strict=True)
        if not root.is_dir():
            return None
        visible = [each for each in os.scandir(root) if each.name[0] != "." and each.name.isprintable()]
        found = sorted((each.name, each.stat()) for each in visible if each.is_file())
    except FileNotFoundError:
        raise FromScratchError(f"{place}: no such file or folder", "check the path") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise FromScratchError(f"{place}: cannot be opened ({error})", "check the path and its permissions") from None
    files = {name: about.st_size for name, about in found}
    return Folder(str(place), files, lambda name: _local_source(_inside(root, name), f"{place}/{name}"))


def folder_of(place: str) -> tuple[Folder, str]:
    """The folder of a file, and its name there. A remote one is not listed: many servers cannot."""
    if not is_url(place):
        path = Path(place)
        folder = open_folder(path.parent)
        assert folder is not None, f"{path} is a file, so it is in a folder"
        return folder, path.name
    root, _, name = place.partition("?")[0].rpartition("/")
    return Folder(without_secrets(root), {}, partial(_open_below, root), unlisted=True), name


def _local_source(path: Path, place: str) -> ByteSource:
    try:
        # Without waiting: opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise FromScratchError(f"{place}: no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise FromScratchError(f"{place}: cannot be opened ({error})", "check the path and its permissions") from None
    if not stat.S_ISREG(about.st_mode):
        raise FromScratchError(f"{place}: is no plain file", "name a file or a folder with a model")
    identity = _identity(about)

    def read(first: int, count: int) -> bytes:
        # Opened for each read: a model of hundreds of files would otherwise hold as many descriptors.
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _identity(os.fstat(descriptor)) == identity:
                    return _pread(descriptor, first, count)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise FromScratchError(f"{place}: cannot be read ({error})", "check the disk") from None
        raise FromScratchError(f"{place}: was changed while it was read", "run the command again")

    return ByteSource(place, about.st_size, read)


def _identity(about: os.stat_result) -> tuple[int, int, int, int]:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def _pread(descriptor: int, first: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.pread(descriptor, min(count, PREAD_BYTES_AT_MOST), first)
        if not part:
            raise OSError("it ends early")
        parts.append(part)
        first, count = first + len(part), count - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inside(root: Path, name: str) -> Path:
    """The file of that name below ``root``, which is resolved. Raises FromScratchError where it leads out of it.

    One link out is followed: the cache of the Hugging Face hub keeps ``snapshots/REVISION`` full of links to
    ``blobs``, two folders up.
    """
    check_file_name(str(root), name)
    try:
        target = (root / name).resolve()
    except (OSError, RuntimeError) as error:
        raise FromScratchError(f"{root}/{shown(name)}: cannot be opened ({error})", "check the path") from None
    blobs = root.parent.parent / "blobs"
    hub = root.parent.name == "snapshots" and target.parent == blobs
    if not target.is_relative_to(root) and not hub:
        raise FromScratchError(
            f"{root / name}: is a link to {target}, out of the folder",
            "name the file itself, or copy it into the folder",
        )
    return target


def _remote_source(url: str) -> ByteSource:
    stream, lock = open_ranges(url), Lock()

    def read(first: int, count: int) -> bytes:
        with lock:
            stream.seek(first)
            parts = []
            while count:
                parts.append(stream.read(count))  # never empty: it is asked again, and then refused
                count -= len(parts[-1])
            return parts[0] if len(parts) == 1 else b"".join(parts)

    return ByteSource(without_secrets(url), stream.seek(0, os.SEEK_END), read)


def _remote_folder(url: str) -> Folder | None:
    root, found = list_remote(url)
    if root != url.rstrip("/"):
        return None
    files = {each.name: each.bytes for each in found if "/" not in each.name}
    return Folder(without_secrets(url), files, partial(_open_below, root))


def _open_below(root: str, name: str) -> ByteSource:
    check_file_name(without_secrets(root), name)
    return _remote_source(f"{root}/{name}")


def check_file_name(place: str, name: str) -> None:
    """Raises FromScratchError for a name that might lead out of the folder."""
    if {"", ".", ".."} & set(name.split("/")) or any(each in name for each in "\\?#:") or not name.isprintable():
        raise FromScratchError(
            f"{place}: the name `{shown(name)}` leads out of the folder", "only its own files are read"
        )
