"""The corpus stage beside datatrove on the same pages, single process: ratios of CPU time, then agreement rule by rule.

    python benchmarks/corpus.py [--crawl formasaurus-0.10.0.tar.gz] [--documentation FOLDER] [--megabytes 40]
                                [--agreement-megabytes 100] [--extraction KIND] [--rounds 3] [--peer-python PYTHON]

FOLDER is what `dpkg-deb -x` made of python3.11-doc and the like; without either option the pages of tests/fixtures are
all there is. Half of the pages' bytes, evenly chosen, come from either. datatrove runs in an environment of its own,
which is made under the cache folder of the user from requirements-peers.txt unless --peer-python names one.

Whole pipeline: a WARC file → text → rules → near duplicates → files, once with the same steps and once with all our
filters. Even then ours knows languages, compares exactly, verifies near duplicates, and keeps what it drops. Rules and
signatures work on the same English texts, those of our extraction. Rounds are interleaved; medians of CPU time, child
processes included.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from peers.clock import cpu_seconds

from fromscratch.core.recipe_file import load_recipe_tree
from fromscratch.core.settings import validate_settings
from fromscratch.corpus.cascade import Cascade
from fromscratch.corpus.comparison.duplicates import minhash_keys
from fromscratch.corpus.comparison.settings import DuplicateSettings
from fromscratch.corpus.documents import read_documents
from fromscratch.corpus.filters.filter import Batch
from fromscratch.corpus.kernels.metrics import Metric
from fromscratch.corpus.shard import measure_texts
from fromscratch.corpus.sieve import sieve
from fromscratch.pipeline import run_stages
from fromscratch.recipe import Recipe

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
TRAFILATURA = "trafilatura==2.3.1"
BANDS, ROWS = 14, 8  # datatrove's
# Ours beside the peer's: one pass measures what all rules of Gopher and FineWeb and C4's on pages need; what lines of a
# page go, for which C4 has rules as well, is the work of another filter.
RULES = (
    (
        "Gopher's and FineWeb's rules",
        ("quality",),
        ("GopherRepetitionFilter", "GopherQualityFilter", "FineWebQualityFilter"),
    ),
    (
        "these and C4's",
        ("quality", "correction"),
        ("GopherRepetitionFilter", "GopherQualityFilter", "FineWebQualityFilter", "C4QualityFilter"),
    ),
    ("these, until one drops", ("quality", "correction"), ("until",)),
)
ONLY_OURS = ("words", "safety", "topics", "privacy")  # of the filters that are on by default
VARIANTS = ("own", "spaces", "tidy")  # of datatrove's verdicts: see `verdicts` in peers/datatrove_side.py
OUR_REPEATS = 3  # of what takes a hundredth of the peer's time

Texts: TypeAlias = pa.LargeStringArray


class Published(NamedTuple):
    """A published rule: its family, datatrove's name of it, our metric, and the bound."""

    family: str
    peer: str
    metric: Metric
    side: str
    bound: float


