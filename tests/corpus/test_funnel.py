"""The funnel: every document and byte that enters a step is either kept by it or dropped for a reason."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus import funnel
from fromscratch.corpus.cascade import STEPS
from fromscratch.corpus.documents import DOCUMENTS
from fromscratch.corpus.funnel import Counts, add_counts, count_documents, funnel_of, refuse_empty_corpus

Row = tuple[str, str | None, int, int, str | None, str | None]
PARAGRAPHS = STEPS.index("paragraphs")


def counted(*rows: Row, cut: int = 0, **columns: Any) -> Counts:
    """Counts of rows of source, language, raw bytes, bytes, step and reason; kept ones lose ``cut`` bytes at last."""
    names = ("source", "language", "raw_bytes", "bytes", "step", "reason")
    made = [
        {
            **dict(zip(names, row, strict=True)),
            "license": f"{row[0].upper()}-1.0",
            "domain": "web",
            "text": "文" * (row[3] // 3),
            "url": None,
            **{name: values[number] for name, values in columns.items()},
        }
        for number, row in enumerate(rows)
    ]
    step_bytes = np.array([[row[2]] * 2 + [row[3]] * (len(STEPS) - 2) for row in rows], np.int64)
    step_bytes = step_bytes.reshape(-1, len(STEPS))
    for row, sizes in zip(rows, step_bytes, strict=True):
        sizes[PARAGRAPHS:] -= 0 if row[4] else cut
    return count_documents(pa.Table.from_pylist(made, schema=DOCUMENTS), step_bytes)


ROWS: tuple[Row, ...] = (
    ("a", "en", 100, 60, None, None),
    ("a", "en", 100, 70, "quality", "too_short"),
    ("a", None, 50, 0, "extract", "no_text"),
    ("b", "zh", 30, 30, None, None),
    ("b", "fr", 40, 40, "language", "wrong_language"),
    ("b", "zh", 30, 30, "near duplicates", "near_duplicate"),
    ("b", "zh", 31, 31, "exact duplicates", "exact_duplicate"),
)
COUNTS = counted(*ROWS, cut=6)


def test_counts_of_each_step() -> None:
    steps = {step["step"]: step for step in funnel_of(COUNTS, [])["steps"]}
    assert steps["read"]["entered"] == steps["read"]["kept"] == {"documents": 7, "bytes": 381}
    assert steps["extract"]["dropped"] == {
        "no_text": {"documents": 1, "bytes": 50},
        "markup": {"documents": 0, "bytes": 70},
    }
    assert steps["extract"]["kept"] == {"documents": 6, "bytes": 261}
    assert steps["language"]["dropped"] == {"wrong_language": {"documents": 1, "bytes": 40}}
    assert steps["language"]["kept_by_language"]["zh"] == {"documents": 3, "bytes": 91}
    assert steps["paragraphs"]["dropped"] == {"cut": {"documents": 0, "bytes": 12}}
    assert steps["near duplicates"]["kept"] == {"documents": 2, "bytes": 78}
    assert steps["near duplicates"]["kept_by_language"] == {
        "en": {"documents": 1, "bytes": 54},
        "zh": {"documents": 1, "bytes": 24},
    }


def test_nothing_is_lost_between_steps() -> None:
    steps: list[dict[str, Any]] = funnel_of(COUNTS, [])["steps"]
    assert [step["step"] for step in steps] == list(STEPS)
    for before, after in pairwise(steps):
        assert before["kept"] == after["entered"]
    for step in steps:
        for unit in ("documents", "bytes"):
            dropped = sum(lost[unit] for lost in step["dropped"].values())
            assert step["entered"][unit] == step["kept"][unit] + dropped
            assert step["kept"][unit] == sum(kept[unit] for kept in step["kept_by_language"].values())


def test_counts_of_each_source_and_what_could_not_be_read() -> None:
    found = funnel_of(COUNTS, [{"place": "b/x.warc#3", "why": "broken"}])
    assert found["sources"]["a"] == {
        "documents": 3, "bytes": 250, "kept_documents": 1, "kept_bytes": 54, "license": "A-1.0",
    }  # fmt: skip
    assert found["sources"]["b"]["kept_documents"] == 1
    assert found["unreadable"] == [{"place": "b/x.warc#3", "why": "broken"}]


def test_counts_in_parts_add_up_in_any_order() -> None:
    for order in (ROWS, ROWS[::-1]):
        total: Counts = Counter()
        for row in order:
            add_counts(total, counted(row, cut=6))
        assert funnel_of(total, []) == funnel_of(COUNTS, [])


def test_groups_have_sizes_and_mean_scores_of_what_is_kept() -> None:
    scores = {"language_score": [0.5, 0.9, None, 1.0, 1.0, 1.0, 1.0], "words": [10, 99, 99, None, 99, 99, 99]}
    groups = funnel_of(counted(*ROWS, ("a", "en", 9, 9, None, None), **{k: [*v, 0.25] for k, v in scores.items()}), [])[
        "groups"
    ]
    assert list(groups) == ["en/web", "zh/web"]
    assert groups["en/web"]["documents"] == 2
    assert groups["en/web"]["bytes"] == 69
    assert groups["en/web"]["characters"] == 23
    assert groups["en/web"]["scores"] == {"language_score": 0.375, "words": 5.125}
    assert groups["zh/web"]["scores"] == {"language_score": 1.0}


def test_hosts_are_those_that_give_most_kept_text(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ["https://a.org/1", "https://a.org/2", "https://b.org", "http://user@c.org:80/x", "local.jsonl#4"]
    rows: list[Row] = [("s", "en", 30, size, None, None) for size in (3, 9, 6, 15, 30)]
    rows.append(("s", "en", 99, 99, "quality", "too_short"))
    counts = counted(*rows, url=[*urls, "https://dropped.org/"])
    assert funnel_of(counts, [])["hosts"] == [
        {"host": "c.org", "documents": 1, "bytes": 15},
        {"host": "a.org", "documents": 2, "bytes": 12},
        {"host": "b.org", "documents": 1, "bytes": 6},
    ]
    monkeypatch.setattr(funnel, "COUNTED_HOSTS", 2)
    total: Counts = Counter()
    add_counts(total, counts)
    assert [each["host"] for each in funnel_of(total, [])["hosts"]] == ["c.org", "a.org"]


def test_an_empty_corpus_is_refused_with_the_largest_reasons() -> None:
    rows: list[Row] = [("a", "en", 9, 9, "quality", "too_short")] * 3
    rows += [("a", "fr", 9, 9, "language", "wrong_language")] * 5
    with pytest.raises(FromScratchError, match="nothing left after filtering: all 8 documents") as refused:
        refuse_empty_corpus(funnel_of(counted(*rows), []))
    assert "wrong_language 5 (language), too_short 3 (quality)" in refused.value.hint
    refuse_empty_corpus(funnel_of(COUNTS, []))


def test_sources_that_gave_no_documents_are_refused_with_what_could_not_be_read() -> None:
    with pytest.raises(FromScratchError, match="gave none") as refused:
        refuse_empty_corpus(funnel_of(counted(), [{"place": "crawl.warc#0", "why": "too large"}]))
    assert "crawl.warc#0 (too large)" in refused.value.hint
