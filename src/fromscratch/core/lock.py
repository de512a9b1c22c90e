"""One run at a time in one directory."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from fromscratch.core.errors import FromScratchError

__all__ = ["run_lock"]


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the run directory for this process. The lock dies with the process, so `kill -9` leaves none behind.

    Raises FromScratchError, naming the process that holds it, when another one is at work there.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / ".lock"
    # Opened for appending: whoever is refused must not wipe the name of the holder.
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FromScratchError(
                f"{run}: another run is at work here{_holder(file.read())}",
                "wait for it, stop it, or choose another folder with --run",
            ) from None
        file.truncate(0)
        json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f" (process {holder['process']} on {holder['host']})"
    except (ValueError, KeyError, TypeError):
        return ""
