"""Pinned packages arrive by the user's pip, checked by digest, resumed, and without a line of theirs being run."""

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fromscratch.core.artifact import Draft, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.ledger import Ledger, read_ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus.fetching.fetch import fetch_packages
from fromscratch.corpus.sources import Package


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_wheel(folder: Path, version: str = "1.2") -> Package:
    path = folder / f"some_texts-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_texts/a.txt", "text\n" * 100_000)
    return Package(requirement=f"some.texts=={version}", sha256=digest(path), license="MIT")


def make_sdist(folder: Path, marker: Path) -> Package:
    """A source archive whose setup code would leave a marker, were it run."""
    path = folder / "old-texts-0.3.tar.gz"
    files = {
        "old-texts-0.3/setup.py": f"open({str(marker)!r}, 'w').close()\nfrom setuptools import setup\nsetup()\n",
        "old-texts-0.3/PKG-INFO": "Metadata-Version: 1.0\nName: old-texts\nVersion: 0.3\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return Package(requirement="old-texts==0.3", sha256=digest(path), form="sdist", license="MIT")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is told to look in, and nowhere else."""
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return begin_artifact(tmp_path / "run" / "fetch", Origin("fetch", {}, {}))


def fetch(draft: Draft, packages: Mapping[str, Package]) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The stage's facts, and its lines in the ledger."""
    path = draft.path.with_name("ledger.jsonl")
    path.unlink(missing_ok=True)
    with Ledger(path) as ledger:
        facts = fetch_packages(draft, {}, Workplace(Machine(), ledger), packages=packages)
    return facts, [line for line in read_ledger(path) if line["kind"] == "fetched"]


def test_files_lie_under_their_own_names_and_no_setup_code_has_run(shelf: Path, draft: Draft, tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    facts, lines = fetch(draft, {"new": make_wheel(shelf), "old": make_sdist(shelf, marker)})
    assert sorted(each.name for each in draft.folder.iterdir() if each.suffix != ".json") == [
        "old-texts-0.3.tar.gz",
        "some_texts-1.2-py3-none-any.whl",
    ]
    assert facts["files"]["old"]["file"] == "old-texts-0.3.tar.gz"
    assert facts["files"]["new"]["bytes"] == (shelf / "some_texts-1.2-py3-none-any.whl").stat().st_size
    assert [(line["package"], line["new"]) for line in lines] == [("new", True), ("old", True)]
    assert not marker.exists()


def test_the_form_is_the_recipe_s_choice_and_not_that_of_pip_s_settings(
    shelf: Path, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_sdist(shelf, tmp_path / "marker")
    wheel = shelf / "old_texts-0.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a.txt", "text")
    built = source.model_copy(update={"form": "wheel", "sha256": digest(wheel)})
    monkeypatch.setenv("PIP_ONLY_BINARY", ":all:")
    assert fetch(draft, {"a": source})[0]["files"]["a"]["file"] == "old-texts-0.3.tar.gz"
    monkeypatch.delenv("PIP_ONLY_BINARY")
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    assert fetch(draft, {"a": built})[0]["files"]["a"]["file"] == "old_texts-0.3-py3-none-any.whl"


def test_what_has_arrived_is_kept_and_what_was_damaged_is_fetched_again(
    shelf: Path, draft: Draft, tmp_path: Path
) -> None:
    packages = {"new": make_wheel(shelf), "old": make_sdist(shelf, tmp_path / "marker")}
    fetch(draft, packages)
    (shelf / "some_texts-1.2-py3-none-any.whl").unlink()  # so that fetching it again would fail
    (draft.folder / "old-texts-0.3.tar.gz").write_bytes(b"damaged")
    _, lines = fetch(draft, packages)
    assert [(line["package"], line["new"]) for line in lines] == [("new", False), ("old", True)]
    assert digest(draft.folder / "old-texts-0.3.tar.gz") == packages["old"].sha256


def test_nothing_is_started_when_everything_is_there(
    shelf: Path, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {"new": make_wheel(shelf)}
    fetch(draft, packages)
    monkeypatch.setattr("fromscratch.corpus.fetching.fetch.sys.executable", "/no/such/python")
    assert fetch(draft, packages)[0]["files"]["new"]["file"] == "some_texts-1.2-py3-none-any.whl"


def test_a_file_with_another_digest_is_refused_and_not_left_behind(shelf: Path, draft: Draft) -> None:
    package = make_wheel(shelf).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(FromScratchError, match=r"packages\.new\.sha256.*has the digest") as caught:
        fetch(draft, {"new": package})
    assert "0" * 64 in caught.value.message
    assert not list(draft.folder.glob("some_texts*"))


def test_a_version_that_is_not_there_is_named_with_those_that_are(shelf: Path, draft: Draft) -> None:
    make_wheel(shelf, "1.2")
    package = make_wheel(shelf, "1.10")
    missing = package.model_copy(update={"requirement": "some-texts==2.0"})
    with pytest.raises(FromScratchError, match=r"'some-texts==2.0': pip finds no wheel") as caught:
        fetch(draft, {"new": missing})
    assert "1.10, 1.2" in caught.value.hint


def test_a_version_spelt_otherwise_than_its_file_is_refused(shelf: Path, draft: Draft) -> None:
    package = make_wheel(shelf, "1.2").model_copy(update={"requirement": "some-texts==1.2.0"})
    with pytest.raises(FromScratchError, match="named otherwise"):
        fetch(draft, {"new": package})


def test_an_index_that_does_not_answer_is_no_missing_version(
    shelf: Path, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    package = make_wheel(shelf).model_copy(update={"requirement": "other-texts==1.0"})
    with pytest.raises(FromScratchError, match="pip cannot reach it") as caught:
        fetch(draft, {"new": package})
    assert "what has arrived is kept" in caught.value.hint


def test_a_python_without_pip_is_told_so(
    shelf: Path, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "site" / "pip"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no pip here')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(FromScratchError, match="cannot be driven: ImportError: no pip here") as caught:
        fetch(draft, {"new": make_wheel(shelf)})
    assert "ensurepip" in caught.value.hint


def test_a_disk_that_takes_no_more_is_said_as_such(
    shelf: Path, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "site"
    full.mkdir()
    (full / "sitecustomize.py").write_text(
        "import shutil\ndef full(*_): raise OSError(28, 'No space left on device', 'x.whl')\nshutil.copyfile = full\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(full))
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(draft, {"new": make_wheel(shelf)})
    assert (caught.value.errno, caught.value.filename) == (28, "x.whl")


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index of one folder, which breaks off the first transfer of each file."""

    begun: set[str] = set()  # noqa: RUF012 (shared on purpose: one handler is made for each request)

    def do_GET(self) -> None:
        if self.path.endswith("/"):
            folder = Path(self.directory)
            links = "".join(
                f'<a href="/{each.name}#sha256={digest(each)}">{each.name}</a>' for each in sorted(folder.glob("*.whl"))
            )
            body = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
            self.answer(body, "text/html", len(body))
        else:
            body = Path(self.directory, self.path.lstrip("/")).read_bytes()
            first = self.path not in self.begun
            self.begun.add(self.path)
            self.answer(body[: len(body) // 2] if first else body, "application/zip", len(body))

    def answer(self, body: bytes, kind: str, stated_bytes: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(stated_bytes))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the name that is overridden)
        pass


@pytest.fixture
def served(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Index.begun.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Index, directory=str(shelf)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/simple")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("served")
def test_a_transfer_that_breaks_off_is_begun_again(shelf: Path, draft: Draft) -> None:
    package = make_wheel(shelf)
    fetch(draft, {"new": package})
    assert Index.begun == {"/some_texts-1.2-py3-none-any.whl"}
    assert digest(draft.folder / "some_texts-1.2-py3-none-any.whl") == package.sha256


@pytest.mark.usefixtures("served")
def test_an_index_that_tells_another_digest_is_believed_before_anything_is_transferred(
    shelf: Path, draft: Draft
) -> None:
    package = make_wheel(shelf).model_copy(update={"sha256": "f" * 64})
    with pytest.raises(FromScratchError, match="has the digest"):
        fetch(draft, {"new": package})
    assert not Index.begun
