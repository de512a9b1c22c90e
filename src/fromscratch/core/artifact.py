"""Artifacts: folders that are finished or not there, and say in `manifest.json` what they were made from."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fromscratch import __version__
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import (
    TEMPORARY_SUFFIX,
    digest_file,
    digest_value,
    remove_tree,
    sync_folder,
    write_json,
)

__all__ = ["MANIFEST", "Artifact", "Draft", "Origin", "begin_artifact", "code_digest", "differences", "open_artifact"]

MANIFEST = "manifest.json"
BEGUN = "begun.json"


@dataclass(frozen=True)
class Origin:
    """What an artifact is made from: equal origins give equal artifacts, so this decides what can be kept."""

    kind: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]  # name → digest of an input artifact or file

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "settings": dict(self.settings), "inputs": dict(self.inputs)}


@dataclass(frozen=True)
class Artifact:
    """A finished folder. ``digest`` names its content and origin, and holds for every run that gives the same bytes."""

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        return str(self.manifest["digest"])

    @property
    def origin(self) -> Origin:
        return Origin(self.manifest["kind"], self.manifest["settings"], self.manifest["inputs"])

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage had to say of its result: counts, scores, durations. Not part of the digest."""
        facts: Mapping[str, Any] = self.manifest["facts"]
        return facts

    def file(self, name: str) -> Path:
        return self.path / name

    def verify(self) -> None:
        """Read every byte and compare it with the manifest. Raises FromScratchError at the first damaged file."""
        for name, expected in self.manifest["files"].items():
            if digest_file(self.path / name) != expected["sha256"]:
                raise FromScratchError(
                    f"{self.path / name}: its content is not what was written",
                    f"remove {self.path} and run the same command again",
                )


def open_artifact(path: Path) -> Artifact | None:
    """The finished artifact at ``path``, or None if there is none. Checks that each file is there in full length.

    Raises FromScratchError for a manifest that cannot be read and for files that are missing or cut.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        for name, expected in files.items():
            size = (path / name).stat().st_size if (path / name).is_file() else None
            if size != expected["bytes"]:
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise FromScratchError(
                    f"{path / name} {found}; its manifest says {expected['bytes']:,} bytes",
                    f"remove {path} and run the same command again",
                )
        return Artifact(path, manifest)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FromScratchError(
            f"{path / MANIFEST}: not a manifest ({error})", f"remove {path} and run the same command again"
        ) from None


@dataclass
class Draft:
    """An artifact in the making: write into ``folder``, then ``finish``. What a killed process left is still there."""

    path: Path
    folder: Path
    origin: Origin
    resumed: bool

    def finish(self, facts: Mapping[str, Any] | None = None) -> Artifact:
        """Digest and fsync everything, write the manifest last, and rename the folder to its final name."""
        files = {}
        _remove_torn(self.folder)  # of a worker that died, while this process went on with another
        for each in sorted(self.folder.rglob("*")):
            if each.is_dir():
                sync_folder(each)
            elif each.suffix != TEMPORARY_SUFFIX and each.name not in (BEGUN, MANIFEST):
                with each.open("rb") as file:
                    os.fsync(file.fileno())
                name = each.relative_to(self.folder).as_posix()
                files[name] = {"bytes": each.stat().st_size, "sha256": digest_file(each)}
        identity = {**self.origin.as_json(), "files": files}
        write_json(
            self.folder / MANIFEST,
            {
                **identity,
                "digest": digest_value(identity),
                "code": {"version": __version__, "digest": code_digest()},
                "facts": dict(facts or {}),
            },
        )
        return _move_into_place(self.folder, self.path)


def begin_artifact(path: Path, origin: Origin, *, redo: bool = False) -> Draft:
    """Start, or go on with, the artifact that will stand at ``path``.

    Unfinished work of the same origin is kept (``draft.resumed``). Unfinished work of another origin is refused
    with a FromScratchError that names the differences, or discarded with ``redo``. A finished artifact at
    ``path`` stays until the new one is complete.
    """
    folder = path.with_name(f".{path.name}.unfinished")
    if (folder / MANIFEST).exists():  # killed between the manifest and the rename: complete, though not in place
        _move_into_place(folder, path)
    begun = None
    if (folder / BEGUN).exists():
        begun = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    resumed = begun == json.loads(json.dumps(origin.as_json()))
    if begun is not None and not resumed and not redo:
        changed = differences(Origin(**begun), origin)
        raise FromScratchError(
            f"{folder}: unfinished work with other settings: {'; '.join(changed[:3])}",
            "set them back to go on with it, or add --redo to discard it",
        )
    if not resumed:
        remove_tree(folder)
        folder.mkdir(parents=True)
        write_json(folder / BEGUN, origin.as_json())
    _remove_torn(folder)
    return Draft(path, folder, origin, resumed)


def _remove_torn(folder: Path) -> None:
    """Remove what atomic writes left that were killed in the middle."""
    for torn in folder.rglob(f"*{TEMPORARY_SUFFIX}"):
        torn.unlink(missing_ok=True)


def _move_into_place(folder: Path, path: Path) -> Artifact:
    (folder / BEGUN).unlink(missing_ok=True)
    sync_folder(folder)
    remove_tree(path)
    folder.rename(path)
    sync_folder(path.parent)
    artifact = open_artifact(path)
    assert artifact is not None, f"{path} was renamed into place and is not there"
    return artifact


def differences(made: Origin, asked: Origin) -> list[str]:
    """What keeps ``made`` from serving for ``asked``, each in words: ``model.layers: 4 → 6``."""
    changes = [
        f"`{name}`: {_short(before)} → {_short(after)}"
        for name, before, after in _changed_leaves("", made.settings, json.loads(json.dumps(dict(asked.settings))))
    ]
    for name in sorted({*made.inputs, *asked.inputs}):
        if made.inputs.get(name) != asked.inputs.get(name):
            changes.append(f"its input `{name}` is another one")
    return changes


def _changed_leaves(prefix: str, before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return [
            change
            for key in sorted({*before, *after})
            for change in _changed_leaves(f"{prefix}.{key}" if prefix else key, before.get(key), after.get(key))
        ]
    return [] if before == after else [(prefix, before, after)]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "absent"
    return text if len(text) <= 60 else text[:57] + "…"


@cache
def code_digest() -> str:
    """SHA-256 over the package's own Python files, so that a manifest can say which code made it."""
    root = Path(__file__).resolve().parent.parent
    return digest_value({each.relative_to(root).as_posix(): digest_file(each) for each in sorted(root.rglob("*.py"))})
