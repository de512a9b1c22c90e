"""The corpus stage as a whole: equal bytes for any number of workers and after any interruption."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fromscratch.core.artifact import Draft, Origin, begin_artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import digest_file
from fromscratch.core.ledger import Ledger
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus import build
from fromscratch.corpus.build import build_corpus
from fromscratch.corpus.comparison.against import against_digests
from fromscratch.corpus.documents import DOCUMENTS, read_documents
from fromscratch.corpus.kernels import measure as kernels
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.shard import ShardJob, write_shard

PAGES = Path(__file__).parent.parent / "fixtures" / "pages"
REAL_SOURCES = {
    "docs_en": {"kind": "files", "path": str(PAGES / "html" / "en"), "domain": "technical", "license": "PostgreSQL"},
    "docs_zh": {"kind": "files", "path": str(PAGES / "html" / "zh"), "domain": "technical", "license": "MPL-2.0"},
    "rights": {"kind": "files", "path": str(PAGES / "html" / "udhr"), "domain": "law", "license": "MIT"},
    "plays": {"kind": "files", "path": str(PAGES / "text" / "en"), "domain": "books", "license": "CC0-1.0"},
    "novel": {"kind": "files", "path": str(PAGES / "text" / "zh"), "domain": "books", "license": "CC0-1.0"},
}


def settings(sources: Mapping[str, Any], **sections: Any) -> CorpusSettings:
    return CorpusSettings.model_validate({"sources": sources, **sections})


def built(folder: Path, corpus: CorpusSettings, workers: int = 1) -> tuple[Draft, Mapping[str, Any]]:
    """The draft's folder as the stage leaves it, and its facts."""
    draft = begin_artifact(folder, Origin("corpus", json.loads(corpus.model_dump_json()), {}))
    with Ledger(folder.with_suffix(".jsonl")) as ledger:
        facts = build_corpus(draft, {}, Workplace(Machine(workers=workers), ledger), packages={}, corpus=corpus)
    return draft, facts


def content(folder: Path) -> dict[str, str]:
    files = sorted(each for each in folder.rglob("*") if each.is_file() and each.name != "begun.json")
    return {each.relative_to(folder).as_posix(): digest_file(each) for each in files}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for table in read_documents(folder, DOCUMENTS.names, keep_only=False) for row in table.to_pylist()]


def json_lines(path: Path, texts: list[str], **source: Any) -> dict[str, Any]:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return {"kind": "files", "path": str(path), "domain": "web", "license": "CC0-1.0", **source}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Draft, Mapping[str, Any]]]:
    yield built(tmp_path_factory.mktemp("run") / "corpus", settings(REAL_SOURCES))


def test_every_page_that_entered_is_a_row_in_the_order_of_the_sources(
    real: tuple[Draft, Mapping[str, Any]],
) -> None:
    rows = rows_of(real[0].folder)
    files = [each for each in PAGES.rglob("*") if each.suffix in (".html", ".txt")]
    assert len(rows) == len(files) == real[1]["read"]["documents"]
    assert list(dict.fromkeys(row["source"] for row in rows)) == list(REAL_SOURCES)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["license"] for row in rows if row["source"] == "docs_zh"} == {"MPL-2.0"}
    for row in rows:
        assert row["bytes"] == len(row["text"].encode())
        assert row["keep"] == (row["reason"] is None) == (row["split"] is not None)
        if row["source"] in ("plays", "novel"):
            assert 0 <= row["raw_bytes"] - row["bytes"] < 0.001 * row["bytes"]  # white space of blank lines


def test_the_funnel_counts_the_rows(real: tuple[Draft, Mapping[str, Any]]) -> None:
    draft, facts = real
    rows = rows_of(draft.folder)
    funnel = json.loads((draft.folder / "funnel.json").read_text(encoding="utf-8"))
    kept = [row for row in rows if row["keep"]]
    tally = {"documents": len(kept), "bytes": sum(row["bytes"] for row in kept)}
    assert funnel["steps"][-1]["kept"] == facts["kept"] == tally
    dropped = [reason for step in funnel["steps"] for reason, lost in step["dropped"].items() if lost["documents"]]
    assert set(dropped) == {row["reason"] for row in rows} - {None}
    assert funnel["sources"]["rights"]["documents"] == 15
    assert funnel["sources"]["rights"]["kept_documents"] == 3, "English, and Chinese in two scripts"