REPEATED = (Metric.TOP_2_GRAM_SHARE + number for number in range(9))
PUBLISHED = (
    Published("Gopher quality", "min_doc_words", Metric.WORDS, "least", 50),
    Published("Gopher quality", "max_doc_words", Metric.WORDS, "most", 100_000),
    Published("Gopher quality", "min_avg_word_length", Metric.MEAN_WORD_CHARACTERS, "least", 3),
    Published("Gopher quality", "max_avg_word_length", Metric.MEAN_WORD_CHARACTERS, "most", 10),
    Published("Gopher quality", "max_symbol_word_ratio", Metric.SYMBOL_WORD_RATIO, "most", 0.1),
    Published("Gopher quality", "max_bullet_lines_ratio", Metric.BULLET_LINE_SHARE, "most", 0.9),
    Published("Gopher quality", "max_ellipsis_lines_ratio", Metric.ELLIPSIS_LINE_SHARE, "most", 0.3),
    Published("Gopher quality", "max_non_alpha_words_ratio", Metric.ALPHABETIC_WORD_SHARE, "least", 0.8),
    Published("Gopher quality", "min_stop_words", Metric.STOP_WORDS, "least", 2),
    Published("Gopher repetition", "dup_line_frac", Metric.DUPLICATE_LINE_SHARE, "most", 0.3),
    Published("Gopher repetition", "dup_para_frac", Metric.DUPLICATE_PARAGRAPH_SHARE, "most", 0.3),
    Published("Gopher repetition", "dup_line_char_frac", Metric.DUPLICATE_LINE_CHARACTER_SHARE, "most", 0.2),
    Published("Gopher repetition", "dup_para_char_frac", Metric.DUPLICATE_PARAGRAPH_CHARACTER_SHARE, "most", 0.2),
    *(
        Published("Gopher repetition", f"{kind}_{length}_gram", Metric(next(REPEATED)), "most", bound)
        for kind, length, bound in (
            *(("top", *pair) for pair in ((2, 0.2), (3, 0.18), (4, 0.16))),
            *(("dup", *pair) for pair in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))),
        )
    ),
    Published("C4", "filter_lorem_ipsum", Metric.LOREM_IPSUM, "most", 0),
    Published("C4", "filter_curly_bracket", Metric.CURLY_BRACES, "most", 0),
    Published("FineWeb", "line_punct_thr", Metric.PUNCTUATED_LINE_SHARE, "least", 0.12),
    Published("FineWeb", "short_line_thr", Metric.SHORT_LINE_SHARE, "most", 0.67),
    Published("FineWeb", "char_duplicates_ratio", Metric.DUPLICATE_LINE_CHARACTER_SHARE, "most", 0.1),
)
CLASSES = {
    "words": "gone once datatrove splits words at white space, as ours does (to spaCy punctuation and n't are words), "
    "and is given our marks for the end of a sentence (C4's quotation marks and the ellipsis besides its own)",
    "lines": "gone once, besides, no line has white space around it and empty ones do not count, as with ours",
    "other": "left then; docs/decisions/words-of-rules.md tells what they are",
}
JUDGED_BYTES = 60_000  # of a text at most, as datatrove takes its time over long ones
# Of top n-grams. With fewer words, with which Gopher drops a document anyway, datatrove takes a phrase that comes once
# for the most frequent one, and ours none.
LEAST_WORDS = 50


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--crawl", type=Path)
    options.add_argument("--documentation", type=Path)
    options.add_argument("--megabytes", type=float, default=40)
    options.add_argument("--agreement-megabytes", type=float, default=100)
    options.add_argument("--extraction", help="the `kind` of corpus.extraction; absent, the default")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--peer-python", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = list(chosen(asked.crawl, asked.documentation, asked.megabytes * 1e6))
        html_bytes = sum(len(content) for _, content in pages)
        texts = english_texts(pages, folder, asked.extraction)  # which also compiles the kernels, before any clock runs
        text_bytes = pc.sum(pc.binary_length(texts)).as_py()
        with Peer(asked.peer_python or peer_python()) as peer:
            print(
                f"{', '.join(f'{name} {each}' for name, each in peer.versions.items())}, {platform.python_version()=}"
            )
            print(f"{len(pages):,} pages, {html_bytes / 1e6:.1f} MB of HTML; {len(texts):,} English texts, ", end="")
            print(f"{text_bytes / 1e6:.2f} MB; medians of {asked.rounds} interleaved rounds", flush=True)
            compare(peer, folder, texts, asked, html_bytes, text_bytes)
            more = list(chosen(asked.crawl, asked.documentation, asked.agreement_megabytes * 1e6))
            agree(peer, folder / "agreement", english_texts(more, folder / "agreement", asked.extraction, JUDGED_BYTES))


def chosen(crawl: Path | None, documentation: Path | None, most_bytes: float) -> Iterator[tuple[str, bytes]]:
    """Addresses and contents: of each set every n-th page, so that they have about the asked size together."""
    sets: list[list[tuple[str, bytes]]] = []
    if crawl is not None:
        with tarfile.open(crawl) as archive:
            members = [each for each in archive if "/html/" in each.name and each.name.endswith(".html")]
            sets.append([(f"http://crawl.test/{each.name}", read(archive, each)) for each in members])
    if documentation is not None:
        files = sorted(each for each in documentation.rglob("*.html") if each.is_file() and each.stat().st_size < 2e6)
        sets.append([(f"http://documentation.test/{each.name}", each.read_bytes()) for each in files])
    if not sets:
        files = sorted((TESTS / "fixtures" / "pages" / "html").rglob("*.html"))
        sets.append([(f"http://fixtures.test/{each.name}", each.read_bytes()) for each in files])
    for each in sets:
        steps = sum(len(content) for _, content in each) * len(sets) / most_bytes
        yield from (each[int(number * steps)] for number in range(int(len(each) / steps))) if steps > 1 else each


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def write_warc(path: Path, pages: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for number, (address, content) in enumerate(pages):
            payload = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + content
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number:032x}>\r\n"
                f"WARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Target-URI: {address}\r\n"
                "WARC-Identified-Payload-Type: text/html\r\nContent-Type: application/http; msgtype=response\r\n"
                f"Content-Length: {len(payload)}\r\n\r\n"
            )
            file.write(head.encode() + payload + b"\r\n\r\n")


