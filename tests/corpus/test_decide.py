"""The comparison: verdicts of a plain sequential definition, whatever the blocks, the corpora and the interruptions."""

import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromscratch.core.files import digest_file
from fromscratch.corpus.cascade import SHARD_STEPS
from fromscratch.corpus.comparison import decide
from fromscratch.corpus.comparison.corpus_index import CorpusIndex
from fromscratch.corpus.comparison.decide import block_groups, compare_shards, verdict_path
from fromscratch.corpus.comparison.duplicates import content_digests, minhash_keys
from fromscratch.corpus.comparison.paragraphs import paragraph_hashes
from fromscratch.corpus.comparison.settings import DuplicateSettings, ParagraphSettings

PARAGRAPHS = ParagraphSettings(most_documents=2, least_bytes=30, least_left_bytes=20)
DUPLICATES = DuplicateSettings(bands=60, rows=2, containment=None)  # every pair of interest is a candidate
Row = dict[str, Any]


def write_shard(path: Path, texts: Sequence[str], first: int = 0, group_documents: int = 7) -> Path:
    """A shard as the cascade leaves it; every eighth document was dropped before."""
    column = pa.array(texts, pa.large_string())
    alive = np.arange(first, first + len(texts)) % 8 != 5
    table = {
        "id": [f"{0xABC00000 + number:016x}" for number in range(first, first + len(texts))],
        "text": column,
        "step": pa.array([None if each else "quality" for each in alive], pa.string()),
        "reason": pa.array([None if each else "too_short" for each in alive], pa.string()),
        "evidence": pa.array([None if each else "9 characters" for each in alive], pa.string()),
        "step_bytes": pa.array([[len(text)] * len(SHARD_STEPS) for text in texts], pa.list_(pa.int64(), -1)),
        "digest": pa.FixedSizeListArray.from_arrays(content_digests(column).ravel(), 2),
        "band_keys": pa.FixedSizeListArray.from_arrays(minhash_keys(column, DUPLICATES).ravel(), DUPLICATES.bands),
        "paragraphs": paragraph_hashes(column, PARAGRAPHS),
    }
    pq.write_table(pa.table(table), path, row_group_size=group_documents)
    return path


def shards_of(folder: Path, texts: Sequence[str], shard_documents: int, first: int = 0) -> list[Path]:
    folder.mkdir()
    starts = range(0, len(texts), shard_documents)
    return [
        write_shard(folder / f"{number:05d}-x.parquet", texts[start : start + shard_documents], first + start)
        for number, start in enumerate(starts)
    ]


def verdicts_of(folder: Path, shards: Sequence[Path]) -> list[Row]:
    rows: list[Row] = []
    for shard in shards:
        for groups in block_groups(pq.read_metadata(shard)):
            rows += pq.read_table(verdict_path(folder, shard, groups)).to_pylist()
    return rows


def compared(
    folder: Path,
    shards: Sequence[Path],
    earlier: Sequence[CorpusIndex] = (),
    duplicates: DuplicateSettings = DUPLICATES,
) -> tuple[list[Row], CorpusIndex]:
    index = compare_shards(folder, shards, PARAGRAPHS, duplicates, earlier)
    return verdicts_of(folder, shards), index


def shingles(text: str) -> set[tuple[str, ...]]:
    units = re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+", text.lower())
    return {tuple(units[at : at + 5]) for at in range(max(1, len(units) - 4))} if units else set()


