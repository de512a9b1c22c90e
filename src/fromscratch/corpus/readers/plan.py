"""What is to be read, cut into tasks of roughly equal size that a pool of processes can share."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """Some files of one source, to be read by one process; small enough to be pickled for it."""

    source: str
    settings: PackageSource | FilesSource
    license: str
    container: Path
    """The archive or the folder that holds the members."""
    prefix: str
    """What stands before a member's name in addresses and messages; never an absolute path."""
    members: tuple[str, ...]
    bytes: int
    """Size of the members, estimated where they are compressed."""


@dataclass(frozen=True)
class _Container:
    path: Path
    prefix: str
    license: str
    members: Sequence[Member]


def plan_reads(
    packages: Mapping[str, Package],
    sources: Mapping[str, PackageSource | FilesSource],
    fetch_folder: Path | None,
    table: str = "corpus.sources",
) -> list[ReadTask]:
    """The tasks of all sources, in the recipe's order of sources and each archive's or folder's order of files.

    ``table`` is where the recipe names them, for messages.

    The plan depends on the files alone, never on the number of processes. Raises FromScratchError for a source that
    is missing, empty or damaged, for globs that match nothing, and for files of no known format.
    """
    listed: dict[Path, list[Member]] = {}  # several sources may read one archive
    tasks = []
    for name, source in sources.items():
        place = f"{table}.{name}"
        if isinstance(source, PackageSource):
            containers = [
                _archive(packages, place, source, each, fetch_folder, listed) for each in source.package_names
            ]
        else:
            containers = [_local(place, source)]
        for each in containers:
            for part in _parts(_chosen(place, source, each)):
                names, weight = tuple(member.name for member in part), sum(map(_weight, part))
                tasks.append(ReadTask(name, source, each.license, each.path, each.prefix, names, weight))
    return tasks


def source_digests(sources: Mapping[str, PackageSource | FilesSource], table: str = "corpus.sources") -> dict[str, str]:
    """For each source of local files, SHA-256 (hex) over the names and contents of the files that it would read.

    Packages are left out: their pins say the same. ``table`` is where the recipe names the sources, for messages.
    """
    digests = {}
    for name, source in sources.items():
        if isinstance(source, FilesSource):
            place = f"{table}.{name}"
            container = _local(place, source)
            if not container.path.is_dir():
                digests[name] = digest_file(container.path)
                continue
            digest = hashlib.sha256()
            for each in _chosen(place, source, container):
                digest.update(f"{each.name}\0{digest_file(container.path / each.name)}\n".encode())
            digests[name] = digest.hexdigest()
    return digests


def _archive(
    packages: Mapping[str, Package],
    place: str,
    source: PackageSource,
    package_name: str,
    fetch_folder: Path | None,
    listed: dict[Path, list[Member]],
) -> _Container:
    package = packages.get(package_name)
    if package is None:
        raise FromScratchError(
            f"`{place}.package` = {package_name!r} is none of the recipe's packages",
            did_you_mean(package_name, list(packages)),
        )
    path = package_file(fetch_folder, package) if fetch_folder and fetch_folder.is_dir() else None
    if path is None:
        raise FromScratchError(
            f"`{place}`: the {package.form} of {package.requirement} is not in {fetch_folder}",
            "fetch it first, with `fromscratch corpus RECIPE`",
        )
    if path not in listed:
        listed[path] = list_members(path)
    return _Container(path, f"{path.name}!", source.license or package.license, listed[path])


def _local(place: str, source: FilesSource) -> _Container:
    """The archive or folder that a source names, or the folder of the single file that it names."""
    path = Path(source.path)
    if path.is_dir():
        return _Container(path, f"{path.resolve().name}/", source.license, sorted(_walk(path)))
    if not path.exists():
        raise FromScratchError(
            f"`{place}.path` = {source.path!r}: no such file or folder",
            f"paths are relative to the folder of the command, now {Path.cwd()}",
        )
    if is_archive(path):
        return _Container(path, f"{path.name}!", source.license, list_members(path))
    return _Container(path.parent, "", source.license, [Member(path.name, path.stat().st_size)])


def _walk(root: Path) -> Iterator[Member]:
    """All files below a folder. Links to files count; links to folders are not entered, for they may go in circles."""
    for folder, folders, files in os.walk(root):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for each in files:
            path = Path(folder, each)
            if not each.startswith(".") and path.is_file():
                yield Member(path.relative_to(root).as_posix(), path.stat().st_size)


def _chosen(place: str, source: PackageSource | FilesSource, container: _Container) -> list[Member]:
    """The members that the source's globs choose, each of a known format."""
    wanted = name_filter(source.members, source.exclude)
    chosen = [each for each in container.members if wanted(each.name)]
    if not container.members:
        raise FromScratchError(
            f"`{place}`: there are no files in {container.path}",
            "put files there, or leave the source out",
        )
    if not chosen:
        raise FromScratchError(
            f"`{place}.members` = {list(source.members)} chooses none of the {len(container.members):,} "
            f"files in {container.path.name}",
            f"names there look like {container.members[len(container.members) // 2].name!r}; "
            "`*` stays within a folder, `**` spans folders",
        )
    for each in chosen:
        format_of(each.name, source.format, place)
    return chosen


def _weight(member: Member) -> int:
    return member.bytes * (UNPACKING_FACTOR if member.name.endswith(COMPRESSIONS) else 1)


def _parts(members: list[Member]) -> Iterator[list[Member]]:
    """Consecutive members in as many parts of nearly equal weight as their sum asks for."""
    weights = [_weight(each) for each in members]
    share = sum(weights) / max(1, round(sum(weights) / TASK_BYTES)) or 1
    before, number = 0, 0
    part: list[Member] = []
    for member, weight in zip(members, weights, strict=True):
        middle = int((before + weight / 2) / share)  # the part in which the middle of this member falls
        if part and middle != number:
            yield part
            part = []
        part.append(member)
        number, before = middle, before + weight
    yield part
