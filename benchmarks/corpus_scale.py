"""Gigabytes through the corpus verb: memory of each process, and throughput from the first gigabyte to the last.

    python benchmarks/corpus_scale.py --gigabytes 10 [--workers 2] [--seeds PATH …] [--folder FOLDER] [--set …]

The input is made in FOLDER, and kept for the next time: seed pages (HTML of folders or archives; the tests' fixtures
when none are named) again and again in WARC.gz files, every time with a third of their words, or Han characters, drawn
anew from the words of all pages, so that they are neither near duplicates of each other nor one text repeated. Then
`fromscratch corpus` runs in a process of its own, and the peak of every process below it is read from the kernel.
"""

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fromscratch.corpus.readers.archives import is_archive, list_members, open_members

PAGES = Path(__file__).parent.parent / "tests" / "fixtures" / "pages"
FILE_BYTES = 250_000_000  # of pages in one WARC
REDRAWN = 1 / 3
# Text between tags, with scripts and styles left as they are; words within it.
TEXT = re.compile(r"(?is)<(?:script|style).*?</(?:script|style)>|<[^>]*>|([^<]+)")
WORD = re.compile(r"[a-zA-Z]{3,}|[\u4e00-\u9fff]")
RECIPE = """
name = "scale"
machine.workers = {workers}
[corpus.sources.crawl]
kind = "files"
path = "{pages}"
domain = "web"
license = "LicenseRef-Made"
[model]
layers = 2
width = 64
heads = 2
kv_heads = 2
ffn_width = 128
context_tokens = 64
[pretrain]
steps = 1
batch_sequences = 1
sequence_tokens = 64
[tune]
steps = 1
batch_sequences = 1
[tune.dialogues.none]
kind = "jsonl"
path = "none.jsonl"
license = "CC0-1.0"
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gigabytes", type=float, default=0.5)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--seeds", type=Path, nargs="*", default=[PAGES])
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "corpus_scale")
    options.add_argument("--set", action="append", default=[], dest="settings")
    asked = options.parse_args()
    pages = asked.folder / f"pages-{asked.gigabytes:g}"
    if not pages.exists():
        make_crawl(pages, asked.seeds, int(asked.gigabytes * 1e9))
    recipe, run = asked.folder / "scale.toml", asked.folder / "run"
    recipe.write_text(RECIPE.format(workers=asked.workers, pages=pages))
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "fromscratch", "corpus", str(recipe), "--run", str(run)]
    command += [word for each in asked.settings for word in ("--set", each)]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=asked.folder) as process:
        peaks, shards = watch(process, run)
    report(peaks, [at - began for at in shards], asked.gigabytes, time.monotonic() - began)
    raise SystemExit(process.returncode)


def make_crawl(folder: Path, seeds: Sequence[Path], total_bytes: int, seed: int = 1) -> None:
    """WARC.gz files of perturbed pages, as many as make this many bytes of HTML."""
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    pages = perturbed(list(read_seeds(seeds)), seed)
    made = 0
    while made < total_bytes:
        end = min(made + FILE_BYTES, total_bytes)
        with (making / f"{made // FILE_BYTES:05d}.warc.gz").open("wb") as file:
            while made < end:
                url, page = next(pages)
                file.write(gzip.compress(warc_record(url, page), compresslevel=1))
                made += len(page)
    making.rename(folder)


def read_seeds(paths: Iterable[Path]) -> Iterator[str]:
    """HTML pages of at most 500 kB in folders and archives."""
    for path in paths:
        if is_archive(path):
            names = [each.name for each in list_members(path) if each.name.endswith((".html", ".htm"))]
            contents = (stream.read() for _, stream in open_members(path, names))
        else:
            contents = (each.read_bytes() for each in sorted(path.rglob("*.htm*")) if each.is_file())
        yield from (content.decode(errors="replace") for content in contents if len(content) < 500_000)


def perturbed(pages: Sequence[str], seed: int) -> Iterator[tuple[str, bytes]]:
    """Address and content of the pages, over and over, each time with other words."""
    chance = np.random.default_rng(seed)
    cut = [words_of(page) for page in pages]
    latin, han = (
        np.array(sorted({p for pieces, places in cut for p in pieces[places] if p.isascii() == ascii_}), dtype=object)
        for ascii_ in (True, False)
    )
    number = 0
    while True:
        for pieces, places in cut:
            drawn = places[chance.random(len(places)) < REDRAWN]
            is_latin = np.array([pieces[each].isascii() for each in drawn], dtype=bool)
            copy = pieces.copy()
            for words, where in ((latin, drawn[is_latin]), (han, drawn[~is_latin])):
                if len(words):
                    copy[where] = words[chance.integers(len(words), size=len(where))]
            yield f"http://{number % 997}.example.org/{number}", "".join(copy).encode()
            number += 1


def words_of(page: str) -> tuple[np.ndarray, np.ndarray]:
    """A page cut into pieces, and which of them are words."""
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for text in TEXT.finditer(page):
        if text.group(1) is None:
            continue
        for word in WORD.finditer(page, text.start(), text.end()):
            pieces += [page[at : word.start()], word.group()]
            places.append(len(pieces) - 1)
            at = word.end()
    return np.array([*pieces, page[at:]], dtype=object), np.array(places, dtype=np.int64)


def warc_record(url: str, page: bytes) -> bytes:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page
    head = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Record-ID: <{url}>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def watch(process: subprocess.Popen[bytes], run: Path) -> tuple[dict[str, int], list[float]]:
    """Peak memory in bytes by role of process, and when each shard was first seen, until the process ends."""
    peaks: dict[str, int] = {}
    seen: dict[str, float] = {}
    shards = run / ".corpus.unfinished" / "shards"
    while process.poll() is None:
        for path in shards.glob("*.parquet"):
            seen.setdefault(path.name, time.monotonic())
        for pid in family(process.pid):
            role, peak = ("parent", peak_bytes(pid)) if pid == process.pid else (role_of(pid), peak_bytes(pid))
            peaks[f"{role} {pid}"] = max(peak, peaks.get(f"{role} {pid}", 0))
        time.sleep(0.25)
    return peaks, sorted(seen.values())


def family(root: int) -> list[int]:
    """The process and all below it."""
    found = [root]
    for pid in found:
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue  # it has ended meanwhile
    return found


def role_of(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        command = b""
    return "parser" if b"markup" in command else "worker" if b"spawn_main" in command else "other"


def peak_bytes(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def report(peaks: dict[str, int], shards: Sequence[float], gigabytes: float, seconds: float) -> None:
    print(f"{gigabytes:g} GB of pages in {len(shards)} shards, {seconds:,.0f} s in all")
    for role in ("parent", "worker", "parser"):
        found = [peak for name, peak in peaks.items() if name.startswith(role)]
        if found:
            print(f"peak memory of a {role}: {max(found) / 1e9:.2f} GB ({len(found)} processes)")
    parts = min(10, len(shards))
    for part in range(parts):
        first, last = len(shards) * part // parts, len(shards) * (part + 1) // parts
        begun, ended = shards[first - 1] if first else 0.0, shards[last - 1]
        megabytes = (last - first) / len(shards) * gigabytes * 1e3
        print(f"  part {part + 1} of {parts}: {megabytes / max(ended - begun, 1e-3):,.1f} MB/s, until {ended:,.0f} s")
    print(f"after the shards: {seconds - (shards[-1] if shards else 0):,.0f} s")


if __name__ == "__main__":
    main()
