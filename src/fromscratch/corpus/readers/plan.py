"""What is to be read, cut into tasks of roughly equal size that a pool of processes can share."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.core.settings import did_you_mean
from fromscratch.corpus.globs import name_filter
from fromscratch.corpus.readers.archives import Member, is_archive, list_members, package_file
from fromscratch.corpus.readers.formats import COMPRESSIONS, format_of, is_cut_anywhere
from fromscratch.corpus.readers.remote import is_url, list_remote, without_secrets
from fromscratch.corpus.sources import FilesSource, Package, PackageSource

__all__ = ["ReadTask", "plan_reads", "source_digests"]

TASK_BYTES = 12_000_000  # some seconds of work, and a shard of a size that is pleasant to handle
LARGEST_TASK_BYTES = 256_000_000  # petabytes are not to become billions of shards
TASKS = 10_000  # beyond so many, tasks become larger instead
PATTERN = re.compile(r"[*?\[]")  # a path with any of these names files below the folder before it
UNPACKING_FACTOR = 8  # compressed files are reckoned at this multiple of their size


@dataclass(frozen=True)
class ReadTask:
    """Some files of one source, to be read by one process; small enough to be pickled for it."""

    source: str
    settings: PackageSource | FilesSource
    license: str
    container: str
    """Path or URL of the archive, or of the folder, that holds the members."""
    archived: bool
    """Whether the container is an archive."""
    prefix: str
    """What stands before a member's name in addresses and messages; never an absolute path."""
    members: tuple[Member, ...]
    bytes: int
    """Size of the members, estimated where they are compressed."""

    def __str__(self) -> str:
        first, last = self.members[0], self.members[-1]
        until = "" if first is last else f" … {last.name}"
        part = "" if first.span == (0, None) else f", bytes from {first.span[0]:,}"
        return f"{self.source}: {self.prefix}{first.name}{until}{part}"


