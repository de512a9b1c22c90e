"""Crawls in web-archive files: the right records become pages, and broken ones cost only themselves."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.readers import warc
from fromscratch.corpus.readers.page import Reading, Span
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.sources import FilesSource

PAGES_WRITTEN = 6


def page(number: int) -> bytes:
    return f"<html><body><p>Page {number}. {'Some words. ' * 50}</p></body></html>".encode()


def record(url: str, body: bytes, kind: str = "response", status: str = "200 OK", **headers: str) -> bytes:
    """A WARC record; `Content_Type` and the like become headers of the HTTP response in it."""
    content_type = "text/plain"
    if kind == "response":
        content_type = "application/http; msgtype=response"
        http = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        body = f"HTTP/1.1 {status}\r\n{http}\r\n".encode() + body
    head = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2023-11-14T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{abs(hash(url)):032x}>\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def crawl(zipped: bool) -> tuple[bytes, list[int]]:
    """A crawl of six pages, and where each of its records begins."""
    content, starts = b"", []
    for number in range(PAGES_WRITTEN):
        starts.append(len(content))
        one = record(f"http://e.org/{number}", page(number), Content_Type="text/html; charset=utf-8")
        content += gzip.compress(one) if zipped else one
    return content, starts


def read(path: Path, **settings: float) -> tuple[list[tuple[str, bytes]], list[dict[str, str]]]:
    source = FilesSource(path=str(path), domain="web", license="MIT", **settings)
    rows, unreadable = [], []
    for task in plan_reads({}, {"s": source}, None):
        tables = read_pages(task)
        for table in tables:
            rows += [(row["url"], row["content"]) for row in table.to_pylist()]
        unreadable += tables.unreadable
    return rows, unreadable


@pytest.mark.parametrize("zipped", [False, True])
def test_pages_come_with_their_addresses_and_declared_charsets(tmp_path: Path, zipped: bool) -> None:
    html = "text/html"
    records = [
        record("x.warc", b"software: test\r\n", kind="warcinfo"),
        record("http://e.org/", page(0), Content_Type="text/html; charset=GBK"),
        record("http://e.org/gone", page(1), status="404 Not Found", Content_Type=html),
        record("http://e.org/picture", b"\x89PNG", Content_Type="image/png"),
        record("http://e.org/plain", b"plain text", Content_Type="text/plain"),
        record("http://e.org/packed", gzip.compress(page(2)), Content_Type=html, Content_Encoding="gzip"),
        record(
            "http://e.org/parts", b"3\r\n<p>\r\n2\r\nhi\r\n0\r\n\r\n", Content_Type=html, Transfer_Encoding="chunked"
        ),
        record("http://e.org/text", "网页的文字".encode(), kind="conversion"),
    ]
    path = tmp_path / ("a.warc.gz" if zipped else "a.warc")
    path.write_bytes(b"".join(gzip.compress(each) if zipped else each for each in records))
    (task,) = plan_reads({}, {"s": FilesSource(path=str(path), domain="web", license="MIT")}, None)
    tables = read_pages(task)
    rows = [row for table in tables for row in table.to_pylist()]
    assert [
        (row["url"].removeprefix("http://e.org/"), row["kind"], row["charset"], row["content"]) for row in rows
    ] == [
        ("", "html", "gbk", page(0)),
        ("plain", "text", None, b"plain text"),
        ("packed", "html", None, page(2)),
        ("parts", "html", None, b"<p>hi"),
        ("text", "text", None, "网页的文字".encode()),
    ]
    assert tables.unreadable == []


def zeros_at(start: int, size: int) -> Callable[[bytes, list[int]], bytes]:
    return lambda content, starts: content[: starts[2] + start] + bytes(size) + content[starts[2] + start + size :]


def cut_last(content: bytes, starts: list[int]) -> bytes:
    return content[: (starts[5] + len(content)) // 2]


def cut_in_header(content: bytes, starts: list[int]) -> bytes:
    return content[: starts[5] + 40]


def garbage_between(content: bytes, starts: list[int]) -> bytes:
    return content[: starts[2]] + b"garbage\r\n\r\n" + content[starts[2] :]


def length(stated: bytes) -> Callable[[bytes, list[int]], bytes]:
    def change(content: bytes, starts: list[int]) -> bytes:
        at = content.index(b"Content-Length: ", starts[2])
        return content[:at] + b"Content-Length: " + stated + content[content.index(b"\r\n", at) :]

    return change


@pytest.mark.parametrize(
    ("zipped", "damage", "lost"),
    [
        (False, zeros_at(0, 40), {2}),
        (False, length(b"many"), {2}),
        (False, length(b"99999999"), {2}),
        (False, cut_last, {5}),
        (False, cut_in_header, {5}),
        (False, garbage_between, set()),
        (True, zeros_at(0, 20), {2}),
        (True, zeros_at(30, 20), {2}),
        (True, cut_last, {5}),
        (True, cut_in_header, {5}),
        (True, garbage_between, set()),
    ],
)
def test_a_broken_record_is_counted_once_and_costs_only_itself(
    tmp_path: Path, zipped: bool, damage: Callable[[bytes, list[int]], bytes], lost: set[int]
) -> None:
    path = tmp_path / ("a.warc.gz" if zipped else "a.warc")
    path.write_bytes(damage(*crawl(zipped)))
    rows, unreadable = read(path)
    assert rows == [(f"http://e.org/{number}", page(number)) for number in range(PAGES_WRITTEN) if number not in lost]
    assert len(unreadable) == 1, unreadable
    assert unreadable[0]["place"].startswith(path.name)


@pytest.mark.parametrize("scan_bytes", [16, 37, 100, 1000])
def test_the_next_record_is_found_wherever_the_search_is_cut(
    tmp_path: Path, scan_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warc, "SCAN_BYTES", scan_bytes)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(zeros_at(30, 20)(*crawl(zipped=True)))
    assert [url[-1] for url, _ in read(path)[0]] == ["0", "1", "3", "4", "5"]


def test_two_broken_records_are_counted_twice(tmp_path: Path) -> None:
    content, starts = crawl(zipped=True)
    damaged = bytearray(content)
    for record in (1, 2, 4):
        damaged[starts[record] + 30 : starts[record] + 50] = bytes(20)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(damaged)
    rows, unreadable = read(path)
    assert [url[-1] for url, _ in rows] == ["0", "3", "5"]
    assert len(unreadable) == 3


def test_a_page_beyond_the_limit_is_reported_and_passed_over(tmp_path: Path) -> None:
    bomb = record("http://e.org/b", gzip.compress(bytes(5_000_000)), Content_Type="text/html", Content_Encoding="gzip")
    sound = record("http://e.org/1", page(1), Content_Type="text/html")
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(bomb) + gzip.compress(sound))
    rows, unreadable = read(tmp_path, largest_megabytes=1)
    assert [url for url, _ in rows] == ["http://e.org/1"]
    assert [each["why"] for each in unreadable] == ["larger than 1 MB"]


@pytest.mark.parametrize("content", [b"", b"<html>no archive</html>"])
def test_what_is_no_web_archive_is_said_and_the_next_file_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.warc").write_bytes(content)
    (tmp_path / "b.warc").write_bytes(crawl(zipped=False)[0])
    rows, unreadable = read(tmp_path)
    assert len(rows) == PAGES_WRITTEN
    (told,) = unreadable
    assert told["place"].endswith("a.warc") and told["why"].startswith("not a WARC file")


@pytest.mark.parametrize("zipped", [False, True])
def test_a_damaged_beginning_of_the_file_costs_one_record(tmp_path: Path, zipped: bool) -> None:
    content, starts = crawl(zipped)
    (tmp_path / "a.warc").write_bytes(b"garbage" + content[7:])
    rows, unreadable = read(tmp_path)
    assert rows == [(f"http://e.org/{number}", page(number)) for number in range(1, PAGES_WRITTEN)]
    assert [each["place"] for each in unreadable] == [f"{tmp_path.name}/a.warc#0"]
    assert starts[0] == 0


def small_crawl(pack: Callable[[bytes], bytes]) -> bytes:
    """Records of pages that mention how records begin: a cut falls into them, too."""
    shown = b"A record begins so:\r\n\r\nWARC/1.0\r\nContent-Length: 5\r\n\r\nor \x1f\x8b\x08\x00, or (\xb5/\xfd."
    html = "text/html"
    return b"".join(pack(record(f"http://e.org/{n}", b"%d %b" % (n, shown), Content_Type=html)) for n in range(5))


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "stored": lambda content: gzip.compress(content, compresslevel=0),
    "zstd": lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True)),
}


@pytest.mark.parametrize("pack", PACKS)
def test_wherever_a_file_is_cut_each_record_falls_to_one_part(pack: str) -> None:
    content = small_crawl(PACKS[pack])

    def urls(span: Span) -> list[str]:
        reading = Reading("a.warc", 10**6, lambda number, why: pytest.fail(f"{span} {number}: {why}"))
        return [page.url or "" for page in warc.read_warc(io.BytesIO(content), reading, span)]

    whole = urls((0, None))
    assert len(whole) == 5
    for cut in range(1, len(content)):
        assert urls((0, cut)) + urls((cut, None)) == whole
    thirds = [(0, len(content) // 3), (len(content) // 3, len(content) * 2 // 3), (len(content) * 2 // 3, None)]
    assert [url for span in thirds for url in urls(span)] == whole


def test_damage_at_a_cut_is_found_by_one_of_the_parts() -> None:
    content, starts = crawl(zipped=True)
    damaged = zeros_at(30, 20)(content, starts)
    for cut in (starts[2], starts[2] + 1, starts[2] + 40, starts[3]):
        told: list[str] = []
        reading = Reading("a.warc", 10**6, lambda number, why, told=told: told.append(f"{number} {why}"))
        spans: list[Span] = [(0, cut), (cut, None)]
        pages = [each.url for span in spans for each in warc.read_warc(io.BytesIO(damaged), reading, span)]
        assert pages == [f"http://e.org/{number}" for number in (0, 1, 3, 4, 5)], cut
        assert len(told) == 1, told


@pytest.mark.parametrize("charset", ["gb18030", "big5", "shift_jis", "iso-8859-1"])
@pytest.mark.parametrize("declared", [True, False])
def test_pages_in_other_encodings_become_the_same_text(tmp_path: Path, charset: str, declared: bool) -> None:
    sentences = {
        "gb18030": "网络爬虫收集网页，并把其中的正文交给语言模型。",
        "big5": "網路爬蟲收集網頁，並把其中的正文交給語言模型。",
        "shift_jis": "ウェブを巡回して集めたページの本文を、言語モデルに渡します。",
        "iso-8859-1": "Les pages récoltées sont déjà triées à Genève, où l'été fut sévère.",
    }
    body = f"<html><body>{''.join(f'<p>{number}. {sentences[charset] * 4}</p>' for number in range(9))}</body></html>"
    content_type = f"text/html; charset={charset}" if declared else "text/html"
    (tmp_path / "a.warc").write_bytes(record("http://e.org/", body.encode(charset), Content_Type=content_type))
    (task,) = plan_reads({}, {"s": FilesSource(path=str(tmp_path), domain="web", license="MIT")}, None)
    (pages,) = (extract_text(table, ExtractionSettings()) for table in read_pages(task))
    assert pages["error"].to_pylist() == [None]
    assert pages["text"][0].as_py().count(sentences[charset]) == 36
