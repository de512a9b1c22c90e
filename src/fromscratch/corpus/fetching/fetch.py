"""The stage `fetch`: each pinned package file, got by the user's own package client and checked by its digest."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.core.progress import progress
from fromscratch.core.workplace import Workplace
from fromscratch.corpus.readers.archives import package_file
from fromscratch.corpus.sources import Package

__all__ = ["fetch_packages"]


def fetch_packages(
    draft: Draft, inputs: Mapping[str, Artifact], workplace: Workplace, *, packages: Mapping[str, Package]
) -> Mapping[str, Any]:
    """Put every package's file, under its own name, into the draft's folder; files that are there already are kept.

    Nothing of a package is run, not even the setup code of a source archive. Raises FromScratchError for an index
    that cannot be reached, a version that it does not have, and a file whose digest is not the pinned one.
    """
    del inputs
    missing = {name: package for name, package in packages.items() if not _is_there(draft.folder, package)}
    if missing:
        with progress("fetch", total=len(packages), done=len(packages) - len(missing)) as advance:
            shares = dict.fromkeys(missing, 0.0)  # of each file, how much has arrived
            for event in _client_events(missing, draft.folder):
                name = event["package"]
                if "problem" in event:
                    raise _refusal(name, packages[name], event)
                share = 1.0 if "file" in event else event["bytes"] / max(event["of"] or 0, event["bytes"] * 2)
                advance(share - shares[name], note=packages[name].requirement)
                shares[name] = share
    facts: dict[str, Any] = {"files": {}}
    for name, package in packages.items():
        file = _fetched(draft.folder, name, package)
        facts["files"][name] = {"file": file.name, "bytes": file.stat().st_size}
        workplace.ledger.append("fetched", package=name, file=file.name, sha256=package.sha256, new=name in missing)
    size = sum(each["bytes"] for each in facts["files"].values())
    return {**facts, "summary": f"{len(packages)} packages, {size / 1e6:,.1f} MB, {len(missing)} of them new"}


def _is_there(folder: Path, package: Package) -> bool:
    file = package_file(folder, package)
    return file is not None and digest_file(file) == package.sha256


def _client_events(packages: Mapping[str, Package], folder: Path) -> Iterator[Mapping[str, Any]]:
    """What the child process reports; it ends when this generator does, however that comes about."""
    request = {
        "folder": str(folder),
        "files": [
            {"package": name, "requirement": each.requirement, "sha256": each.sha256, "form": each.form}
            for name, each in packages.items()
        ],
    }
    with tempfile.TemporaryFile() as complaints:
        command = [sys.executable, "-m", "fromscratch.corpus.fetching.package_client"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                yield json.loads(line)
            broken = child.wait() != 0
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        if broken:
            complaints.seek(0)
            last = (complaints.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise FromScratchError(
                f"pip of {sys.executable} cannot be driven: {last}",
                "install pip there with `python -m ensurepip --upgrade`; 23.2 to 26 are known to work",
            )


def _refusal(name: str, package: Package, event: Mapping[str, Any]) -> FromScratchError | OSError:
    if event["problem"] == "system":
        return OSError(event["errno"], event["detail"], event["path"])
    asked = f"`packages.{name}.requirement` = {package.requirement!r}"
    if event["problem"] == "digest":
        return FromScratchError(
            f"`packages.{name}.sha256` = {package.sha256!r}, but {event['detail']}",
            "someone has changed the file or the pin; trust neither until you know which",
        )
    if event["problem"] == "missing":
        known = ", ".join(event["known"])
        return FromScratchError(
            f"{asked}: pip finds no {package.form} of this version",
            f"the newest of this form are {known}" if known else f"check the name, and `form` = {package.form!r}",
        )
    return FromScratchError(
        f"{asked}: pip cannot reach it: {event['detail']}",
        "check the network and `pip config list`, then run the same command again; what has arrived is kept",
    )


def _fetched(folder: Path, name: str, package: Package) -> Path:
    file = package_file(folder, package)
    if file is None:
        raise FromScratchError(
            f"`packages.{name}.requirement` = {package.requirement!r}: the file that pip found is named otherwise",
            "spell the version as the file's name does",
        )
    return file
