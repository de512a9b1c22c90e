"""Every format gives its pages with address, title and kind; damage is named, and what can be kept is kept."""

import bz2
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.readers import pages as pages_module
from fromscratch.corpus.readers.pages import PAGES, read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.readers.streams import TooLarge, read_whole
from fromscratch.corpus.sources import FilesSource


def read(path: Path, **settings: Any) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """All pages of a source as rows, and what was unreadable; settings are written as in a recipe."""
    source = validate_settings(
        FilesSource, {"path": str(path), "domain": "books", "license": "MIT", **settings}, "recipe.toml"
    )
    rows, unreadable = [], []
    for task in plan_reads({}, {"s": source}, None):
        tables = read_pages(task)
        for table in tables:
            assert table.schema == PAGES
            rows += table.to_pylist()
        unreadable += tables.unreadable
    return rows, unreadable


def texts(path: Path, **settings: Any) -> list[str]:
    return [row["content"].decode() for row in read(path, **settings)[0]]


def refusal(path: Path, **settings: Any) -> str:
    """What is said of the one place that cannot be read, when nothing else of the source can be."""
    rows, unreadable = read(path, **settings)
    assert rows == []
    (told,) = (f"{each['place']}: {each['why']}" for each in unreadable)
    return told


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


PACKERS = {".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress}


def test_formats_are_told_by_extension_and_every_column_is_filled(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<p>page")
    (tmp_path / "b.txt").write_bytes(b"text\r\n")
    (tmp_path / "c.py").write_bytes(b"code = 1")
    (tmp_path / "d.jsonl").write_text('{"text": "line", "title": "a title", "url": "http://e.org/1"}\n')
    rows, unreadable = read(tmp_path, language="en")
    name = tmp_path.name
    assert [(row["kind"], row["content"], row["title"], row["url"]) for row in rows] == [
        ("html", b"<p>page", None, f"{name}/a.html"),
        ("text", b"text\r\n", None, f"{name}/b.txt"),
        ("code", b"code = 1", None, f"{name}/c.py"),
        ("text", b"line", "a title", "http://e.org/1"),
    ]
    assert {(row["source"], row["domain"], row["license"], row["language_hint"]) for row in rows} == {
        ("s", "books", "MIT", "en")
    }
    assert unreadable == []


@pytest.mark.parametrize("ending", PACKERS)
def test_compressed_files_are_unpacked_also_when_packed_in_pieces(tmp_path: Path, ending: str) -> None:
    pack = PACKERS[ending]
    (tmp_path / f"a.txt{ending}").write_bytes(pack("第一回 ".encode()) + pack("宴桃园".encode()))
    assert texts(tmp_path) == ["第一回 宴桃园"]


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("style", ["txt", "jsonl", "json"])
def test_a_cut_file_is_named_whatever_the_format_and_the_next_is_read(tmp_path: Path, ending: str, style: str) -> None:
    lines = json.dumps([{"text": f"line {number * 7919 % 5003}"} for number in range(5000)])
    if style == "jsonl":
        lines = lines[1:-1].replace("}, ", "}\n")
    packed = PACKERS[ending](lines.encode())
    (tmp_path / f"a.{style}{ending}").write_bytes(packed[: len(packed) * 9 // 10])
    (tmp_path / f"b.{style}").write_text('["sound"]' if style == "json" else '{"text": "sound"}')
    settings = {"format": {"kind": "json_records"}} if style == "json" else {}
    rows, unreadable = read(tmp_path, **settings)
    assert b"sound" in rows[-1]["content"]
    assert [each["place"] for each in unreadable] == [f"{tmp_path.name}/a.{style}{ending}"]
    kept = [row["content"] for row in rows[:-1]]
    if style == "jsonl" and ending in (".gz", ".xz"):  # the blocks of the others are larger than this file
        assert len(kept) > 1000
        assert kept == [f"line {number * 7919 % 5003}".encode() for number in range(len(kept))]


def test_a_file_full_of_faults_does_not_flood_the_list(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("no json\n" * 1000 + '{"text": "sound"}\n')
    rows, unreadable = read(tmp_path)
    assert [row["content"] for row in rows] == [b"sound"]
    assert len(unreadable) == pages_module.LISTED_PLACES + 1
    assert unreadable[-1] == {"source": "s", "place": f"{tmp_path.name}/a.jsonl", "why": "900 places more"}


def test_a_bomb_costs_no_more_than_the_limit_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(zstd(b"\0" * 50_000_000))
    (tmp_path / "b.txt").write_text("text")
    rows, unreadable = read(tmp_path, largest_megabytes=1.5)
    assert [row["content"] for row in rows] == [b"text"]
    assert unreadable == [{"source": "s", "place": f"{tmp_path.name}/a.txt.zst", "why": "larger than 1.5 MB"}]


def test_no_more_is_unpacked_than_shows_that_it_is_too_much() -> None:
    stream = io.BytesIO(bytes(10_000))
    with pytest.raises(TooLarge, match=r"larger than 0\.001 MB"):
        read_whole(stream, 1000)
    assert stream.tell() == 1001
    assert read_whole(io.BytesIO(bytes(1000)), 1000) == bytes(1000)


def test_batches_are_bounded_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "BATCH_BYTES", 100)
    monkeypatch.setattr(pages_module, "BATCH_PAGES", 7)
    lengths = [3] * 20 + [60, 60, 60, 500, 3]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "x" * length}) + "\n" for length in lengths))
    source = FilesSource(path=str(tmp_path), domain="books", license="MIT")
    (task,) = plan_reads({}, {"s": source}, None)
    tables = list(read_pages(task))
    assert [len(table) for table in tables] == [7, 7, 7, 2, 1, 1]
    assert [len(content) for table in tables for content in table["content"].to_pylist()] == lengths


