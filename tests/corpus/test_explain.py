"""Verdicts on request: one document, some of a kind, and what a changed threshold did."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.cascade import STEPS
from fromscratch.corpus.filters.quality import Quality, judge_metrics
from fromscratch.corpus.kernels.metrics import METRIC_NAMES
from fromscratch.corpus.verdicts.diff import diff
from fromscratch.corpus.verdicts.explain import explain
from fromscratch.corpus.verdicts.pages import diff_page, explain_page, sample_page, show
from fromscratch.corpus.verdicts.sample import sample
from fromscratch.pipeline import run_stages
from fromscratch.recipe import load_recipe

ROOT = Path(__file__).parent.parent.parent
TALE = (
    "The old miller kept a ledger of every sack that came to his door, and of the hour at which it left again.\n"
    "When the river froze, he read in it by the fire, and found that the baker had paid him twice in the spring.\n"
    "So he put on his coat, crossed the ice with a lantern, and knocked until somebody let him into the warm house.\n"
    "They counted the coins together, laughed about the mistake, and have been friends from that evening on.\n"
)
STRICTER = {"corpus.filters.quality.english.least_stop_words": 7, "corpus.duplicates.threshold": 0.5}


def made(run: Path, notes: Path, **overrides: Any) -> Path:
    """The corpus of the tiny recipe, with pages beside it of which some repeat others."""
    sources = {"corpus.sources.notes": {"kind": "files", "path": str(notes), "domain": "notes", "license": "CC0-1.0"}}
    common = {"machine.workers": 1, "corpus.duplicates.containment": 1.0, **sources}
    recipe = load_recipe(ROOT / "tests" / "recipes" / "tiny.toml", {**common, **overrides})
    run_stages(recipe, run, until="corpus")
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    notes = folder / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text(TALE, encoding="utf-8")
    (notes / "b.txt").write_text(TALE, encoding="utf-8")
    near = TALE.replace("old miller", "\x1b[31mmiller").replace("lantern", "lamp").replace("laughed", "smiled")
    (notes / "c.txt").write_text(near, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return made(folder / "a", notes), made(folder / "b", notes, **STRICTER)


def rows_of(run: Path) -> list[dict[str, Any]]:
    files = sorted((run / "corpus" / "documents").glob("*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables(pq.read_table(file) for file in files).to_pylist()
    return rows


def test_every_document_is_explained_as_it_was_judged(runs: tuple[Path, Path]) -> None:
    rows = rows_of(runs[0])
    for row in rows:
        found = explain(runs[0], row["id"])
        assert (found["keep"], found["reason"], found["url"]) == (row["keep"], row["reason"], row["url"])
        outcomes = [step["outcome"] for step in found["steps"] if step["outcome"] != "off"]
        assert [step["step"] for step in found["steps"]] == list(STEPS)
        ended = outcomes.index("dropped") if not row["keep"] else len(outcomes)
        assert set(outcomes[:ended]) == {"passed"} and set(outcomes[ended + 1 :]) <= {"not reached"}
        named = [step["step"] for step in found["steps"] if step["outcome"] == "dropped"]
        assert named == ([] if row["keep"] else [row["step"]])
    assert {row["step"] for row in rows} >= {None, "refuse", "quality"}, "the fixture has something to explain"


def test_the_bounds_shown_are_those_that_judged(runs: tuple[Path, Path]) -> None:
    quality = Quality()
    for row in rows_of(runs[0]):
        step = next(each for each in explain(runs[0], row["id"])["steps"] if each["step"] == "quality")
        failed = [each for each in step["measured"] if not each["passed"]]
        names = np.array([row["language"]], object), np.array([row["domain"]], object)
        metrics = np.array([[row[name] for name in METRIC_NAMES]], np.float32)
        reasons, evidence = judge_metrics(*names, metrics, quality)
        if step["outcome"] != "not reached":
            first = failed[0] if failed else None
            assert (first and first["reason"]) == reasons[0]
            assert not first or evidence[0].startswith(f"{first['name']} is ")
            assert not first or evidence[0].endswith(f"{first['side']} {first['bound']:.4g}")


def test_a_beginning_of_the_id_or_the_address_is_enough(runs: tuple[Path, Path]) -> None:
    rows = rows_of(runs[0])
    whole = explain(runs[0], rows[3]["id"])
    assert explain(runs[0], rows[3]["id"][:8].upper()) == explain(runs[0], rows[3]["url"]) == whole
    with pytest.raises(FromScratchError, match="no document has the id"):
        explain(runs[0], "0123456789abcdef")
    letter, many = Counter(row["id"][0] for row in rows).most_common(1)[0]
    with pytest.raises(FromScratchError, match=f"stands for {many} documents"):
        explain(runs[0], letter)


def test_a_duplicate_and_what_it_repeats_name_each_other(runs: tuple[Path, Path]) -> None:
    by_name = {row["url"].rpartition("/")[2]: row for row in rows_of(runs[1]) if row["source"] == "notes"}
    kept, copy, near = (explain(runs[1], by_name[name]["id"]) for name in ("a.txt", "b.txt", "c.txt"))
    assert (copy["reason"], near["reason"]) == ("exact_duplicate", "near_duplicate")
    assert copy["duplicate"]["id"] == near["duplicate"]["id"] == kept["id"]
    assert copy["duplicate"]["similarity"] == 1 > near["duplicate"]["similarity"] >= 0.5
    assert kept["duplicate"] is None and kept["repeated_by"]["documents"] == 2
    assert {each["id"] for each in kept["repeated_by"]["examples"]} == {copy["id"], near["id"]}


def test_a_sample_is_drawn_by_its_seed_and_meets_what_is_asked(runs: tuple[Path, Path]) -> None:
    rows = rows_of(runs[0])
    asked = sample(runs[0], reason="foreign_language", count=4, seed=1)
    assert len(asked) == 4 and {each["reason"] for each in asked} == {"foreign_language"}
    assert asked == sample(runs[0], reason="foreign_language", count=4, seed=1)
    assert asked != sample(runs[0], reason="foreign_language", count=4, seed=2)
    kept = sample(runs[0], reason="kept", language="zh", source="books", count=1000)
    wanted = {row["id"] for row in rows if row["keep"] and row["language"] == "zh" and row["source"] == "books"}
    assert wanted and {each["id"] for each in kept} == wanted
    assert {each["step"] for each in sample(runs[0], step="quality")} == {"quality"}


def test_a_sample_of_nothing_in_particular_has_some_of_each_reason(runs: tuple[Path, Path]) -> None:
    counts = Counter(row["reason"] or "kept" for row in rows_of(runs[0]))
    shown = Counter(each["reason"] or "kept" for each in sample(runs[0]))
    assert shown == {reason: min(2, number) for reason, number in counts.items()}


@pytest.mark.parametrize("name", ["reason", "step", "language", "source"])
def test_a_value_that_no_document_has_is_refused_with_those_that_exist(name: str, runs: tuple[Path, Path]) -> None:
    known = Counter(row[name] for row in rows_of(runs[0]) if row[name])
    common, number = known.most_common(1)[0]
    with pytest.raises(FromScratchError) as refusal:
        sample(runs[0], **{name: f"{common}s"})
    assert f"{common} {number:,}" in refusal.value.hint
    assert name == "language" or f"did you mean `{common}`?" in refusal.value.hint


def test_the_difference_of_two_runs_accounts_for_every_document(runs: tuple[Path, Path]) -> None:
    before, after = ({row["id"]: row["reason"] or "kept" for row in rows_of(run)} for run in runs)
    moved = Counter((before[each], after[each]) for each in before if before[each] != after[each])
    found = diff(*runs)
    assert {(each["from"], each["to"]): each["documents"] for each in found["changes"]} == moved
    assert ("kept", "near_duplicate") in moved and ("kept", "not_prose") in moved
    assert found["same"] == len(before) - moved.total()
    assert found["sums"]["dropped now"]["documents"] == sum(n for (old, _), n in moved.items() if old == "kept")
    assert all(
        sum(size["documents"] for size in each["by_language"].values()) == each["documents"]
        for each in found["changes"]
    )
    assert len(found["settings"]) == 2 and "least_stop_words`: 2.0 → 7" in "".join(found["settings"])
    not_prose = next(each for each in found["changes"] if each["to"] == "not_prose" and each["from"] == "kept")
    assert not_prose["examples"][0]["evidence"][0] == "kept"
    assert "stop_words is " in not_prose["examples"][0]["evidence"][1]


def test_documents_of_one_run_alone_are_told_apart(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("The one that nobody else has read.", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        other = made(tmp_path / "run", tmp_path / "d.txt")
    found = diff(runs[0], other)
    assert found["only_a"]["documents"] == 3
    assert [each["url"].rpartition("/")[2] for each in found["only_b"]["examples"]] == ["d.txt"]


def test_what_has_no_finished_corpus_is_said(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "none", "no such run"), (tmp_path, "a folder without a corpus")):
        with pytest.raises(FromScratchError, match=words):
            explain(folder, "a")
    (tmp_path / ".corpus.unfinished").mkdir()
    with pytest.raises(FromScratchError, match="not finished"):
        diff(runs[0], tmp_path)


def test_the_pages_are_plain_and_carry_no_control_characters(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    near = next(row for row in rows_of(runs[1]) if row["url"].endswith("c.txt"))
    pages = (explain_page(explain(runs[1], near["id"])), sample_page(sample(runs[1])), diff_page(diff(*runs)))
    for page in pages:
        show(page)
        text = capsys.readouterr().out
        assert "\x1b" not in text and near["reason"] in text
    json.dumps([explain(runs[1], near["id"]), sample(runs[1]), diff(*runs)])
