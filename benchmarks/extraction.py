"""Text of web pages by our extractor, resiliparse and trafilatura (where installed): speed, and F1 on known content.

    python benchmarks/extraction.py [--crawl formasaurus-0.10.0.tar.gz] [--documentation FOLDER] [--rounds 5]

Speed is CPU time, child processes included, in interleaved rounds. Known content is text that stands elsewhere in
another form, or in the part of a page that its own template marks as the content; FOLDER is what `dpkg-deb -x` made of
python3.11-doc, libreoffice-help-{en-us,zh-cn,zh-tw}, debian-handbook, postgresql-doc-15 and sqlite3-doc. Without either
option the pages of tests/fixtures are all there is. Precision, recall and F1 count words, and pairs of neighbours among
Han characters, as multisets; sets weigh each page alike.
"""

import argparse
import importlib
import importlib.util
import os
import platform
import re
import resource
import statistics
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from fromscratch.corpus.extraction import extract
from fromscratch.corpus.extraction.encodings import decode
from fromscratch.corpus.extraction.extract import extract_text
from fromscratch.corpus.extraction.settings import ExtractionSettings
from fromscratch.corpus.readers.pages import BATCH_BYTES, PAGES

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures" / "pages" / "html"
PAGES_A_SET = 150
TRAFILATURA_EVERY = 8  # pages; it is that much slower
HELD_OUT = ("libreoffice zh-TW", "postgresql", "sqlite", "handbook zh-TW")
VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
UNSEEN = ("script", "style", "noscript", "template", "select", "textarea")
TOKENS = re.compile(r"[\u3005-\u3007\u3400-\u9fff\uf900-\ufaff]+|[^\W\u3005-\u3007\u3400-\u9fff\uf900-\ufaff]+")
HAN_GAP = re.compile(r"(?<=[\u3005-\u9fff])\s+(?=[\u3005-\u9fff])")
ROLES = re.compile(r":[a-z:+-]+:(?=`)|^\s*\.\. [a-z:-]+::", re.MULTILINE)  # of reStructuredText

Pages = list[bytes]
Extractor = Callable[[Pages], list[str]]
Known = list[tuple[bytes, str]]  # a page and its content


def tables_of(pages: Pages) -> list[pa.Table]:
    """Pages as a reader hands them on, some megabytes at a time."""
    tables, batch, size = [], Pages(), 0
    for number, page in enumerate(pages):
        batch.append(page)
        size += len(page)
        if size >= BATCH_BYTES or number == len(pages) - 1:
            given = {"kind": ["html"] * len(batch), "content": batch}
            columns = {name: given.get(name, [None] * len(batch)) for name in PAGES.names}
            tables.append(pa.table(columns, schema=PAGES))
            batch, size = [], 0
    return tables


def extract_tables(tables: list[pa.Table], kind: Literal["density", "resiliparse"]) -> list[str]:
    settings = ExtractionSettings(kind=kind)
    texts = [text for table in tables for text in extract_text(table, settings)["text"].to_pylist()]
    if kind == "resiliparse":
        extract._parser(os.getpid(), kind).close()  # so that its child's time counts
    return texts


def ours(pages: Pages) -> list[str]:
    return extract_tables(tables_of(pages), "density")


def guarded(pages: Pages) -> list[str]:
    """resiliparse as the pipeline runs it: corrected, and in a child process whose time counts as well."""
    return extract_tables(tables_of(pages), "resiliparse")


def resiliparse(pages: Pages) -> list[str]:
    """resiliparse by itself."""
    return [extract_plain_text(HTMLTree.parse(decode(page) or ""), main_content=True) for page in pages]


def trafilatura(pages: Pages) -> list[str]:
    extract_page = importlib.import_module("trafilatura").extract  # optional
    return [extract_page(decode(page) or "") or "" for page in pages]


