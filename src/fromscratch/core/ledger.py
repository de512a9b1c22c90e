"""The ledger: append-only JSON lines, each chained to the one before by its hash."""

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import canonical_json

__all__ = ["GENESIS", "Ledger", "read_ledger"]

GENESIS = "0" * 64  # what the first line is chained to


class Ledger:
    """An open ledger file of one process. Lines are ``{"kind", "time", …facts, "previous", "hash"}``.

    ``hash`` is the SHA-256 of the canonical JSON of the line without it; ``previous`` is the hash of the line
    before. A last line that a crash tore is cut off on opening, and a ``torn`` line says so.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._open()

    def _open(self) -> None:
        self._last, torn_bytes = _mend_tail(self.path)
        self._file = self.path.open("ab", buffering=0)
        if torn_bytes:
            self.append("torn", lost_bytes=torn_bytes)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within the block another process may open the file and append; this one then goes on after its last line."""
        self._file.close()
        try:
            yield
        finally:
            self._open()

    def append(self, kind: str, /, **facts: Any) -> None:
        """Add a line. ``facts`` are plain finite JSON values; the time is seconds since 1970."""
        body = {"kind": kind, "time": round(time.time(), 3), **facts, "previous": self._last}
        line = (canonical_json({**body, "hash": _hash(body)}) + "\n").encode()
        whole = self._file.tell()
        if self._write(line) < len(line):  # half a line would break the chain for what follows
            self._file.truncate(whole)
            self._file.seek(whole)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._last = _hash(body)

    def _write(self, line: bytes) -> int:
        """How many bytes of the line are in the file: all of them, unless the disk is full."""
        try:
            return self._file.write(line)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return 0

    def sync(self) -> None:
        """Make every line so far durable; called where a checkpoint relies on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_ledger(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a ledger in order, each checked against the chain; a torn last line is left out.

    Raises FromScratchError that names the first line whose hash or predecessor is wrong.
    """
    last = GENESIS
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return
            try:
                line = json.loads(raw)
                claimed = line.pop("hash")
                sound = line["previous"] == last and _hash(line) == claimed
            except (ValueError, KeyError, TypeError, AttributeError):
                sound = False
            if not sound:
                raise FromScratchError(
                    f"{path}, line {number}: the chain is broken; this line or one before it was changed",
                    "restore the ledger from a copy; what follows this line proves nothing",
                )
            last = claimed
            yield line


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def _mend_tail(path: Path) -> tuple[str, int]:
    """Cut an unfinished last line; return the hash to chain to and the number of bytes cut."""
    if not path.exists():
        return GENESIS, 0
    last, whole = GENESIS, 0
    for line in read_ledger(path):
        last = _hash(line)
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
    return last, len(content) - whole