def test_bad_lines_are_counted_by_their_number_and_the_rest_is_kept(tmp_path: Path) -> None:
    lines = ['{"text": "one"}', "{broken", '["no object"]', '{"txt": "x"}', "", '{"text": "last"}', '{"text": 5}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows, unreadable = read(tmp_path)
    assert [(row["content"], row["url"].split("#")[1]) for row in rows] == [(b"one", "0"), (b"last", "5")]
    assert [each["place"].split("#")[1] for each in unreadable] == ["1", "2", "3", "6"]
    assert "found: txt" in unreadable[2]["why"]


def test_a_line_beyond_the_limit_does_not_shift_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "' + "x" * 5000 + '"}\n{"text": "two"}\n')
    rows, unreadable = read(tmp_path, largest_megabytes=0.001)
    assert [row["url"].split("#")[1] for row in rows] == ["0", "2"]
    assert [each["place"].split("#")[1] for each in unreadable] == ["1"]


def test_a_file_in_which_every_line_lacks_the_key_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "one"}\n{"content": "two"}\n')
    rows, unreadable = read(tmp_path)
    assert (rows, len(unreadable)) == ([], 3)
    assert (
        "not one line is a record; the last has no text under the key 'text' (found: content); set the"
        in (unreadable[-1]["why"])
    )
    assert texts(tmp_path, format={"kind": "jsonl", "text": "content"}) == ["one", "two"]