class ContentReader(HTMLParser):
    """The text of the elements that a template marks as content, without those that it marks as something else."""

    def __init__(self, wanted: Callable[[str, dict[str, str | None]], bool | None]) -> None:
        super().__init__()
        self.wanted, self.parts = wanted, list[str]()
        self.open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inline = tag in ("a", "b", "i", "em", "strong", "span", "code", "tt", "q", "sub", "sup", "var", "small", "u")
        if not inline:
            self.parts.append("\n")
        if tag in VOID:
            return
        given = dict(attrs)
        answer = self.wanted(tag, given)
        around = self.open[-1][1] if self.open else False
        hidden = tag in UNSEEN or "hidden" in given
        self.open.append((tag, False if hidden else around if answer is None else answer))

    def handle_endtag(self, tag: str) -> None:
        if any(each == tag for each, _ in self.open):
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1][1]:
            self.parts.append(data)


def within(tag: str, name: str, value: str, *without: str) -> Callable[[str, dict[str, str | None]], bool | None]:
    """Elements of this tag and attribute, less those of the classes ``without``."""

    def wanted(found: str, given: dict[str, str | None]) -> bool | None:
        if found == tag and (not name or value in (given.get(name) or "").split()):
            return True
        return False if set((given.get("class") or "").split()) & set(without) else None

    return wanted


def content_of(page: str, wanted: Callable[[str, dict[str, str | None]], bool | None]) -> str:
    reader = ContentReader(wanted)
    reader.feed(page)
    return "".join(reader.parts)


