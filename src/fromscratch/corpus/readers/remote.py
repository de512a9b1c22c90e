"""Files by path or URL: those of this machine, and those that fsspec lists and opens wherever they lie."""

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from fromscratch.core.errors import FromScratchError

__all__ = ["RemoteFile", "is_url", "list_remote", "open_binary", "open_ranges", "without_secrets"]

BUFFER_BYTES = 1 << 20
RETRY_AFTER_SECONDS = (1.0, 5.0, 25.0)
# What stores call the version of a file, the surest first.
FINGERPRINTS = ("ETag", "etag", "sha256", "md5Hash", "content_md5", "md5", "checksum", "generation")
TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


class RemoteFile(NamedTuple):
    """A file below a URL; ``name`` is its path from there."""

    name: str
    bytes: int
    fingerprint: str  # changes when the store has another version, as far as it tells


def is_url(path: str) -> bool:
    return "://" in path


def without_secrets(url: str) -> str:
    """The URL as it may stand in a document: without user, password and query, where signatures are."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


def list_remote(url: str) -> tuple[str, list[RemoteFile]]:
    """The folder of the URL, or of the file that it names, and the files below it in order of their names."""
    with _said(url):
        files, path = _store(url)
        about = files.info(path)
        if about["type"] == "file":
            folder, _, name = url.partition("?")[0].rpartition("/")
            return folder, [RemoteFile(name, _size(about, url), _fingerprint(about))]
        root = f"{path.rstrip('/')}/"
        found = {name.removeprefix(root).lstrip("/"): about for name, about in files.find(path, detail=True).items()}
        visible = {name: about for name, about in found.items() if not any(map(_is_hidden, name.split("/")))}
        return url.rstrip("/"), [
            RemoteFile(name, _size(visible[name], name), _fingerprint(visible[name])) for name in sorted(visible)
        ]


def _is_hidden(part: str) -> bool:
    return part.startswith(".")


def _size(about: dict[str, Any], name: str) -> int:
    if about.get("size") is None:
        raise FromScratchError(f"{without_secrets(name)}: its server does not tell its size", "copy it here first")
    return int(about["size"])


def _fingerprint(about: dict[str, Any]) -> str:
    version = next((f"{each} {about[each]}" for each in FINGERPRINTS if about.get(each)), None)
    if version is None:
        changed = next((about[each] for each in TIMES if about.get(each)), "")
        version = changed.isoformat() if isinstance(changed, datetime) else str(changed)
    return f"{about.get('size')} {version}"


@contextmanager
def open_binary(path: Path | str) -> Iterator[IO[bytes]]:
    """The file as a stream that can seek. Raises FromScratchError on leaving when the network has failed meanwhile:
    libraries in between take such a failure for a damaged file, which would be passed over."""
    if not is_url(str(path)):
        with Path(path).open("rb") as stream:
            yield stream
        return
    raw = _Steady(str(path))
    with io.BufferedReader(raw, BUFFER_BYTES) as remote:
        yield remote
        if raw.failure is not None:
            raise raw.failure


def open_ranges(url: str) -> io.RawIOBase:
    """A remote file as an unbuffered stream: what is read is fetched, and no byte more."""
    return _Steady(url, cache_type="none")


class _Steady(io.RawIOBase):
    """A remote file that is opened again, and asked again, a few times when the network fails."""

    def __init__(self, url: str, **how: str) -> None:
        self.failure: FromScratchError | None = None
        self._url, self._how, self._position = url, how, 0
        with _said(url):
            self._stream, self._bytes = self._open()

    def _open(self) -> tuple[IO[bytes], int]:
        files, path = _store(self._url)
        stream: IO[bytes] = files.open(path, "rb", **self._how)
        return stream, stream.seek(0, os.SEEK_END)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._bytes)[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._read(min(len(buffer), max(0, self._bytes - self._position)))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def _read(self, size: int) -> bytes:
        for pause in (*RETRY_AFTER_SECONDS, None):
            try:
                self._stream.seek(self._position)
                chunk = self._stream.read(size)
                if chunk or not size:
                    return chunk
                raise OSError("the file ends early")
            except Exception as error:  # each store has errors of its own
                if pause is None:
                    self.failure = _failure(self._url, error)
                    raise self.failure from None
                time.sleep(pause)
                self._stream, _ = self._open()
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _store(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. fsspec comes with the corpus extra, not with the base install."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError:
        raise FromScratchError(
            f"{without_secrets(url)}: URLs need the package fsspec", 'pip install "fromscratch[corpus]"'
        ) from None
    files, path = url_to_fs(url)
    return files, path


@contextmanager
def _said(url: str) -> Iterator[None]:
    try:
        yield
    except FromScratchError:
        raise
    except Exception as error:  # each store has errors of its own
        raise _failure(url, error) from None


def _failure(url: str, error: Exception) -> FromScratchError:
    shown, said = without_secrets(url), (str(error).splitlines() or [""])[0] or type(error).__name__
    match error:
        case FileNotFoundError():
            return FromScratchError(f"{shown}: no such file or folder", "check the URL, and that you may list it")
        case ImportError():  # fsspec's words name the package
            return FromScratchError(f"{shown}: its protocol needs a package that is not installed", said)
        case ValueError() if "Protocol not known" in said:
            return FromScratchError(f"{shown}: fsspec knows no such protocol", "s3, gs, abfs, https, hdfs … are known")
        case PermissionError():
            return FromScratchError(f"{shown}: access is refused ({said})", "set the store's credentials")
        case _:
            return FromScratchError(
                f"{shown}: the store does not answer ({type(error).__name__}: {said})",
                "check the network and the credentials; what is finished is kept, so run the same command again",
            )