def defined(texts: Sequence[str], containment: float = 9) -> list[tuple[str | None, str | None, str]]:
    """Reason, id of the partner, and text of each document, by the definition, one by one and pair by pair."""
    seen: Counter[str] = Counter()
    first_with: dict[str, tuple[str | None, str | None, str]] = {}
    kept: list[tuple[str, set[tuple[str, ...]]]] = []
    result: list[tuple[str | None, str | None, str]] = []
    for number, text in enumerate(texts):
        name, content = f"{0xABC00000 + number:016x}", " ".join(text.split())
        if number % 8 == 5:
            result.append(("too_short", None, text))
            continue
        if content in first_with:
            reason, partner, _ = first_with[content]
            copied = ("boilerplate", None) if reason == "boilerplate" else ("exact_duplicate", partner)
            result.append((*copied, text))
            continue
        keys = {line: " ".join(line.lower().split()) for line in text.split("\n") if len(line.encode()) >= 30}
        rest = "\n".join(line for line in text.split("\n") if line not in keys or seen[keys[line]] < 2)
        seen.update({key for key in keys.values() if seen[key] < 2})
        too_much = rest != text and (len(rest) < 0.2 * len(text) or len(rest.encode()) < 20)
        left = text if too_much else rest
        own = shingles(left)
        scores = []
        for other, theirs in kept:
            common = len(own & theirs)
            if own and (common >= 0.8 * len(own | theirs) or common >= containment * len(own)):
                scores.append((common / len(own | theirs), other))
        partner = max(scores, key=lambda each: (each[0], -int(each[1], 16)))[1] if scores else None
        if partner:
            result.append(("near_duplicate" if max(scores)[0] >= 0.8 else "contained", partner, left))
        elif too_much:
            result.append(("boilerplate", None, text))
        else:
            result.append((None, None, left))
            kept.append((name, own))
        first_with[content] = ("kept" if not result[-1][0] else result[-1][0], partner or name, text)
    return result


def flat(rows: Sequence[Row], texts: Sequence[str]) -> list[tuple[str | None, str | None, str]]:
    return [
        (row["reason"], row["duplicate_of"], row["text"] if row["text"] is not None else text)
        for row, text in zip(rows, texts, strict=True)
    ]


def crawl(seed: int, count: int = 150) -> list[str]:
    """Pages of a few templates: with lines in common, copies, and copies with some words changed."""
    draw = random.Random(seed)
    notices = [" ".join(f"notice{number}-{word}" for word in range(6)) for number in range(4)]
    articles: list[list[str]] = []
    texts = []
    for _ in range(count):
        kind = draw.random()
        if kind < 0.5 or not articles:
            words = [f"w{draw.randrange(10**6)}" for _ in range(draw.randrange(20, 60))]
            articles.append(words)
        else:
            words = list(draw.choice(articles))
            for _ in range(draw.choice([0, 0, 1, 2, 4])):
                words[draw.randrange(len(words))] = f"x{draw.randrange(10**6)}"
            words += [f"y{draw.randrange(10**6)}" for _ in range(draw.choice([0, 0, 0, 30]))]
        lines = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
        for notice in draw.sample(notices, draw.choice([0, 0, 1, 2, 4])):
            lines.insert(draw.choice([0, len(lines)]), notice)
        texts.append("\n".join(lines))
    return texts


@pytest.mark.parametrize(("seed", "containment"), [(0, None), (1, None), (2, 0.8)])
def test_verdicts_are_those_of_the_definition(
    tmp_path: Path, seed: int, containment: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "BLOCK_BYTES", 5_000)  # two row groups or so
    texts = crawl(seed)
    settings = DUPLICATES.model_copy(update={"containment": containment})
    rows, _ = compared(tmp_path / "out", shards := shards_of(tmp_path / "shards", texts, 40), duplicates=settings)
    assert sum(len(block_groups(pq.read_metadata(shard))) for shard in shards) > 8
    assert flat(rows, texts) == defined(texts, containment or 9)
    reasons = Counter(row["reason"] for row in rows)
    assert min(reasons[each] for each in ("exact_duplicate", "near_duplicate", "boilerplate")) >= 3
    assert reasons["contained"] >= 3 or containment is None
    assert sum(row["text"] is not None for row in rows) >= 10