@dataclass(frozen=True)
class _Container:
    path: str
    archived: bool
    prefix: str
    license: str
    members: Sequence[Member]
    globs: Sequence[str]
    fingerprints: Mapping[str, str] | None = None
    """What a store says of each member's version; None for files of this machine, whose contents tell."""


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
    chosen: list[tuple[str, _Container, list[Member]]] = []
    for name, source in sources.items():
        place = f"{table}.{name}"
        if isinstance(source, PackageSource):
            containers = [
                _archive(packages, place, source, each, fetch_folder, listed) for each in source.package_names
            ]
        else:
            containers = [_files(place, source)]
        chosen += [(name, each, _chosen(place, source, each)) for each in containers]
    weight = sum(_weight(member) for _, _, members in chosen for member in members)
    task_bytes = min(max(TASK_BYTES, weight // TASKS), LARGEST_TASK_BYTES)
    tasks = []
    for name, each, members in chosen:
        for part in _parts(_cut(members, sources[name], each, task_bytes), task_bytes):
            bytes_ = sum(map(_weight, part))
            tasks.append(
                ReadTask(name, sources[name], each.license, each.path, each.archived, each.prefix, tuple(part), bytes_)
            )
    return tasks


def source_digests(sources: Mapping[str, PackageSource | FilesSource], table: str = "corpus.sources") -> dict[str, str]:
    """For each source of files, SHA-256 (hex) over the names and contents of the files that it would read.

    Of files behind URLs, over what the store says of their version. Packages are left out: their pins say the same.
    ``table`` is where the recipe names the sources, for messages.
    """
    digests = {}
    for name, source in sources.items():
        if isinstance(source, FilesSource):
            place = f"{table}.{name}"
            container = _files(place, source)
            if container.archived and container.fingerprints is None:
                digests[name] = digest_file(Path(container.path))
                continue
            digest = hashlib.sha256()
            for each in _chosen(place, source, container):
                version = (
                    digest_file(Path(container.path, each.name))
                    if container.fingerprints is None
                    else container.fingerprints["" if container.archived else each.name]
                )
                digest.update(f"{each.name}\0{version}\n".encode())
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
    license_ = source.license or package.license
    return _Container(str(path), True, f"{path.name}!", license_, listed[path], source.members)


def _files(place: str, source: FilesSource) -> _Container:
    """The archive or folder that a source names, or the folder of the single file that it names."""
    root, globs = _split_path(source)
    if is_url(root):
        return _behind_url(root, source, globs)
    path = Path(root)
    if path.is_dir():
        return _Container(root, False, f"{path.resolve().name}/", source.license, sorted(_walk(root)), globs)
    if not path.exists():
        raise FromScratchError(
            f"`{place}.path` = {source.path!r}: no such file or folder",
            f"paths are relative to the folder of the command, now {Path.cwd()}",
        )
    if is_archive(path):
        return _Container(root, True, f"{path.name}!", source.license, list_members(path), globs)
    return _Container(str(path.parent), False, "", source.license, [Member(path.name, path.stat().st_size)], globs)


def _split_path(source: FilesSource) -> tuple[str, Sequence[str]]:
    """Root and patterns of a source: `crawl/2023-*/*.warc.gz` are the files below `crawl` that the rest chooses."""
    match = None if Path(source.path).exists() else PATTERN.search(source.path)
    if match is None:
        return source.path, source.members
    root, _, first = source.path[: match.start()].rpartition("/")
    pattern = first + source.path[match.start() :]
    return root or ".", [pattern if each == "**" else f"{pattern}/{each}" for each in source.members]


def _behind_url(url: str, source: FilesSource, globs: Sequence[str]) -> _Container:
    folder, files = list_remote(url)
    shown = without_secrets(url)
    if len(files) == 1 and folder != url.rstrip("/") and is_archive(files[0].name):
        members, fingerprints = list_members(url), {"": files[0].fingerprint}
        return _Container(url, True, f"{shown}!", source.license, members, globs, fingerprints)
    return _Container(
        folder,
        False,
        f"{without_secrets(folder)}/",
        source.license,
        [Member(each.name, each.bytes) for each in files],
        globs,
        {each.name: each.fingerprint for each in files},
    )


def _walk(root: str) -> Iterator[Member]:
    """All files below a folder. Links to files count; links to folders are not entered, for they may go in circles."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118 (a path object for each costs double)
            for each in entries:
                if each.name.startswith("."):
                    continue
                if each.is_dir(follow_symlinks=False):
                    folders.append(f"{folder}{each.name}/")
                elif each.is_file():
                    yield Member(f"{folder}{each.name}", each.stat().st_size)


def _chosen(place: str, source: PackageSource | FilesSource, container: _Container) -> list[Member]:
    """The members that the source's globs choose, each of a known format."""
    wanted = name_filter(container.globs, source.exclude)
    chosen = [each for each in container.members if wanted(each.name)]
    if not container.members:
        raise FromScratchError(
            f"`{place}`: there are no files in {without_secrets(container.path)}",
            "put files there, or leave the source out",
        )
    if not chosen:
        raise FromScratchError(
            f"`{place}.members` = {list(source.members)} chooses none of the {len(container.members):,} "
            f"files in {container.path.rpartition('/')[2]}",
            f"names there look like {container.members[len(container.members) // 2].name!r}; "
            "`*` stays within a folder, `**` spans folders",
        )
    for each in chosen:
        format_of(each.name, source.format, place)
    return chosen


def _cut(
    members: list[Member], source: PackageSource | FilesSource, container: _Container, task_bytes: int
) -> list[Member]:
    """The members, and of a large one, where its format allows that, its parts of about a task's size."""
    if container.archived:
        return members
    parts = []
    for each in members:
        count = round(_weight(each) / task_bytes)
        if count < 2 or not is_cut_anywhere(each.name, format_of(each.name, source.format, container.path)):
            parts.append(each)
            continue
        cuts = [each.bytes * number // count for number in range(count)]
        for start, end in zip(cuts, [*cuts[1:], None], strict=True):
            parts.append(Member(each.name, (each.bytes if end is None else end) - start, (start, end)))
    return parts


def _weight(member: Member) -> int:
    return member.bytes * (UNPACKING_FACTOR if member.name.endswith(COMPRESSIONS) else 1)


def _parts(members: list[Member], task_bytes: int) -> Iterator[list[Member]]:
    """Consecutive members in as many parts of nearly equal weight as their sum asks for."""
    weights = [_weight(each) for each in members]
    share = sum(weights) / max(1, round(sum(weights) / task_bytes)) or 1
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
