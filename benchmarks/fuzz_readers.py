"""Mutated inputs through the readers and the extraction: none may crash, hang, or cost the files beside it anything.

    python benchmarks/fuzz_readers.py [--inputs 1000] [--seed 1] [--extraction resiliparse] [--pages FOLDER]

A shard is six damaged files between healthy ones, whose documents must all come out. Files are damaged by flipped bits,
zeros, garbage, cuts, removed, doubled and moved ranges, extreme integers, and pieces of other formats. Seeds are real
pages (the tests' fixtures, or `--pages`), packed into every format that is read. A child process reads the shards under
a limit of memory; where it dies or is silent for too long, that shard is recorded, and another child goes on behind it.
"""

import argparse
import bz2
import csv
import gzip
import io
import json
import lzma
import multiprocessing
import os
import platform
import random
import resource
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import plan_reads
from fromscratch.corpus.sources import CsvFormat, FilesSource, Format, JsonRecordsFormat

PAGES = Path(__file__).parent.parent / "tests" / "fixtures" / "pages"
A_SHARD = 6
SEED_BYTES = 12_000  # of a page at most: a fuzzer gets further with many small files
SECONDS_A_SHARD = 60.0
MEMORY_BYTES = 3_000_000_000
HEALTHY = "This document lies beside damaged ones, and it has to come out whole. Number"
FORMATS: dict[str, Format] = {"csv": CsvFormat(text=("text",)), "json": JsonRecordsFormat()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--inputs", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--extraction", choices=["density", "resiliparse"], default="resiliparse")
    options.add_argument("--pages", type=Path, default=PAGES)
    asked = options.parse_args()
    begun, shards = time.monotonic(), range(-(-asked.inputs // A_SHARD))
    total: Counter[str] = Counter()
    faults: list[str] = []
    first = 0
    while first < len(shards):
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.Process(target=read_shards, args=(theirs, asked, first, len(shards)))
        child.start()
        theirs.close()
        first, counts, fault = follow(ours, child, first)
        total += counts
        faults += [fault] if fault else []
    print(f"Python {platform.python_version()}, pyarrow {pa.__version__}; extraction {asked.extraction}")
    print(f"{len(shards) * A_SHARD:,} damaged files in {len(shards):,} shards, seed {asked.seed}")
    for name in sorted(total):
        print(f"  {name}: {total[name]:,}")
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak memory of a child: {peak_bytes / 1e9:.2f} GB; {time.monotonic() - begun:,.0f} s")
    print(f"crashed, hung, or lost documents: {len(faults)}", *faults, sep="\n  ")
    raise SystemExit(bool(faults))


def follow(pipe: Connection, child: Any, first: int) -> tuple[int, Counter[str], str | None]:
    """Take in a child's reports until it is done, dies or is silent: the next shard to read, counts, and the fault."""
    total: Counter[str] = Counter()
    number = first
    try:
        while pipe.poll(SECONDS_A_SHARD):
            report = pipe.recv()
            if report is None:
                child.join()
                return 10**12, total, None
            number, counts, lost = report
            total += counts
            if lost:
                child.kill()
                child.join()
                return number + 1, total, f"shard {number}: {lost}"
        fault = f"silent for {SECONDS_A_SHARD:.0f} s"
    except EOFError:
        child.join()
        fault = f"died with status {child.exitcode}"
    child.kill()
    child.join()
    return number + 2, total, f"shard {number + 1}: {fault}"


def read_shards(pipe: Connection, asked: argparse.Namespace, first: int, end: int) -> None:
    """The child: reads one shard after the other and reports each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    seeds = make_seeds(asked.pages)
    settings = ExtractionSettings(kind=asked.extraction, timeout_seconds=10)
    with tempfile.TemporaryDirectory() as folder:
        pipe.send((first - 1, Counter(), ""))
        for number in range(first, end):
            counts, lost = read_shard(Path(folder), seeds, random.Random(f"{asked.seed} {number}"), settings)
            pipe.send((number, counts, lost))
        pipe.send(None)


def read_shard(
    folder: Path, seeds: Sequence[tuple[str, bytes]], chance: random.Random, settings: ExtractionSettings
) -> tuple[Counter[str], str]:
    """What came of the damaged files, and which healthy document did not come out, if any."""
    for each in folder.iterdir():
        each.unlink()
    healthy = [f"{HEALTHY} {number}." for number in range(A_SHARD + 1)]
    for number, text in enumerate(healthy):
        (folder / f"{number}0.txt").write_text(text)
    names = []
    for number in range(A_SHARD):
        name, content = chance.choice(seeds)
        names.append(f"{number}5.{name}")
        (folder / names[-1]).write_bytes(damaged(content, seeds, chance))
    counts: Counter[str] = Counter({f"files of kind {name.partition('.')[2]}": 1 for name in names})
    texts: list[str] = []
    kinds = {name.rpartition(".")[2] for name in names}
    special = {kind: FORMATS[kind] for kind in kinds & set(FORMATS)}
    archives = [name for name in names if name.endswith(("zip", "tar", "tar.gz"))]
    others = [f"**/*.{kind}" for kind in special]
    sources = {"all": {"exclude": (*others, *archives)}}
    sources |= {kind: {"members": (f"**/*.{kind}",), "format": style} for kind, style in special.items()}
    sources |= {name: {"path": str(folder / name)} for name in archives}
    for settings_of in sources.values():
        source = FilesSource(**{"path": str(folder), "domain": "web", "license": "MIT", **settings_of})
        try:
            tasks = plan_reads({}, {"s": source}, None)
        except FromScratchError:  # an archive whose list is damaged, or names files of no format
            counts["archives refused in a sentence"] += 1
            continue
        for task in tasks:
            tables = read_pages(task)
            for table in tables:
                pages = extract_text(table, settings)
                texts += pages["text"].to_pylist()
            counts["places listed as unreadable"] += len(tables.unreadable)
    counts["documents read of damaged files"] += len(texts) - len(healthy)
    lost = [text for text in healthy if texts.count(text) != 1]
    return counts, f"lost {lost[0]!r} among {names}" if lost else ""


def damaged(content: bytes, seeds: Sequence[tuple[str, bytes]], chance: random.Random) -> bytes:
    """The content after one to four mutations."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        size = min(len(changed), chance.choice((1, 2, 8, 64, 1024)))
        at = chance.randrange(len(changed) - size + 1)
        match chance.randrange(9):
            case 0 if changed:
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            case 1:
                changed[at : at + size] = bytes(size)
            case 2:
                changed[at : at + size] = chance.randbytes(size)
            case 3:
                del changed[at:]
            case 4:
                del changed[at : at + size]
            case 5:
                changed[at:at] = changed[at : at + size] * chance.choice((1, 2, 100))
            case 6:
                changed[at:at] = chance.randbytes(size)
            case 7:
                extreme = chance.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1))
                width = chance.choice((1, 2, 4, 8))
                changed[at : at + width] = (extreme % 256**width).to_bytes(width, chance.choice(("little", "big")))
            case _:
                other = chance.choice(seeds)[1]
                start = chance.randrange(len(other))
                changed[at:at] = other[start : start + size]
    return bytes(changed)