def test_lone_surrogates_in_json_do_not_stop_anything(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud83d b", "title": "\\ud83d"}')
    rows, _ = read(tmp_path)
    assert rows[0]["content"] == b"a ? b"


def test_parquet_rows_are_records_and_nulls_are_passed_over(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", None, "three"], "title": [None, None, "T"], "other": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    rows, _ = read(tmp_path)
    assert [(row["content"], row["title"], row["url"].split("#")[1]) for row in rows] == [
        (b"one", None, "0"),
        (b"three", "T", "2"),
    ]
    assert "no column 'body'" in refusal(tmp_path, format={"kind": "parquet", "text": "body"})


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_cut_parquet_file_is_named(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"line {number}" for number in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "a.parquet: a damaged Parquet file" in refusal(tmp_path)


def test_a_damaged_row_group_behind_a_sound_footer_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    lines = [f"line {number}" for number in range(3000)]
    pq.write_table(pa.table({"text": lines}), path, compression="gzip", row_group_size=1000)
    begins = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[begins + 50 : begins + 250] = bytes(200)
    path.write_bytes(content)
    rows, unreadable = read(tmp_path)
    assert [row["content"].decode() for row in rows] == [*lines[:1000], *lines[2000:]]
    assert rows[-1]["url"].endswith("#2999")
    (told,) = unreadable
    assert told["place"].endswith("a.parquet#1000") and "a damaged row group" in told["why"]


IDIOMS = 'word,explanation,example\n阿党比周,"指相互勾结，\n结党营私。",无\n\n一,,“例”\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_csv_cells_become_text_in_the_order_asked_whatever_the_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(IDIOMS.encode(encoding))
    style = {"kind": "csv", "text": ["word", "example", "explanation"], "title": "word", "absent": ["无"]}
    rows, unreadable = read(tmp_path, format=style)
    assert [(row["title"], row["content"].decode()) for row in rows] == [
        ("阿党比周", "阿党比周\n指相互勾结，\n结党营私。"),
        ("一", "一\n“例”"),
    ]
    assert unreadable == []


def test_a_csv_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(IDIOMS)
    told = refusal(tmp_path, format={"kind": "csv", "text": ["meaning"]})
    assert "a.csv: there is no column 'meaning'" in told and "'explanation'" in told


def test_json_records_are_strings_or_objects_in_arrays_or_objects(tmp_path: Path) -> None:
    shapes = {
        "a.json": ["chapter one", 5, "chapter two"],
        "b.json": {"Key": {"title": "A title", "extract": "An extract"}, "Other": {"extract": "More"}},
    }
    for name, whole in shapes.items():
        (tmp_path / name).write_text(json.dumps(whole))
    rows, unreadable = read(tmp_path / "a.json", format={"kind": "json_records"})
    assert [row["content"] for row in rows] == [b"chapter one", b"chapter two"]
    assert unreadable == [{"source": "s", "place": "a.json#1", "why": "not a string"}]
    rows, _ = read(tmp_path / "b.json", format={"kind": "json_records", "text": "extract"})
    assert [(row["title"], row["content"]) for row in rows] == [("Key", b"An extract"), ("Other", b"More")]
    rows, _ = read(tmp_path / "b.json", format={"kind": "json_records", "text": "extract", "title": "title"})
    assert [row["title"] for row in rows] == ["A title", None]


def test_json_values_are_found_however_deep_and_as_html_where_asked(tmp_path: Path) -> None:
    whole = {"documentation": "<p>top", "shapes": [{"a": {"documentation": "<b>deep</b>"}}, {"documentation": None}]}
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(whole).encode()))
    rows, _ = read(tmp_path, format={"kind": "json_values", "key": "documentation", "content": "html"})
    assert [(row["kind"], row["content"]) for row in rows] == [("html", b"<b>deep</b>"), ("html", b"<p>top")]


@pytest.mark.parametrize("content", [b"{", b"[1, 2", b"\xff\xfe\xfa", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert "a.json: not valid JSON" in refusal(tmp_path, format={"kind": "json_records"})
    assert "a.json: not valid JSON" in refusal(tmp_path, format={"kind": "json_values", "key": "k"})


def test_a_line_that_nests_too_deep_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"[" * 100_000 + b'\n{"text": "sound"}\n')
    rows, unreadable = read(tmp_path)
    assert [row["content"] for row in rows] == [b"sound"]
    assert unreadable[0]["place"].endswith("#0")


def test_short_records_are_left_out_or_joined_until_long_enough(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": "12345", "b": "1", "c": "123456", "d": "1234567", "e": "12345"}))
    style = {"kind": "json_records", "least_characters": 5}
    assert texts(tmp_path, format=style) == ["12345", "123456", "1234567", "12345"]
    rows, _ = read(tmp_path, format={**style, "join_characters": 11})
    assert [(row["content"], row["title"], row["url"].split("#")[1]) for row in rows] == [
        (b"12345\n\n123456", None, "0-2"),
        (b"1234567\n\n12345", None, "3-4"),
    ]
    rows, _ = read(tmp_path, format={**style, "join_characters": 6})
    assert [(row["title"], row["url"].split("#")[1]) for row in rows] == [(None, "0-2"), ("d", "3"), ("e", "4")]


PROGRAM = '''
"""The module's own."""
import does_not_exist
raise SystemExit("nobody runs this")

class Template:
    """模板详情

    """

    def __init__(self):
        r"""
        :param _Definition: 唯一标识。
        """

    @property
    def Definition(self):
        """:param _Definition: 唯一标识。"""

    class Inner:
        """Within, with \\d in it."""

async def alone():
    """A function."""

def silent(): pass
'''


def test_docstrings_are_gathered_by_class_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(PROGRAM)
    rows, unreadable = read(tmp_path, format={"kind": "docstrings"})
    assert [(row["title"], row["content"].decode()) for row in rows] == [
        (None, "The module's own."),
        ("Template", "模板详情\n\n:param _Definition: 唯一标识。\n\nWithin, with \\d in it."),
        ("alone", "A function."),
    ]
    assert unreadable == []


def test_a_program_of_another_python_is_counted_and_the_next_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("print 'old'")
    (tmp_path / "b.py").write_bytes("# coding: gbk\n'''文档'''".encode("gbk"))
    rows, unreadable = read(tmp_path, format={"kind": "docstrings"})
    assert [row["content"].decode() for row in rows] == ["文档"]
    assert [each["place"] for each in unreadable] == [f"{tmp_path.name}/a.py"]


def test_a_file_that_may_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (task,) = plan_reads({}, {"s": FilesSource(path=str(tmp_path), domain="books", license="MIT")}, None)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(FromScratchError, match=r"a\.txt: cannot be opened"):
        list(read_pages(task))
