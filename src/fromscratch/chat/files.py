"""Files of dialogues: found where a source says, read in place, never unpacked or run."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from fromscratch.chat.dialogue_sources import FileDialogues
from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.globs import name_filter
from fromscratch.corpus.readers.archives import damage_named, is_archive, list_members, open_members, package_file
from fromscratch.corpus.readers.streams import TooLarge, read_whole, unpacked
from fromscratch.corpus.sources import Package

__all__ = ["dialogue_files"]

LARGEST_BYTES = 1 << 30  # a file is held whole; what unpacks to more is no set of dialogues


def dialogue_files(
    source: FileDialogues, fetched: Path, packages: Mapping[str, Package]
) -> Iterator[tuple[str, str, bytes]]:
    """Of each file of a source: its place for people, its name within the archive or folder, and what it unpacks to.

    Raises FromScratchError for a place that is not there or has none of the asked files, and for damaged files.
    """
    root = _root(source, fetched, packages)
    wanted = name_filter(source.members, source.exclude)
    found = False
    for name, content in _archived(root, wanted) if is_archive(root) else _lying(root, wanted):
        found = True
        yield f"{root.name}!{name}" if is_archive(root) else str(root / name), name, content
    if not found:
        raise FromScratchError(
            f"{root}: none of its files matches {', '.join(source.members)}",
            "check `members` and `exclude`; `*` stays within a folder, `**` spans folders",
        )


def _root(source: FileDialogues, fetched: Path, packages: Mapping[str, Package]) -> Path:
    if source.package is None:
        path = Path(source.path or "")
        if not path.exists():
            raise FromScratchError(f"{path}: no such file or folder", "check `path` in the recipe's `[tune.dialogues]`")
        return path
    if source.package not in packages:
        raise FromScratchError(
            f"`{source.package}` is not a package of this recipe", "add it under `[packages]`, or mend the name"
        )
    file = package_file(fetched, packages[source.package])
    if file is None:
        raise FromScratchError(
            f"{fetched}: the file of package `{source.package}` is not there",
            f"remove {fetched} and run the same command again",
        )
    return file


def _archived(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    names = [member.name for member in list_members(path) if wanted(member.name)]
    for name, stream in open_members(path, names):
        yield name, _content(stream, f"{path}!{name}", name)


def _lying(root: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Files of a folder in order of their names, or the one file."""
    single = root.is_file()
    for path in [root] if single else sorted(each for each in root.rglob("*") if each.is_file()):
        name = path.name if single else path.relative_to(root).as_posix()
        if wanted(name):
            with path.open("rb") as stream:
                yield name, _content(stream, str(path), name)


def _content(stream: IO[bytes], place: str, name: str) -> bytes:
    try:
        with damage_named(place):
            return read_whole(unpacked(stream, name), LARGEST_BYTES)
    except TooLarge as error:
        raise FromScratchError(f"{place}: {error}", "split it into smaller files") from None
