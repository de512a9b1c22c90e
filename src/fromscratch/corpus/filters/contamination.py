"""Documents that share an n-gram with a benchmark go, or lose the place."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fromscratch.core.files import atomic_write, write_json
from fromscratch.corpus.filters.filter import Batch, Filter, ReadExamples, Verdict, no_reasons

__all__ = ["Contamination"]

GRAMS, PLACES, ITEMS = "benchmark-grams.npy", "benchmark-places.npy", "benchmark-items.json"
FILTER_SIZE = 1 << 22  # of hashes' upper bits: 4 MB, which spare nearly all searches among the n-grams
SHOWN_CHARACTERS = 200


class Contamination(Filter):
    """What benchmarks are looked for, and what happens where one is found.

    Texts are compared as words in lower case without punctuation, each Han character being one; what the hashes find
    is compared word by word before anything is dropped.
    """

    benchmarks: tuple[str, ...] = ()
    """Names of `corpus.examples`: each document of these is an item, such as a question with its answers."""

    words: int = Field(default=13, ge=4, le=100)
    """Words in an n-gram; items with fewer are not found. GPT-3 (Brown et al. 2020, 2005.14165, appendix C): 13."""

    han_characters: int = Field(default=25, ge=6, le=200)
    """Han characters in an n-gram; of mixed text each has 1/25 of what it takes, where a word has 1/13. Ours."""

    matched: Literal["drop", "cut"] = "drop"
    """Whether the document goes, or only each match with what is around it, as GPT-3 did."""

    margin_characters: int = Field(default=200, ge=0)
    """What is cut on either side of a match; pieces between cuts that are not longer go as well. GPT-3: 200."""

    most_cuts: int = Field(default=10, ge=1)
    """A document with more cuts goes. GPT-3: 10."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        return {"benchmarks": self.benchmarks}

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Write the n-grams of all items, ascending, with the item and the place in it of each."""
        import pyarrow as pa

        from fromscratch.corpus.kernels.characters import character_tables
        from fromscratch.corpus.kernels.contamination import all_grams
        from fromscratch.corpus.kernels.text_buffers import text_buffers

        if not self.benchmarks or (folder / ITEMS).exists():  # which is written last
            return
        items = [(name, url, text) for name in self.benchmarks for url, text in read(name)]
        tables = character_tables()
        buffers = text_buffers(pa.array([text for _, _, text in items], pa.large_string()))
        grams, places = all_grams(*buffers, tables.classes, tables.lower, self.words, self.han_characters)
        known, first = np.unique(grams, return_index=True)
        for name, array in ((GRAMS, known), (PLACES, places[first])):
            with atomic_write(folder / name) as path, path.open("wb") as file:
                np.save(file, array)
        write_json(folder / ITEMS, items)

    def judge(self, batch: Batch) -> Verdict:
        """`contaminated`, with the benchmark, the item, and the words that it shares."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from fromscratch.corpus.kernels.characters import character_tables
        from fromscratch.corpus.kernels.contamination import find_grams
        from fromscratch.corpus.kernels.text_buffers import text_buffers

        reasons, evidence = no_reasons(batch), no_reasons(batch)
        if not self.benchmarks:
            return Verdict(reasons, evidence)
        known, seen, places, items = _load(batch.models, (batch.models / ITEMS).stat().st_mtime_ns)
        tables = character_tables()
        found = find_grams(
            *text_buffers(batch.texts), tables.classes, tables.lower, self.words, self.han_characters, known, seen
        )
        texts: dict[int, str] = {}
        # Loops over documents, of which few have a match.
        for place, matches in zip(*_by_text(found), strict=True):
            text = batch.texts[place].as_py()
            spans = []
            for number, start, end in matches[:, 1:].tolist():
                item, first, last = places[number].tolist()
                name, url, asked = items[item]
                if _letters(text[start:end]) == _letters(asked[first:last]):
                    shared = " ".join(text[start:end].split())[:SHOWN_CHARACTERS]
                    evidence[place] = evidence[place] or f"{name}, {url}: {shared}"
                    spans.append((start, end))
            if not spans:
                continue
            kept = _cut(text, spans, self.margin_characters) if self.matched == "cut" else ""
            if kept and len(spans) <= self.most_cuts:
                texts[place], evidence[place] = kept, None
            else:
                reasons[place] = "contaminated"
        if not texts:
            return Verdict(reasons, evidence)
        changed = np.zeros(len(batch), np.bool_)
        changed[list(texts)] = True
        new = pc.replace_with_mask(batch.texts, pa.array(changed), pa.array(list(texts.values()), pa.large_string()))
        return Verdict(reasons, evidence, texts=new)


def _by_text(found: NDArray[np.int64]) -> tuple[list[int], list[NDArray[np.int64]]]:
    """The texts with matches, and the matches of each, which come in their order."""
    texts, firsts = np.unique(found[:, 0], return_index=True)
    return texts.tolist(), np.split(found, firsts[1:]) if len(firsts) else []


def _letters(text: str) -> str:
    """A text as it is compared, without what parts the words."""
    return "".join(each.lower() for each in text if each.isalpha() or each.isdecimal())


def _cut(text: str, spans: Sequence[tuple[int, int]], margin_characters: int) -> str:
    """What is left beside the spans and their margins, in pieces longer than a margin."""
    pieces, begun = [], 0
    for start, end in [*spans, (len(text) + margin_characters, 0)]:
        piece = text[begun : max(start - margin_characters, begun)].strip()
        if len(piece) > margin_characters:
            pieces.append(piece)
        begun = max(begun, end + margin_characters)
    return "\n\n".join(pieces)


@lru_cache(maxsize=2)
def _load(folder: Path, written: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.int64], list[Any]]:
    """The n-grams mapped from their file, the filter before them, their places, and the items."""
    del written  # tells a new file under the same name
    known = np.load(folder / GRAMS, mmap_mode="r")
    seen = np.zeros(FILTER_SIZE, np.bool_)
    seen[known >> np.uint64(64 - FILTER_SIZE.bit_length() + 1)] = True
    return (
        known,
        seen,
        np.load(folder / PLACES, mmap_mode="r"),
        json.loads((folder / ITEMS).read_text(encoding="utf-8")),
    )