def make_seeds(folder: Path) -> list[tuple[str, bytes]]:
    """Real pages in every format that is read: name and content."""
    html = [each.read_bytes()[:SEED_BYTES] for each in sorted(folder.rglob("*.html"))[::4]][:24]
    texts = [each.read_text("utf-8", "replace")[: SEED_BYTES // 3] for each in sorted(folder.rglob("*.txt"))][:12]
    plain = [each.encode() for each in texts]
    lines = "".join(json.dumps({"text": each, "title": "T"}, ensure_ascii=False) + "\n" for each in texts).encode()
    table = pa.table({"text": texts, "url": [f"http://e.org/{n}" for n in range(len(texts))]})
    records = [warc_record(n, page) for n, page in enumerate(html[:8])]
    codecs: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress}
    codecs["xz"] = lzma.compress
    seeds = [("html", page) for page in html] + [("txt", text) for text in plain]
    seeds += [("txt", each.encode("gb18030")) for each in texts] + [
        ("txt", each.encode("utf-16")) for each in texts[:3]
    ]
    seeds += [("py", Path(json.__file__).read_bytes()[:SEED_BYTES])]
    seeds += [(f"html.{ending}", pack(page)) for ending, pack in codecs.items() for page in html[:3]]
    seeds += [(f"jsonl.{ending}", pack(lines)) for ending, pack in codecs.items()] * 2
    seeds += [("jsonl", lines)] * 8 + [("json", json.dumps(texts[:4]).encode())] * 4 + [("csv", as_csv(texts))] * 4
    seeds += [("warc", b"".join(records))] * 12
    seeds += [("warc.gz", b"".join(map(gzip.compress, records)))] * 12 + [
        ("warc.zst", b"".join(map(zstd, records)))
    ] * 4
    seeds += [("parquet", parquet(table, codec)) for codec in ("snappy", "zstd", "gzip", "lz4", "none")] * 4
    seeds += [("zip", zipped(plain))] * 4 + [("tar", tarred(plain, ""))] * 4 + [("tar.gz", tarred(plain, "gz"))] * 4
    return seeds


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def warc_record(number: int, page: bytes) -> bytes:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page
    head = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://e.org/{number}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def as_csv(texts: Sequence[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([["text", "other"], *([each, "x"] for each in texts)])
    return written.getvalue().encode()


def parquet(table: pa.Table, codec: str) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written, compression=codec, row_group_size=5, write_page_index=True)
    return written.getvalue()


def zipped(contents: Sequence[bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.txt", content)
    return written.getvalue()


def tarred(contents: Sequence[bytes], codec: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=f"w:{codec}") as archive:
        for number, content in enumerate(contents):
            entry = tarfile.TarInfo(f"{number}.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
