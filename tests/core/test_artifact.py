"""Artifacts are finished or not there, and say what they were made from."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fromscratch.core.artifact import MANIFEST, Origin, begin_artifact, differences, open_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write

ORIGIN = Origin("corpus", {"corpus": {"language": ["en", "zh"], "threshold": 0.8}}, {"fetch": "abc"})


def make(path: Path, text: str = "words", origin: Origin = ORIGIN, redo: bool = False) -> str:
    draft = begin_artifact(path, origin, redo=redo)
    (draft.folder / "part").mkdir(exist_ok=True)
    (draft.folder / "part" / "a.txt").write_text(text)
    return draft.finish({"seconds": len(text)}).digest


def test_the_digest_depends_on_content_and_origin_and_nothing_else(tmp_path: Path) -> None:
    first = make(tmp_path / "one")
    assert make(tmp_path / "two") == first
    assert make(tmp_path / "three", "other words") != first
    assert make(tmp_path / "four", origin=Origin("corpus", {"corpus": {}}, {"fetch": "abc"})) != first


def test_nothing_stands_under_the_name_before_it_is_finished(tmp_path: Path) -> None:
    draft = begin_artifact(tmp_path / "made", ORIGIN)
    (draft.folder / "a.txt").write_text("x")
    assert open_artifact(tmp_path / "made") is None and not (tmp_path / "made").exists()
    draft.finish()
    assert open_artifact(tmp_path / "made") is not None
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_unfinished_work_is_resumed_with_the_same_settings_and_refused_with_others(tmp_path: Path) -> None:
    (begin_artifact(tmp_path / "made", ORIGIN).folder / "shard").write_text("kept")
    (tmp_path / ".made.unfinished" / "x.writing").write_text("torn")
    again = begin_artifact(tmp_path / "made", ORIGIN)
    assert again.resumed and [each.name for each in sorted(again.folder.iterdir())] == ["begun.json", "shard"]
    other = Origin("corpus", {"corpus": {"language": ["en", "zh"], "threshold": 0.9}}, {"fetch": "abc"})
    with pytest.raises(FromScratchError, match=r"corpus\.threshold`: 0\.8 → 0\.9"):
        begin_artifact(tmp_path / "made", other)
    assert (again.folder / "shard").exists(), "a refusal loses nothing"
    assert not begin_artifact(tmp_path / "made", other, redo=True).resumed
    assert not (again.folder / "shard").exists(), "another threshold never reuses an old shard"


def test_what_a_killed_worker_tore_is_no_part_of_it(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    draft = begin_artifact(tmp_path / "made", ORIGIN)
    (draft.folder / "part").mkdir()
    worker = f"""
import os, pathlib
from fromscratch.core.files import atomic_write
with atomic_write(pathlib.Path({str(draft.folder / "part" / "a.txt")!r})) as temporary:
    temporary.write_text("wor")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", worker], check=False).returncode == -signal.SIGKILL
    assert len(list((draft.folder / "part").iterdir())) == 1
    (draft.folder / "part" / "a.txt").write_text("words")
    assert draft.finish().digest == whole
    assert [each.name for each in (tmp_path / "made" / "part").iterdir()] == ["a.txt"]


def test_redoing_keeps_the_finished_one_until_the_new_one_is_complete(tmp_path: Path) -> None:
    before = make(tmp_path / "made")
    draft = begin_artifact(tmp_path / "made", ORIGIN, redo=True)
    (draft.folder / "b.txt").write_text("new")
    kept = open_artifact(tmp_path / "made")
    assert kept is not None and kept.digest == before
    assert set(draft.finish().manifest["files"]) == {"b.txt"}


@pytest.mark.parametrize("damage", ["cut", "missing", "changed", "manifest"])
def test_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    make(tmp_path / "made")
    file = tmp_path / "made" / "part" / "a.txt"
    if damage == "cut":
        file.write_text("word")
    elif damage == "missing":
        file.unlink()
    elif damage == "changed":
        file.write_text("wordz")
    else:
        (tmp_path / "made" / MANIFEST).write_text("{")
    with pytest.raises(FromScratchError, match=r"a\.txt|manifest\.json"):
        found = open_artifact(tmp_path / "made")
        assert found is not None
        found.verify()


def test_differences_are_named_by_their_path() -> None:
    other = Origin("corpus", {"corpus": {"language": ["en"], "threshold": 0.8, "new": None}}, {"fetch": "xyz"})
    assert differences(ORIGIN, ORIGIN) == []
    assert differences(ORIGIN, other) == [
        '`corpus.language`: ["en", "zh"] → ["en"]',
        "its input `fetch` is another one",
    ]


def test_a_kill_between_the_manifest_and_the_rename_loses_nothing(tmp_path: Path) -> None:
    digest = make(tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / ".made.unfinished")
    (tmp_path / ".made.unfinished" / "begun.json").write_text(json.dumps(ORIGIN.as_json()))
    begin_artifact(tmp_path / "made", ORIGIN)
    found = open_artifact(tmp_path / "made")
    assert found is not None and found.digest == digest


def test_an_atomic_write_leaves_the_old_content_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


KILLED = """
import sys, os, signal, time
from pathlib import Path
from fromscratch.core.artifact import begin_artifact, Origin
from fromscratch.core import artifact, files
steps = int(sys.argv[2])
def dying(function):
    def call(*arguments, **named):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call
os.fsync = dying(os.fsync)
Path.rename, Path.replace, Path.unlink = map(dying, (Path.rename, Path.replace, Path.unlink))
draft = begin_artifact(Path(sys.argv[1]), Origin("k", {}, {}))
(draft.folder / "a").write_text("content")
print(draft.finish().digest)
"""


def test_a_kill_at_any_file_operation_leaves_all_or_nothing(tmp_path: Path) -> None:
    path, digests, kills = tmp_path / "made", set(), 0
    for steps in range(40):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(steps)], capture_output=True, text=True, env=os.environ
        )
        found = open_artifact(path)
        if found is not None:
            found.verify()
            digests.add(found.digest)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
    assert kills > 5 and len(digests) == 1
