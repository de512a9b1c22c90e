"""Reading a finished corpus: columns, splits, what was dropped, and files that are damaged."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.documents import DOCUMENTS, read_documents
from fromscratch.corpus.kernels.metrics import METRIC_NAMES
from tests.make_corpus import make_corpus

ROWS = [
    {"text": "first", "split": "train"},
    {"text": "dropped", "reason": "too_short"},
    {"text": "第三", "language": "zh", "split": "heldout"},
    {"text": "fourth", "split": "train"},
    {"text": "fifth", "reason": "near_duplicate", "duplicate_of": "0" * 16, "similarity": 0.9},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("run") / "corpus", ROWS, row_group_documents=2).path


def texts(tables: list[pa.Table]) -> list[str]:
    return [text for table in tables for text in table["text"].to_pylist()]


def test_kept_documents_come_in_order_a_row_group_at_a_time(corpus: Path) -> None:
    tables = list(read_documents(corpus, ["text"]))
    assert texts(tables) == ["first", "第三", "fourth"]
    assert [len(table) for table in tables] == [1, 2], "the group of dropped ones alone is left out"


def test_a_split_gives_its_documents_only(corpus: Path) -> None:
    assert texts(list(read_documents(corpus, ["text"], split="train"))) == ["first", "fourth"]
    assert texts(list(read_documents(corpus, ["text"], split="heldout"))) == ["第三"]


def test_dropped_documents_can_be_read_too(corpus: Path) -> None:
    tables = list(read_documents(corpus, ["text", "reason"], keep_only=False))
    assert texts(tables) == [row["text"] for row in ROWS]
    assert tables[0]["reason"].to_pylist() == [None, "too_short"]


def test_only_the_asked_columns_come_in_the_asked_order(corpus: Path) -> None:
    for table in read_documents(corpus, ["split", "id"]):
        assert table.schema == pa.schema([DOCUMENTS.field("split"), DOCUMENTS.field("id")])


def test_every_filter_and_metric_has_its_column() -> None:
    assert {"id", "text", "keep", "step", "reason", "evidence", "duplicate_of"} < set(DOCUMENTS.names)
    assert {"language", "language_score", "han_share", *METRIC_NAMES} < set(DOCUMENTS.names)
    assert DOCUMENTS.field("text").type == pa.large_string()


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match="no documents"):
        list(read_documents(tmp_path, ["text"]))


def test_a_cut_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "documents" / "00000.parquet"
    path.parent.mkdir()
    pq.write_table(DOCUMENTS.empty_table(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FromScratchError, match=r"00000\.parquet: cannot be read"):
        list(read_documents(tmp_path, ["text"]))