def test_documents_the_funnel_and_an_index_are_left(real: tuple[Draft, Mapping[str, Any]]) -> None:
    parts = ("bands-0-0", "digests-0-0", "index.json", "paragraphs-0-0", "records")
    documents = [f"documents/{number:05d}.parquet" for number in range(len(REAL_SOURCES))]
    left = [name for name in content(real[0].folder) if not name.startswith("models/")]
    assert left == [*documents, "funnel.json", *(f"index/{part}" for part in parts)]


def test_two_workers_write_the_same_bytes_as_one(real: tuple[Draft, Mapping[str, Any]], tmp_path: Path) -> None:
    draft, _ = built(tmp_path / "corpus", settings(REAL_SOURCES), workers=2)
    assert content(draft.folder) == content(real[0].folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from fromscratch.corpus import build, shard
from tests.corpus.test_build import REAL_SOURCES, built, settings

done = []
def write_or_die(job):
    if len(done) == 2:
        Path(f"{job.path}.writing").write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(job)
    return shard.write_shard(job)

build.write_shard = write_or_die
built(Path(sys.argv[1]), settings(REAL_SOURCES))
"""


def test_killed_and_resumed_work_keeps_finished_shards_and_ends_with_the_same_bytes(
    real: tuple[Draft, Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parent.parent.parent
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "corpus")], cwd=root, check=False)
    assert killed.returncode == -9
    shards = tmp_path / ".corpus.unfinished" / "shards"
    assert len(list(shards.glob("*.parquet"))) == 2
    assert list(shards.glob("*.writing"))
    written: list[ShardJob] = []

    def noted(job: ShardJob) -> Any:
        written.append(job)
        return write_shard(job)

    monkeypatch.setattr(build, "write_shard", noted)
    draft, _ = built(tmp_path / "corpus", settings(REAL_SOURCES))
    assert draft.resumed
    assert len(written) == 3
    assert content(draft.folder) == content(real[0].folder)


def test_a_second_attempt_after_the_last_step_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = settings({"novel": REAL_SOURCES["novel"]})
    draft, facts = built(tmp_path / "corpus", corpus)
    before = content(draft.folder)
    monkeypatch.setattr(build, "write_shard", lambda _job: pytest.fail("a shard was written again"))
    draft, again = built(tmp_path / "corpus", corpus)
    assert again["kept"] == facts["kept"]
    assert content(draft.folder) == before


def english(number: int) -> str:
    words = " ".join(f"word{(number * 7919 + place * 104729) % 99991}" for place in range(40))
    return f"This is the text of document {number}, and it is one that we have with us. {words}."


def test_duplicates_go_for_the_first_source_and_name_their_partner(tmp_path: Path) -> None:
    first = [english(1), english(2), english(3)]
    second = [english(2), english(4), english(3).replace("with us", "with you")]
    sources = {
        "first": json_lines(tmp_path / "first.jsonl", first, language="en"),
        "second": json_lines(tmp_path / "second.jsonl", second, language="en"),
    }
    rows = rows_of(built(tmp_path / "corpus", settings(sources))[0].folder)
    by_url = {row["url"]: row for row in rows}
    exact, near = by_url["second.jsonl#0"], by_url["second.jsonl#2"]
    assert [row["keep"] for row in rows] == [True, True, True, False, True, False]
    assert (exact["reason"], exact["similarity"]) == ("exact_duplicate", 1.0)
    assert exact["duplicate_of"] == by_url["first.jsonl#1"]["id"]
    assert near["reason"] == "near_duplicate"
    assert near["duplicate_of"] == by_url["first.jsonl#2"]["id"]
    assert 0.8 < near["similarity"] < 1


def test_no_near_duplicate_of_a_held_out_document_is_left_to_train_on(tmp_path: Path) -> None:
    texts = [english(number) for number in range(60)]
    repeated = [text.replace("one that", "a text that") for text in texts]
    sources = {"pages": json_lines(tmp_path / "pages.jsonl", texts + repeated, language="en")}
    corpus = settings(sources, heldout={"share": 0.2})
    rows = rows_of(built(tmp_path / "corpus", corpus)[0].folder)
    heldout = {row["text"] for row in rows if row["split"] == "heldout"}
    trained = {row["text"] for row in rows if row["split"] == "train"}
    assert len(heldout) == 12
    assert len(trained) == 48
    assert not trained & {text.replace("one that", "a text that") for text in heldout}


def overlapping_crawls(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two crawls, the second of which repeats half of the first, some of it with changes, beside new pages."""
    notice = "Please read these terms of use before you go on, they apply to all of the pages."
    texts = [f"{english(number)}\n{notice}" for number in range(40)]
    again = [*texts[20:30], *(text.replace("one that", "a text that") for text in texts[30:40])]
    new = [f"{english(number)}\n{notice}" for number in range(100, 120)]
    return (
        json_lines(folder / "first.jsonl", texts, language="en"),
        json_lines(folder / "second.jsonl", [*again, *new, *again[:3]], language="en"),
    )


def test_a_crawl_compared_with_an_earlier_corpus_is_judged_as_if_both_were_one(tmp_path: Path) -> None:
    first, second = overlapping_crawls(tmp_path)
    joint = rows_of(built(tmp_path / "joint", settings({"first": first, "second": second}))[0].folder)
    built(tmp_path / "earlier", settings({"first": first}))[0].finish()
    assert against_digests([str(tmp_path / "earlier")]).keys() == {f"against.{tmp_path / 'earlier'}"}
    later = settings({"second": second}, against=[str(tmp_path / "earlier")])
    rows = rows_of(built(tmp_path / "later", later)[0].folder)
    expected = [row for row in joint if row["source"] == "second"]
    assert len(rows) == 43
    for row, other in zip(rows, expected, strict=True):
        assert {**row, "split": None} == {**other, "split": None}
    reasons = Counter(row["reason"] for row in rows)
    assert reasons == {None: 20, "exact_duplicate": 13, "near_duplicate": 10}
    kept_before = {row["id"] for row in joint if row["source"] == "first"}
    assert {row["duplicate_of"] for row in rows} - {None} <= kept_before
    assert all("terms of use" not in row["text"] for row in rows if row["keep"])


def test_an_earlier_corpus_of_other_keys_is_refused_by_the_name_of_the_setting(tmp_path: Path) -> None:
    first, second = overlapping_crawls(tmp_path)
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    sources = {"sources": {"second": second}, "against": [str(earlier)]}
    with pytest.raises(FromScratchError, match="there is no finished corpus at"):
        built(later, CorpusSettings.model_validate(sources))
    built(earlier, settings({"first": first}))[0].finish()
    for section, change in (("duplicates", {"rows": 5}), ("paragraphs", {"most_documents": None})):
        [(name, value)] = change.items()
        with pytest.raises(FromScratchError, match=rf"`corpus.{section}.{name}` = {value}, but it was"):
            built(tmp_path / section, CorpusSettings.model_validate({**sources, section: change}))
    loose = CorpusSettings.model_validate({**sources, "duplicates": {"threshold": 0.7}})  # the keys mean the same
    assert built(tmp_path / "loose", loose)[1]["kept"]["documents"] == 20


def test_dropped_documents_keep_their_text_and_metrics(tmp_path: Path) -> None:
    sources = {"pages": json_lines(tmp_path / "pages.jsonl", [english(1), "Too short, and that is it."], language="en")}
    _, row = rows_of(built(tmp_path / "corpus", settings(sources))[0].folder)
    assert row["text"] == "Too short, and that is it."
    assert row["reason"] == "too_short"
    assert row["characters"] == 26
    assert row["similarity"] is None


def test_nothing_left_is_an_error_with_the_largest_reasons_and_leaves_no_corpus(tmp_path: Path) -> None:
    sources = {"pages": json_lines(tmp_path / "pages.jsonl", ["Ein kurzer Satz auf Deutsch, und noch einer."] * 3)}
    with pytest.raises(FromScratchError, match="nothing left after filtering: all 3 documents") as refused:
        built(tmp_path / "corpus", settings(sources))
    assert "wrong_language 3 (language)" in refused.value.hint
    assert not (tmp_path / ".corpus.unfinished" / "funnel.json").exists()


def test_what_could_not_be_read_is_listed(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "pages.jsonl", [english(1)], language="en")
    with (tmp_path / "pages.jsonl").open("a") as file:
        file.write("no json\n")
    draft, facts = built(tmp_path / "corpus", settings({"pages": source}))
    funnel = json.loads((draft.folder / "funnel.json").read_text(encoding="utf-8"))
    assert facts["unreadable"] == 1
    assert [each["place"] for each in funnel["unreadable"]] == ["pages.jsonl#1"]


def test_kernels_work_where_machine_code_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = kernels.numba.njit

    def nowhere_to_write(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(kernels.numba, "njit", nowhere_to_write)

    @kernels.kernel
    def doubled(value: int) -> int:
        return value * 2

    assert doubled(21) == 42


def test_the_schema_of_a_file_is_the_documented_one(real: tuple[Draft, Mapping[str, Any]]) -> None:
    assert pq.read_schema(real[0].folder / "documents" / "00000.parquet").equals(DOCUMENTS)
