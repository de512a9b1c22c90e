"""N-gram models with interpolated modified Kneser-Ney smoothing, in one hash table that processes share."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fromscratch.core.files import atomic_write, write_json
from fromscratch.corpus.kernels.characters import character_tables
from fromscratch.corpus.kernels.text_buffers import text_buffers
from fromscratch.corpus.learning.kernels import LOG_STEPS, all_grams, fill_table, negative_logs

__all__ = ["NgramModel", "load_ngrams", "perplexities", "save_ngrams", "train_ngrams"]

Hashes = NDArray[np.uint64]
Floats = NDArray[np.float64]

FULLEST = 0.7  # of the table's slots
LARGEST_VALUE = 0xFFFF


class NgramModel(NamedTuple):
    """A table from hashes of n-grams to -ln p, in steps of 1/2048, and the report of how it was made."""

    table: Hashes
    report: dict[str, Any]


class _Grams(NamedTuple):
    """The n-grams of one length that were seen."""

    own: Hashes
    counts: NDArray[np.int64]
    """How often; of all but the longest, after how many different units (Kneser and Ney's counts)."""
    places: NDArray[np.int64]
    """Where each ends that is seen first."""


def train_ngrams(texts: pa.LargeStringArray, order: int) -> NgramModel:
    """Estimate the probability of a unit, a word or a Han character, given ``order`` - 1 units before.

    Chen and Goodman 1999 (doi 10.1006/csla.1999.0128), with three discounts for each length and the back-off form of
    Heafield et al. 2013 (KenLM; aclanthology P13-2121). The longest n-grams are left out that were seen once, and all
    their mass goes to shorter ones (KenLM's `--prune 0 0 1`): they are most of the table and say least.
    """
    tables = character_tables()
    hashes, ends = all_grams(*text_buffers(texts), tables.classes, tables.lower, order)
    seen = {order: _distinct(hashes[order], ends)}
    for length in range(order - 1, 0, -1):
        seen[length] = _distinct(hashes[length], seen[length + 1].places)
    unknown = 1 / (len(seen[1].own) + 1)
    entries: list[tuple[Hashes, Floats, int, bool]] = []
    below = np.array([unknown])  # probabilities of the n-grams one unit shorter
    for length in range(1, order + 1):
        grams = seen[length]
        discounts = _discounts(grams.counts, prunes=length == order > 1)[np.minimum(grams.counts, 3)]
        contexts, of_context = np.unique(hashes[length - 1][grams.places - 1], return_inverse=True)
        totals = np.bincount(of_context, grams.counts)
        left = np.bincount(of_context, discounts) / totals
        if length == 1:
            unknown *= float(left[0])
        else:
            entries.append((contexts[left < 1], left[left < 1], length - 1, True))  # the others change nothing
            below = below[np.searchsorted(seen[length - 1].own, hashes[length - 1][grams.places])]
        own = (grams.counts - discounts) / totals[of_context]
        below = own + left[of_context] * below
        entries.append((grams.own[own > 0], below[own > 0], length, False))
    count = sum(len(each[0]) for each in entries)
    table = np.zeros(1 << int(np.ceil(np.log2(count / FULLEST))), np.uint64)
    for of_length, probabilities, length, of_contexts in entries:
        fill_table(table, of_length, _steps(probabilities), length, of_contexts)
    report = {"order": order, "units": len(ends), "vocabulary": len(seen[1].own), "entries": count}
    return NgramModel(table, {**report, "unknown_steps": int(_steps(np.array([unknown]))[0])})


def _distinct(hashes: Hashes, places: NDArray[np.int64]) -> _Grams:
    own, first, counts = np.unique(hashes[places], return_index=True, return_counts=True)
    return _Grams(own, counts, places[first])


def _discounts(counts: NDArray[np.int64], prunes: bool) -> Floats:
    """What is taken from counts of 0, 1, 2 and more (Chen and Goodman, equation 26); 0.5, 1, 1.5 of too few to tell."""
    of = np.bincount(np.minimum(counts, 5), minlength=6)
    discounts = np.array([0, 0.5, 1, 1.5])
    if of[1:5].all():
        factor = of[1] / (of[1] + 2 * of[2])
        found = [each - (each + 1) * factor * of[each + 1] / of[each] for each in (1, 2, 3)]
        if all(0 < discount < each for each, discount in enumerate(found, start=1)):
            discounts[1:] = found
    if prunes:
        discounts[1] = 1
    return discounts


def _steps(probabilities: Floats) -> NDArray[np.uint16]:
    steps: Floats = np.rint(-np.log(probabilities) * LOG_STEPS)
    return np.clip(steps, 0, LARGEST_VALUE).astype(np.uint16)


def perplexities(model: NgramModel, texts: pa.LargeStringArray) -> tuple[Floats, NDArray[np.int64]]:
    """Perplexity by unit of each text, NaN of one without units, and the number of its units."""
    tables, report = character_tables(), model.report
    sums, counts = negative_logs(
        *text_buffers(texts), tables.classes, tables.lower, model.table, report["order"], report["unknown_steps"]
    )
    with np.errstate(invalid="ignore"):
        return np.exp(sums / counts), counts


def save_ngrams(model: NgramModel, path: Path) -> None:
    """Write ``path``.npy, then ``path``.json, whose presence says that both are whole."""
    with atomic_write(path.with_name(f"{path.name}.npy")) as temporary, temporary.open("wb") as file:
        np.save(file, model.table)
    write_json(path.with_name(f"{path.name}.json"), model.report)


def load_ngrams(path: Path) -> NgramModel:
    """What `save_ngrams` wrote, mapped into memory, so that the processes of a machine share it."""
    report = path.with_name(f"{path.name}.json")
    return _loaded(path, report.stat().st_mtime_ns)


@cache
def _loaded(path: Path, written: int) -> NgramModel:
    del written  # the key alone: another run may have put another model there
    report = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    return NgramModel(np.load(path.with_name(f"{path.name}.npy"), mmap_mode="r"), report)
