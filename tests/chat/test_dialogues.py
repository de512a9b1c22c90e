"""Sources are read from archives and folders, cleaned, freed of repetitions, limited, and counted."""

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fromscratch.chat.dialogue_sources import ChatterbotDialogues, DerivedDialogues, DialogueSource, JsonLinesDialogues
from fromscratch.chat.dialogues import Reading, read_dialogues
from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.sources import Package
from tests.make_corpus import make_corpus

PACKAGES = {"talks": Package(requirement="some-talks==1.0", sha256="0" * 64, license="BSD-3-Clause")}
GREETINGS = "conversations:\n- [Hi, Hello.]\n- [Hi, Hello.]\n- [Bye]\n"
MOODS = "conversations:\n- [Sad?, No., Not now.]\n- [Glad?, glad]\n"


def read(source: DialogueSource, folder: Path, seed: int = 0) -> Reading:
    return read_dialogues("talk", source, folder, folder, PACKAGES, seed)


def exchanges(reading: Reading) -> list[tuple[str, ...]]:
    return [tuple(message["content"] for message in each) for each in reading.conversations]


def wheel(folder: Path) -> None:
    with zipfile.ZipFile(folder / "some_talks-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("data/english/moods.yml", MOODS)
        archive.writestr("data/english/greetings.yml", GREETINGS)
        archive.writestr("data/german/greetings.yml", "conversations:\n- [Hallo, Guten Tag.]\n")


def source_archive(folder: Path) -> None:
    (folder / "greetings.yml").write_text(GREETINGS)
    (folder / "moods.yml").write_text(MOODS)
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as archive:
        archive.add(folder / "moods.yml", "data/english/moods.yml")
        archive.add(folder / "greetings.yml", "data/english/greetings.yml")


def plain_folder(folder: Path) -> None:
    (folder / "data" / "english").mkdir(parents=True)
    (folder / "data" / "english" / "moods.yml.gz").write_bytes(gzip.compress(MOODS.encode()))
    (folder / "data" / "english" / "greetings.yml").write_text(GREETINGS)


@pytest.mark.parametrize(
    ("make", "place"),
    [(wheel, {"package": "talks"}), (source_archive, {"path": "archive.tar.gz"}), (plain_folder, {"path": "data"})],
)
def test_dialogues_are_the_same_from_a_wheel_a_tar_and_a_folder(
    make: Callable[[Path], None], place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    reading = read(
        ChatterbotDialogues(members=("**/english/*", "english/*"), alternatives=("**/moods*",), **place), tmp_path
    )
    assert sorted(exchanges(reading)) == [("Hi", "Hello."), ("Sad?", "No."), ("Sad?", "Not now.")]
    assert reading.dropped == {"duplicate": 1, "no_answer": 1, "echo": 1}
    assert reading.damaged == []


def test_damaged_files_and_lines_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "{\n" + json.dumps({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hey"}]})
    )
    reading = read(JsonLinesDialogues(path=str(tmp_path)), tmp_path)
    assert exchanges(reading) == [("Hi", "Hey")]
    assert len(reading.damaged) == 1 and reading.damaged[0].startswith(f"{tmp_path / 'a.jsonl'}: line 1: ")


def test_a_limit_keeps_as_many_chosen_by_the_seed_in_their_order(tmp_path: Path) -> None:
    rows = [{"source": "pages", "title": f"Page {n}", "text": f"Page {n} is a page."} for n in range(60)]
    corpus = make_corpus(tmp_path / "corpus", rows).path
    source = DerivedDialogues(source="pages", questions=("What is {title}?",), limit=10)
    reading = read(source, corpus, seed=1)
    numbers = [int(question.split()[-1].strip("?")) for question, _ in exchanges(reading)]
    assert len(numbers) == 10 and numbers == sorted(numbers) and numbers != list(range(10))
    assert reading.dropped == {"over_limit": 50}
    assert exchanges(read(source, corpus, seed=1)) == exchanges(reading) != exchanges(read(source, corpus, seed=2))


@pytest.mark.parametrize(
    ("source", "said", "hint"),
    [
        (ChatterbotDialogues(package="talk"), "`talk` is not a package of this recipe", "[packages]"),
        (ChatterbotDialogues(path="nowhere"), "nowhere: no such file or folder", "`path`"),
        (ChatterbotDialogues(package="talks", members=("*.yaml",)), "none of its files matches *.yaml", "members"),
        (
            ChatterbotDialogues(package="talks", members=("**/german/*",), language="zh"),
            "`tune.dialogues.talk` gives no conversation from package `talks`: 1 wrong_language",
            "settings",
        ),
        (
            JsonLinesDialogues(package="talks", members=("**/german/*",)),
            "2 damaged, first some_talks-1.0-py3-none-any.whl!data/german/greetings.yml: line 1",
            "settings",
        ),
    ],
)
def test_a_source_that_gives_nothing_is_refused_with_the_reason(
    source: DialogueSource, said: str, hint: str, tmp_path: Path
) -> None:
    wheel(tmp_path)
    with pytest.raises(FromScratchError) as refused:
        read(source, tmp_path)
    assert said in refused.value.message and hint in refused.value.hint


def test_a_package_that_was_not_fetched_and_a_cut_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match="the file of package `talks` is not there"):
        read(ChatterbotDialogues(package="talks"), tmp_path)
    wheel(tmp_path)
    (whole,) = tmp_path.glob("*.whl")
    whole.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(FromScratchError, match=r"some_talks-1\.0-py3-none-any\.whl: a damaged"):
        read(ChatterbotDialogues(package="talks"), tmp_path)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps({"messages": []}).encode() * 99)[:-9])
    with pytest.raises(FromScratchError, match=r"cut\.jsonl\.gz"):
        read(JsonLinesDialogues(path=str(tmp_path / "cut.jsonl.gz")), tmp_path)