def our_pipeline(warc: Path, run: Path, extraction: str | None, *, same_steps: bool = False) -> float:
    """CPU seconds of the stage `corpus`, from the WARC file to the finished artifact.

    With ``same_steps`` the filters that datatrove's pipeline has no counterpart of are left out.
    """
    tree = load_recipe_tree(TESTS / "recipes" / "tiny.toml")
    source = {"kind": "files", "path": str(warc), "domain": "web", "license": "LicenseRef-unknown"}
    tree |= {"machine": {"workers": 1}, "corpus": {"sources": {"pages": source}}}
    tree["corpus"] |= {"extraction": {"kind": extraction}} if extraction else {}
    if same_steps:
        tree["corpus"] |= {"filters": dict.fromkeys(ONLY_OURS), "refusals": {"least_foreign_letters": None}}
    recipe = validate_settings(Recipe, tree, "the benchmark's recipe")
    begun = cpu_seconds()
    run_stages(recipe, run, until="corpus")
    return cpu_seconds() - begun


def english_texts(
    pages: Sequence[tuple[str, bytes]], folder: Path, extraction: str | None, most_bytes: int = 2**31
) -> Texts:
    """What our corpus stage takes for English, kept or not; also written into the folder, as are the pages."""
    write_warc(folder / "warc" / "pages.warc", pages)
    our_pipeline(folder / "warc", folder / "first", extraction)
    found = pa.concat_tables(read_documents(folder / "first" / "corpus", ("text", "language"), keep_only=False))
    sizes = pc.binary_length(found["text"])
    fitting = pc.and_(pc.greater(sizes, 0), pc.less_equal(sizes, most_bytes))
    texts = found.filter(pc.and_(pc.fill_null(pc.equal(found["language"], "en"), False), fitting))["text"]
    pq.write_table(pa.table({"text": texts}), folder / "texts.parquet")
    return texts.combine_chunks()


def our_rules(texts: Texts, filters: Sequence[str]) -> None:
    """Measuring and judging, as in the cascade, of texts that are known to be English."""
    others = [
        name
        for name, field in Cascade.model_fields.items()
        if name not in filters and type(None) in get_args(field.annotation)
    ]
    cascade = Cascade.model_validate(dict.fromkeys(others))

    def column(value: str | None) -> NDArray[np.object_]:
        return np.full(len(texts), value, dtype=object)

    batch = Batch(
        ids=column("0" * 16),
        sources=column("pages"),
        domains=column("web"),
        urls=column("http://crawl.test/"),
        kinds=column("html"),
        hints=column("en"),
        languages=column(None),
        texts=texts,
        models=Path(),
        measure=measure_texts,
    )
    sieve(batch, column(None), pc.binary_length(texts).to_numpy().astype(np.int64), cascade)


