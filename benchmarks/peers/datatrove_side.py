"""datatrove's side of benchmarks/corpus.py: runs in its own environment and answers each line of JSON with one."""

import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pyarrow.parquet as pq
import trafilatura  # noqa: F401  (before the extractor forks, so that no round pays for loading it)
from clock import cpu_seconds
from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.text import split_into_words
from loguru import logger

NEVER = float("inf")


def rule_filters() -> list[BaseFilter]:
    """As FineWeb's own script has them (datatrove, examples/fineweb.py)."""
    return [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]


def pipeline(warc_folder: str) -> dict[str, Any]:
    """Pages of WARC files to documents without near duplicates, in this process, as a chain of its steps."""
    begun = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        at = {name: f"{folder}/{name}" for name in ("filtered", "signatures", "buckets", "removed", "output")}
        config = MinhashConfig()  # 14 bands of 8 hashes
        extract = [WarcReader(warc_folder), Trafilatura(timeout=30)]
        exhaust([*extract, *rule_filters(), JsonlWriter(at["filtered"], compression=None)])
        exhaust([JsonlReader(at["filtered"]), MinhashDedupSignature(at["signatures"], config=config)])
        for band in range(config.num_buckets):
            exhaust([MinhashDedupBuckets(at["signatures"], at["buckets"], config=config)], band, config.num_buckets)
        exhaust([MinhashDedupCluster(at["buckets"], at["removed"], config=config)])
        output = JsonlWriter(at["output"], compression=None)
        exhaust([JsonlReader(at["filtered"]), MinhashDedupFilter(at["removed"]), output])
        kept = [file.read_bytes() for file in Path(at["output"]).rglob("*.jsonl")]
    documents = sum(each.count(b"\n") for each in kept)
    return {"cpu_seconds": cpu_seconds() - begun, "documents": documents}


def exhaust(steps: Sequence[Any], rank: int = 0, ranks: int = 1) -> None:
    data: Iterable[Document] | None = None
    for step in steps:
        data = step(data, rank, ranks)
    for _ in data or ():
        pass


def rules(texts: Sequence[str]) -> dict[str, Any]:
    """Seconds of each filter on every text; and of all in a pipeline, where a dropped text meets no further one."""
    filters = rule_filters()
    seconds = {type(each).__name__: 0.0 for each in filters}
    for text in texts:
        for each in filters:  # one after the other, so that they share the words of a text, as in a pipeline
            document = Document(text=text, id="")
            begun = time.process_time()
            each.filter(document)
            seconds[type(each).__name__] += time.process_time() - begun
    documents = [Document(text=f"{text} ", id="") for text in texts]  # so that no word is remembered
    begun = time.process_time()
    kept = sum(all(each.filter(document) is True for each in filters) for document in documents)
    return {"cpu_seconds": {**seconds, "until": time.process_time() - begun}, "documents": kept}


def signatures(texts: Sequence[str]) -> dict[str, Any]:
    """112 MinHash values of each text; nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, config=MinhashConfig())
        begun = time.process_time()
        found = [step.get_signature(shingles) for shingles in map(step.get_shingles, texts) if shingles.size]
        return {"cpu_seconds": time.process_time() - begun, "documents": len(found)}


SENTENCE_ENDS = '.!?"”’。！？…」』؟۔।॥'  # as in our kernels/characters.py


def single_rules() -> dict[str, BaseFilter]:
    """A filter for each rule, with all other rules of its class off."""
    no_repetition: dict[str, Any] = dict.fromkeys(
        ("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")
    )
    no_repetition |= {"top_n_grams": (), "dup_n_grams": ()}
    published = GopherRepetitionFilter()
    found: dict[str, BaseFilter] = {
        name: GopherRepetitionFilter(**{**no_repetition, name: getattr(published, name)})
        for name in no_repetition
        if not name.endswith("grams")
    }
    for kind in ("top", "dup"):
        for pair in getattr(published, f"{kind}_n_grams"):
            found[f"{kind}_{pair[0]}_gram"] = GopherRepetitionFilter(**{**no_repetition, f"{kind}_n_grams": (pair,)})
    quality = GopherQualityFilter()
    names = [name for name in vars(quality) if name.startswith(("min_", "max_"))]
    found |= {name: GopherQualityFilter(**{**dict.fromkeys(names), name: getattr(quality, name)}) for name in names}
    lines_off = {
        "line_punct_thr": -1.0,
        "short_line_thr": NEVER,
        "char_duplicates_ratio": NEVER,
        "new_line_ratio": NEVER,
    }
    for name, bound in (("line_punct_thr", 0.12), ("short_line_thr", 0.67), ("char_duplicates_ratio", 0.1)):
        found[name] = FineWebQualityFilter(**{**lines_off, name: bound})
    c4 = (
        "remove_citations",
        "filter_no_terminal_punct",
        "filter_lorem_ipsum",
        "filter_javascript",
        "filter_curly_bracket",
    )
    c4_off: dict[str, Any] = dict.fromkeys((*c4, "filter_policy"), False)
    c4_off |= {"min_num_sentences": -1, "min_words_per_line": -1, "max_word_length": -1}
    for name in ("filter_lorem_ipsum", "filter_curly_bracket"):
        found[name] = C4QualityFilter(**{**c4_off, name: True})
    return found


def verdicts(texts: Sequence[str], variant: str) -> dict[str, Any]:
    """For each rule which texts it drops.

    Variants: `own`; `spaces`, with words split at white space instead of by spaCy, and our marks for the end of a
    sentence (``stop_chars``); `tidy`, of which the lines besides have no white space around them and none is empty.
    """
    words: Callable[..., list[str]] = split_into_words if variant == "own" else lambda text, _language: text.split()
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = words
    filters = single_rules()
    if variant != "own":
        filters["line_punct_thr"].stop_chars = tuple(SENTENCE_ENDS)
    dropped: dict[str, list[bool]] = {name: [] for name in filters}
    for text in texts:
        for name, each in filters.items():
            shown = tidy(text, "\n\n" if "para" in name else "\n") if variant == "tidy" else text
            dropped[name].append(each.filter(Document(text=shown, id="")) is not True)
    return {"dropped": dropped}


def tidy(text: str, between: str) -> str:
    lines = [line.strip() for line in text.split("\n")]
    return re.sub(r"\n{2,}", between, "\n".join(lines)).strip()


def answers() -> Iterator[dict[str, Any]]:
    yield {name: version(name) for name in ("datatrove", "trafilatura", "spacy", "nltk")}
    for line in sys.stdin:
        asked = json.loads(line)
        kind = asked["do"]
        if kind == "pipeline":
            yield pipeline(asked["warc"])
            continue
        texts = pq.read_table(asked["texts"])["text"].to_pylist()
        if kind == "verdicts":
            yield verdicts(texts, asked["variant"])
        else:
            yield {"rules": rules, "signatures": signatures}[kind](texts)


def main() -> None:
    logger.remove()
    logging.disable(logging.WARNING)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not get between our answers
    first = answers()
    for answer in chain([next(first)], first):
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