def sample(files: Sequence[Path]) -> list[Path]:
    files = sorted(files)
    return files[:: max(1, len(files) // PAGES_A_SET)][:PAGES_A_SET]


def known_sets(folder: Path | None) -> Iterator[tuple[str, Known]]:
    """Named sets of pages with known content."""

    def marked(files: Sequence[Path], *where: str) -> Known:
        texts = [(path.read_bytes(), path.read_text("utf-8", errors="replace")) for path in files]
        return [(raw, content_of(page, within(*where))) for raw, page in texts]

    yield "fixture: UDHR, 15 languages", marked(sorted((FIXTURES / "udhr").glob("*.html")), "body", "", "")
    yield "fixture: LibreOffice zh", marked(sorted((FIXTURES / "zh").rglob("*.html")), "div", "id", "DisplayArea")
    if folder is None:
        return
    python = next(folder.rglob("python3.11/html"))
    sources = sample([path for path in (python / "_sources").rglob("*.rst.txt") if path.stat().st_size > 1000])
    pairs = [(python / str(path.relative_to(python / "_sources"))[: -len(".rst.txt")], path) for path in sources]
    yield (
        "python3.11-doc",
        [
            (page.with_suffix(page.suffix + ".html").read_bytes(), ROLES.sub("", source.read_text()))
            for page, source in pairs
            if page.with_suffix(page.suffix + ".html").exists()
        ],
    )
    for language in ("en-US", "zh-CN", "zh-TW"):
        files = sample(list(next(folder.rglob(f"help/{language}/text")).rglob("*.html")))
        yield f"libreoffice {language}", marked(files, "div", "id", "DisplayArea")
        files = sample(list(next(folder.rglob(f"debian-handbook/html/{language}")).glob("*.html")))
        yield f"handbook {language}", marked(files, "body", "", "", "docnav", "producttitle")
    files = sample(list(next(folder.rglob("postgresql-doc-15/html")).glob("*.html")))
    yield "postgresql", marked(files, "body", "", "", "navheader", "navfooter")
    files = sample([path for path in next(folder.rglob("doc/sqlite3")).glob("*.html") if path.stat().st_size > 8000])
    files = [path for path in files if b"<div class=fancy>" in path.read_bytes()]
    yield "sqlite", marked(files, "div", "class", "fancy", "nosearch")


def tokens(text: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for token in TOKENS.findall(HAN_GAP.sub("", text)):
        if "\u3005" <= token[0] <= "\u9fff" or "\uf900" <= token[0] <= "\ufaff":
            counted.update(token[at : at + 2] for at in range(max(1, len(token) - 1)))
        else:
            counted[token.lower()] += 1
    return counted


def agreement(found: str, known: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of a text."""
    ours_, theirs = tokens(found), tokens(known)
    both = (ours_ & theirs).total()
    precision = both / ours_.total() if ours_ else float(not theirs)
    recall = both / theirs.total() if theirs else 1.0
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def report_quality(folder: Path | None, extractors: dict[str, Extractor]) -> None:
    print("\nknown content: precision / recall / F1 (* looked at only after the thresholds were set)")
    print(f"{'set':>30} {'pages':>5}" + "".join(f"{name:>24}" for name in extractors))
    for name, pages in known_sets(folder):
        print(f"{name + ('*' if name in HELD_OUT else ''):>30} {len(pages):>5}", end="")
        for extractor in extractors.values():
            texts = extractor([page for page, _ in pages])
            scores = [agreement(text, known) for text, (_, known) in zip(texts, pages, strict=True)]
            means = [statistics.fmean(column) for column in zip(*scores, strict=True)]
            print(f"{means[0]:>12.3f} {means[1]:.3f} {means[2]:.3f}", end="", flush=True)
        print()


def report_agreement(crawl: Pages, extractors: dict[str, Extractor]) -> None:
    pages = crawl[::TRAFILATURA_EVERY]
    reference = trafilatura(pages)
    print(
        f"\n{len(pages)} crawled pages, agreement with trafilatura where it finds 200 characters: precision, recall, F1"
    )
    for name, extractor in extractors.items():
        scores = [
            agreement(text, known) for text, known in zip(extractor(pages), reference, strict=True) if len(known) > 200
        ]
        print(f"{name:>30} {' '.join(f'{statistics.fmean(each):.3f}' for each in zip(*scores, strict=True))}")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


def report_speed(sets: dict[str, Pages], names: Sequence[str], rounds: int) -> None:
    print(f"\nMB of HTML per CPU second, medians of {rounds} interleaved rounds; (ratio to resiliparse's own)")
    print(f"{'set':>30} {'MB':>6}" + "".join(f"{name:>24}" for name in names))
    for name, pages in sets.items():
        tables, few = tables_of(pages), pages[::TRAFILATURA_EVERY]
        jobs: dict[str, tuple[Callable[[], object], Pages]] = {
            "ours": (partial(extract_tables, tables, "density"), pages),
            "resiliparse": (partial(resiliparse, pages), pages),
            "resiliparse guarded": (partial(extract_tables, tables, "resiliparse"), pages),
            "trafilatura": (partial(trafilatura, few), few),
        }
        rates: dict[str, list[float]] = {each: [] for each in names}
        for _ in range(rounds):
            for each in names:
                job, given = jobs[each]
                begun = cpu_seconds()
                job()
                rates[each].append(sum(map(len, given)) / 1e6 / (cpu_seconds() - begun))
        own = statistics.median(rates["resiliparse"])
        medians = [statistics.median(rates[each]) for each in names]
        cells = "".join(f"{median:>15.1f} ({median / own:>5.2f}×)" for median in medians)
        print(f"{name:>30} {sum(map(len, pages)) / 1e6:>6.1f}{cells}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--crawl", type=Path, help="the sdist of formasaurus: 954 crawled pages")
    options.add_argument("--documentation", type=Path, help="Debian's documentation packages, unpacked")
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    has_trafilatura = importlib.util.find_spec("trafilatura") is not None
    versions = f"resiliparse {version('resiliparse')}, numba {version('numba')}, Python {platform.python_version()}"
    print(versions + (f", trafilatura {version('trafilatura')}" if has_trafilatura else ""))
    extractors: dict[str, Extractor] = {"ours": ours, "resiliparse": resiliparse, "resiliparse guarded": guarded}
    if has_trafilatura:
        extractors["trafilatura"] = trafilatura
    sets = {"fixtures": [path.read_bytes() for path in sorted(FIXTURES.rglob("*.html"))]}
    if asked.crawl:
        with tarfile.open(asked.crawl) as archive:
            members = [member for member in archive if member.name.endswith(".html")]
            sets["crawled"] = [file.read() for member in members if (file := archive.extractfile(member))]
    if asked.documentation:
        for name, pattern in {"python3.11-doc": "python3.11/html", "libreoffice zh-CN": "help/zh-CN/text"}.items():
            found = sorted(next(asked.documentation.rglob(pattern)).rglob("*.html"))
            sets[name] = [path.read_bytes() for path in found[::4]]
    if "crawled" in sets and has_trafilatura:
        report_agreement(sets["crawled"], {name: each for name, each in extractors.items() if name != "trafilatura"})
    report_quality(asked.documentation, extractors)
    ours(sets["fixtures"])  # compiles
    report_speed(sets, list(extractors), asked.rounds)


if __name__ == "__main__":
    main()
