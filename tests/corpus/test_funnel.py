"""The funnel: every document and byte that enters a step is either kept by it or dropped for a reason."""

from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.cascade import STEPS
from fromscratch.corpus.funnel import count_funnel, refuse_empty_corpus


def documents(*rows: tuple[str, str, int, int, str | None, str | None]) -> pa.Table:
    names = ("source", "language", "raw_bytes", "bytes", "step", "reason")
    return pa.Table.from_pylist(
        [{**dict(zip(names, row, strict=True)), "license": f"{row[0].upper()}-1.0"} for row in rows],
        schema=pa.schema(
            [(name, pa.int64() if name.endswith("bytes") else pa.string()) for name in (*names, "license")]
        ),
    )


TABLE = documents(
    ("a", "en", 100, 60, None, None),
    ("a", "en", 100, 70, "quality", "too_short"),
    ("a", "und", 50, 0, "extract", "no_text"),
    ("b", "zh", 30, 30, None, None),
    ("b", "fr", 40, 40, "language", "wrong_language"),
    ("b", "zh", 30, 30, "near duplicates", "near_duplicate"),
    ("b", "zh", 31, 31, "exact duplicates", "exact_duplicate"),
)


def test_counts_of_each_step() -> None:
    steps = {step["step"]: step for step in count_funnel(TABLE, [])["steps"]}
    assert steps["read"]["entered"] == steps["read"]["kept"] == {"documents": 7, "bytes": 381}
    assert steps["extract"]["dropped"] == {
        "no_text": {"documents": 1, "bytes": 50},
        "markup": {"documents": 0, "bytes": 70},
    }
    assert steps["extract"]["kept"] == {"documents": 6, "bytes": 261}
    assert steps["language"]["dropped"] == {"wrong_language": {"documents": 1, "bytes": 40}}
    assert steps["language"]["kept_by_language"]["zh"] == {"documents": 3, "bytes": 91}
    assert steps["near duplicates"]["kept"] == {"documents": 2, "bytes": 90}
    assert steps["near duplicates"]["kept_by_language"] == {
        "en": {"documents": 1, "bytes": 60},
        "zh": {"documents": 1, "bytes": 30},
    }


def test_nothing_is_lost_between_steps() -> None:
    steps: list[dict[str, Any]] = count_funnel(TABLE, [])["steps"]
    assert [step["step"] for step in steps] == list(STEPS)
    for before, after in pairwise(steps):
        assert before["kept"] == after["entered"]
    for step in steps:
        for unit in ("documents", "bytes"):
            dropped = sum(lost[unit] for lost in step["dropped"].values())
            assert step["entered"][unit] == step["kept"][unit] + dropped
            assert step["kept"][unit] == sum(kept[unit] for kept in step["kept_by_language"].values())


def test_counts_of_each_source_and_what_could_not_be_read() -> None:
    funnel = count_funnel(TABLE, [{"place": "b/x.warc#3", "why": "broken"}])
    assert funnel["sources"]["a"] == {
        "documents": 3, "bytes": 250, "kept_documents": 1, "kept_bytes": 60, "license": "A-1.0",
    }  # fmt: skip
    assert funnel["sources"]["b"]["kept_documents"] == 1
    assert funnel["unreadable"] == [{"place": "b/x.warc#3", "why": "broken"}]


def test_an_empty_corpus_is_refused_with_the_largest_reasons() -> None:
    rows = [("a", "en", 9, 9, "quality", "too_short")] * 3 + [("a", "fr", 9, 9, "language", "wrong_language")] * 5
    with pytest.raises(FromScratchError, match="nothing left after filtering: all 8 documents") as refused:
        refuse_empty_corpus(count_funnel(documents(*rows), []))
    assert "wrong_language 5 (language), too_short 3 (quality)" in refused.value.hint
    refuse_empty_corpus(count_funnel(TABLE, []))


def test_sources_that_gave_no_documents_are_refused_with_what_could_not_be_read() -> None:
    with pytest.raises(FromScratchError, match="gave none") as refused:
        refuse_empty_corpus(count_funnel(documents(), [{"place": "crawl.warc#0", "why": "too large"}]))
    assert "crawl.warc#0 (too large)" in refused.value.hint