@pytest.mark.parametrize("block_bytes", [1, 1_000_000])
def test_blocks_do_not_show(tmp_path: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = crawl(7)
    shards = shards_of(tmp_path / "shards", texts, 50)
    whole, _ = compared(tmp_path / "whole", shards)
    monkeypatch.setattr(decide, "BLOCK_BYTES", block_bytes)
    assert compared(tmp_path / "blocks", shards)[0] == whole


@pytest.mark.parametrize("cuts", [(75,), (40, 110)])
def test_a_second_crawl_gets_the_verdicts_of_a_joint_run(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    texts = crawl(11)
    joint, _ = compared(tmp_path / "joint", shards_of(tmp_path / "all", texts, 30))
    earlier: list[CorpusIndex] = []
    rows: list[Row] = []
    for start, end in zip((0, *cuts), (*cuts, len(texts)), strict=True):
        shards = shards_of(tmp_path / f"part{start}", texts[start:end], 30, first=start)
        found, index = compared(tmp_path / f"out{start}", shards, earlier)
        rows += found
        earlier.append(index)
    assert rows == joint


def test_with_containment_a_part_of_an_earlier_document_goes_and_a_whole_stays(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(100)]
    texts = [" ".join(words[:70]), " ".join([*words, "more"]), " ".join(words[5:60])]
    settings = DUPLICATES.model_copy(update={"containment": 0.9})
    rows, _ = compared(tmp_path / "out", shards_of(tmp_path / "shards", texts, 9), duplicates=settings)
    assert [row["reason"] for row in rows] == [None, None, "contained"]
    assert flat(rows, texts) == defined(texts, containment=0.9)
    assert rows[2]["containment"] == 1
    assert rows[2]["similarity"] == pytest.approx(51 / 66)


def test_boilerplate_does_not_chain_distinct_documents(tmp_path: Path) -> None:
    notice = "\n".join(" ".join(f"n{line}-{word}" for word in range(12)) for line in range(4))
    bodies = [" ".join(f"w{number}-{word}" for word in range(60)) for number in range(60)]
    rows, _ = compared(tmp_path / "out", shards_of(tmp_path / "shards", [f"{notice}\n{body}" for body in bodies], 30))
    alive = [number for number in range(60) if number % 8 != 5]
    assert [rows[number]["reason"] for number in alive] == [None] * len(alive)
    assert [rows[number]["text"] for number in alive] == [None, None, *(bodies[number] for number in alive[2:])]


def test_full_buckets_take_no_more_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "BLOCK_BYTES", 1)
    texts = crawl(5)
    shards = shards_of(tmp_path / "shards", texts, 30)
    few = DUPLICATES.model_copy(update={"bucket_documents": 2})
    rows, index = compared(tmp_path / "few", shards, duplicates=few)
    many, whole = compared(tmp_path / "many", shards)
    keys = np.unique(np.concatenate([pq.read_table(each)["band_keys"].combine_chunks().flatten() for each in shards]))
    most, before = (max(Counter(each.find_bands(keys)[0].tolist()).values()) for each in (index, whole))
    assert most == 2 < before
    for row, other in zip(rows, many, strict=True):
        assert row["reason"] in (None, "too_short") or other["reason"] == row["reason"]


KILLED = """
import os, signal, sys
from pathlib import Path
from fromscratch.corpus.comparison import corpus_index
from fromscratch.corpus.comparison import decide
from tests.corpus.test_decide import PARAGRAPHS, DUPLICATES

decide.BLOCK_BYTES = 1
where, after, folder, shards = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sorted(Path(sys.argv[4]).iterdir())
calls = []

def dying(function):
    def call(*arguments, **options):
        result = function(*arguments, **options)
        calls.append(1)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

owner = {"append": corpus_index.CorpusIndex, "write_json": decide}[where]
setattr(owner, where, dying(getattr(owner, where)))
decide.compare_shards(folder, shards, PARAGRAPHS, DUPLICATES)
"""


def test_killed_at_any_point_it_ends_with_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "BLOCK_BYTES", 1)
    shards = shards_of(tmp_path / "shards", crawl(2), 50)
    _, whole = compared(tmp_path / "whole", shards)
    root = Path(__file__).parent.parent.parent
    for where, after in (("append", 9), ("write_json", 9)):
        arguments = [where, str(after), str(tmp_path / "out"), str(tmp_path / "shards")]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=root, env=os.environ, check=False)
        assert killed.returncode == -signal.SIGKILL
    before = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "out" / "verdicts").iterdir()}
    assert len(before) >= 8 + 8
    _, index = compared(tmp_path / "out", shards)
    again = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "out" / "verdicts").iterdir()}
    assert sum(again[name] != before[name] for name in before) <= 1, "finished blocks were compared again"
    assert index.runs == whole.runs
    files = [
        {each.relative_to(folder).as_posix(): digest_file(each) for each in folder.rglob("*") if each.is_file()}
        for folder in (tmp_path / "whole", tmp_path / "out")
    ]
    assert files[0] == files[1]
