"""The child process that fetches pinned files with the pip of this Python: its indexes, settings, cache and proxies.

`fetch` starts it as `python -m fromscratch.corpus.fetching.package_client` and talks JSON lines with it: one request on
stdin, events on stdout. `pip download` would run the setup code of a source archive to learn its metadata, so pip's
finder and session are driven here instead, which only ever move bytes.
"""

import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pip._internal.commands.download import DownloadCommand
from pip._internal.exceptions import PipError
from pip._internal.models.candidate import InstallationCandidate
from pip._internal.models.link import Link
from pip._internal.network.session import PipSession
from pip._internal.network.utils import HEADERS, raise_for_status, response_chunks
from pip._vendor.packaging.version import Version
from pip._vendor.requests.exceptions import RequestException
from pip._vendor.urllib3.exceptions import HTTPError

from fromscratch.core.files import atomic_write, digest_file

__all__ = ["main"]

CONNECTIONS = 4  # more gain nothing against one index and look like an attack
ATTEMPTS = 3
REPORT_EVERY_BYTES = 1 << 18

Report = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


class BrokenOff(Exception):
    """A transfer that ended early without an error of its own."""


class CannotFetch(Exception):
    """One file that cannot be had: ``problem`` is "unreachable", "missing" or "digest"."""

    def __init__(self, problem: str, detail: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.problem, self.detail, self.known = problem, detail, known


def main() -> None:
    """Fetch each file of the request ``{"folder", "files": [{"package", "requirement", "sha256", "form"}]}``.

    Events, each with the key ``package``: ``bytes`` and ``of`` (null when unknown) while it arrives, ``file`` when it
    lies in the folder with the right digest, ``problem`` and its particulars when it cannot be had.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our stdin
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    say = _Speaker()

    def fetch_and_report(wanted: Mapping[str, str]) -> None:
        try:
            name = _fetch(wanted, Path(request["folder"]), lambda done, of: say(wanted, bytes=done, of=of))
            say(wanted, file=name)
        except CannotFetch as error:
            say(wanted, problem=error.problem, detail=error.detail, known=error.known)
        except OSError as error:  # a full disk, a folder that may not be written to
            say(wanted, problem="system", errno=error.errno, detail=error.strerror, path=error.filename)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(fetch_and_report, request["files"]):
            pass


class _Speaker:
    """Writes whole lines from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, wanted: Mapping[str, str], **event: Any) -> None:
        with self._lock:
            print(json.dumps({"package": wanted["package"], **event}), flush=True)


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _fetch(wanted: Mapping[str, str], folder: Path, report: Report) -> str:
    """Find and download one file; returns its name in the folder."""
    command = DownloadCommand("download", "fetch pinned files")
    options, _ = command.parse_args(_arguments(wanted["form"]))
    failures = _IndexFailures()
    with command.main_context(), failures.collected():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options=options, session=session, ignore_requires_python=True)
        name = wanted["requirement"].partition("==")[0]
        try:
            link = _choose(finder.find_all_candidates(name), wanted, failures)
            path = folder / Path(link.filename).name
            with atomic_write(path) as temporary:
                _receive_patiently(link, session, temporary, report)
                digest = digest_file(temporary)
                if digest != wanted["sha256"]:
                    raise CannotFetch("digest", f"{path.name} has the digest {digest}")
        except (PipError, RequestException) as error:
            raise CannotFetch("unreachable", str(error)) from None
    return path.name


def _arguments(form: str) -> list[str]:
    """What says which file is meant, whatever the user prefers otherwise; all else is left to pip's settings."""
    return ["--no-input", "--only-binary=:all:" if form == "wheel" else "--no-binary=:all:"]


def _choose(candidates: Sequence[InstallationCandidate], wanted: Mapping[str, str], failures: "_IndexFailures") -> Link:
    """The link to the pinned file, by its digest where the index tells digests, else by its version."""
    for each in candidates:
        if each.link.hash_name == "sha256" and each.link.hash == wanted["sha256"]:
            return each.link
    version = Version(wanted["requirement"].partition("==")[2])
    links = [each.link for each in candidates if each.version == version]
    for link in links:
        if link.hash_name != "sha256":  # to be found out from the file
            return link
    if links:
        raise CannotFetch("digest", f"{links[0].filename} has the digest {links[0].hash}")
    if not candidates and failures.reasons:
        raise CannotFetch("unreachable", failures.reasons[-1])
    versions = sorted({each.version for each in candidates}, reverse=True)
    raise CannotFetch("missing", "", tuple(str(each) for each in versions[:5]))


def _receive_patiently(link: Link, session: PipSession, path: Path, report: Report) -> None:
    """Start again when a transfer breaks off; pip's session itself retries what fails before the first byte."""
    for _ in range(ATTEMPTS - 1):
        with suppress(HTTPError, BrokenOff):
            return _receive(link, session, path, report)
    try:
        _receive(link, session, path, report)
    except (HTTPError, BrokenOff) as error:
        raise CannotFetch("unreachable", f"{link.filename}: {error}") from None


def _receive(link: Link, session: PipSession, path: Path, report: Report) -> None:
    if link.is_file:
        shutil.copyfile(link.file_path, path)
        return
    response = session.get(link.url_without_fragment, headers=HEADERS, stream=True)
    raise_for_status(response)
    length = response.headers.get("content-length", "")
    done = reported = 0
    with path.open("wb") as file:
        for chunk in response_chunks(response):
            file.write(chunk)
            done += len(chunk)
            if done - reported >= REPORT_EVERY_BYTES:
                report(done, int(length) if length.isdigit() else None)
                reported = done
    if length.isdigit() and done < int(length):
        raise BrokenOff(f"the transfer broke off after {done:,} of {int(length):,} bytes")


class _IndexFailures(logging.Handler):
    """Keeps why an index page could not be read: pip's finder only logs it and goes on with no candidates."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.reasons: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        # "404" means that the index is there and does not know the project.
        if record.thread == self._thread and message.startswith("Could not fetch URL") and ": 404 " not in message:
            self.reasons.append(message)

    @contextmanager
    def collected(self) -> Iterator[None]:
        logger = logging.getLogger("pip._internal.index.collector")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)


if __name__ == "__main__":
    main()