class Peer:
    """The process in which datatrove runs."""

    def __init__(self, python: Path) -> None:
        script = HERE / "peers" / "datatrove_side.py"
        self.process = subprocess.Popen(
            [str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.versions: Mapping[str, str] = self._answer()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, kind: str, **particulars: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": kind, **particulars}) + "\n")
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"datatrove's process ended with status {self.process.wait()}")
        return json.loads(line)


def peer_python() -> Path:
    """The environment with datatrove, made on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fromscratch" / "datatrove"
    python = cache / "bin" / "python"
    if not (cache / "ready").exists():
        print(f"making {cache}", file=sys.stderr)
        venv.create(cache, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--requirement", str(HERE / "requirements-peers.txt")], check=True)
        subprocess.run([*install, "--no-deps", TRAFILATURA], check=True)
        (cache / "ready").touch()
    return python


def compare(
    peer: Peer, folder: Path, texts: Texts, asked: argparse.Namespace, html_bytes: int, text_bytes: int
) -> None:
    minhash = DuplicateSettings(bands=BANDS, rows=ROWS)
    path = str(folder / "texts.parquet")
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    our_rules(texts[:8], ("quality", "correction"))
    minhash_keys(texts[:8], minhash)
    for number in range(asked.rounds):
        warc, kind = folder / "warc", asked.extraction
        our_seconds = {
            "whole pipeline, the same steps": our_pipeline(warc, folder / f"same-{number}", kind, same_steps=True),
            "whole pipeline, all our filters": our_pipeline(warc, folder / f"run-{number}", kind),
        }
        peer_seconds = dict.fromkeys(our_seconds, peer.ask("pipeline", warc=str(warc))["cpu_seconds"])
        by_filter = peer.ask("rules", texts=path)["cpu_seconds"]
        for title, filters, peers in RULES:
            our_seconds[title] = seconds(partial(our_rules, texts, filters))
            peer_seconds[title] = sum(by_filter[name] for name in peers)
        title = f"MinHash, {BANDS} × {ROWS} values"
        our_seconds[title] = seconds(partial(minhash_keys, texts, minhash))
        peer_seconds[title] = peer.ask("signatures", texts=path)["cpu_seconds"]
        for title in our_seconds:
            ours.setdefault(title, []).append(our_seconds[title])
            theirs.setdefault(title, []).append(peer_seconds[title])
    print(f"\n{'':>32} {'ours':>9} {'datatrove':>10}  MB of HTML or text a CPU second; ratio (range)")
    for title, spent in ours.items():
        size = (html_bytes if title.startswith("whole pipeline") else text_bytes) / 1e6
        ratios = sorted(their / our for our, their in zip(spent, theirs[title], strict=True))
        rates = [size / statistics.median(each) for each in (spent, theirs[title])]
        spread = f"{statistics.median(ratios):,.0f}× ({ratios[0]:,.0f} to {ratios[-1]:,.0f})"
        print(f"{title:>32} {rates[0]:>9.1f} {rates[1]:>10.3f}  {spread}", flush=True)


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(OUR_REPEATS):
        work()
    return (time.process_time() - begun) / OUR_REPEATS


def agree(peer: Peer, folder: Path, texts: Texts) -> None:
    path = str(folder / "texts.parquet")
    theirs = {
        variant: {
            name: np.array(dropped)
            for name, dropped in peer.ask("verdicts", texts=path, variant=variant)["dropped"].items()
        }
        for variant in VARIANTS
    }
    metrics = measure_texts(texts)
    every = np.ones(len(texts), bool)
    long = metrics[:, Metric.WORDS] >= LEAST_WORDS
    print(f"\nThe same bounds on {len(texts):,} English texts; top n-grams on the {long.sum():,} of at least 50 words")
    print(f"{'':>34} {'they drop':>9} {'we drop':>7} {'agreement':>10} {'same words':>11}   of what differs: ", end="")
    print(", ".join(CLASSES))
    families = list(dict.fromkeys(rule.family for rule in PUBLISHED))
    for title, rules in (
        *((f"{each.peer} {'≥' if each.side == 'least' else '≤'} {each.bound:,g}", [each]) for each in PUBLISHED),
        *((family, [each for each in PUBLISHED if each.family == family]) for family in families),
        ("all of these", list(PUBLISHED)),
    ):
        judged = long if any(each.peer.startswith("top_") for each in rules) else every
        peers = [np.any([theirs[variant][each.peer] for each in rules], axis=0)[judged] for variant in VARIANTS]
        row(title, peers, np.any([drops(each, metrics) for each in rules], axis=0)[judged])
    print(*(f"{name}: {text}" for name, text in CLASSES.items()), sep="\n")


def drops(rule: Published, metrics: NDArray[np.float32]) -> NDArray[np.bool_]:
    values, bound = metrics[:, rule.metric], np.float32(rule.bound)
    return values < bound if rule.side == "least" else values > bound


def row(title: str, theirs: Sequence[NDArray[np.bool_]], ours: NDArray[np.bool_]) -> None:
    """A line of the table; what differs belongs to the first variant of datatrove's in which it no longer does."""
    own, spaces, tidy = (each != ours for each in theirs)
    numbers = ((own & ~spaces).sum(), (own & spaces & ~tidy).sum(), (own & spaces & tidy).sum())
    shares = "".join(f" {100 * (1 - each.mean()):>8.2f} %" for each in (own, spaces))
    counts = " ".join(f"{number:>6}" for number in numbers)
    print(f"{title:>34} {theirs[0].sum():>9} {ours.sum():>7} {shares}   {counts}", flush=True)


if __name__ == "__main__":
    main()
