"""Some documents of a corpus by chance: of one reason, step, language or source, or a few of each reason."""

import heapq
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import did_you_mean
from fromscratch.corpus.verdicts.find import (
    KEPT,
    Place,
    beginning,
    finished_corpus,
    ids_as_numbers,
    read_rows,
    scan,
    seeded_order,
)

__all__ = ["sample"]

SHOWN = ("id", "title", "url", "source", "domain", "language", "bytes", "keep", "step", "reason", "evidence")
LINKS = ("duplicate_of", "similarity")
OF_EACH_REASON = 2
IN_ALL = 10
TEXT_CHARACTERS = 240

Best = list[tuple[int, Place]]  # a heap whose first is the largest: negative random numbers


def sample(
    run: Path,
    *,
    reason: str | None = None,
    step: str | None = None,
    language: str | None = None,
    source: str | None = None,
    count: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Documents of a run's corpus, drawn at random by the seed, with the beginnings of their texts.

    With any filter ``count`` documents (10) that meet all of them; the reason `kept` stands for those that stayed.
    Without one, ``count`` (2) of each reason, the most frequent reason first. Raises FromScratchError for a value that
    no document has.
    """
    corpus = finished_corpus(run)
    filters = {"reason": reason, "step": step, "language": language, "source": source}
    asked = {name: value for name, value in filters.items() if value is not None}
    at_most = count if count is not None else IN_ALL if asked else OF_EACH_REASON
    values: dict[str, Counter[str]] = {name: Counter() for name in asked}
    frequencies: Counter[str] = Counter()
    best: dict[str, Best] = {}
    for path, group, table in scan(corpus, tuple({"id", "reason", *asked})):
        reasons = pc.fill_null(table["reason"], KEPT)
        table = table.set_column(table.schema.get_field_index("reason"), "reason", reasons)
        meets = np.ones(len(table), bool)
        for name, value in asked.items():
            values[name].update(_counts(table[name]))
            meets &= pc.fill_null(pc.equal(table[name], value), False).to_numpy()
        rows = np.flatnonzero(meets)
        frequencies.update(_counts(reasons.take(pa.array(rows))))
        order = seeded_order(ids_as_numbers(table["id"]), seed)
        groups = np.full(len(table), "", object) if asked else np.asarray(reasons, dtype=object)
        for name in sorted(set(groups[rows])):
            here = rows[groups[rows] == name]
            _keep_best(best.setdefault(name, []), here, order[here], path, group, at_most)
    for name, value in asked.items():
        _refuse_unknown(run, name, value, values[name])
    if not best:
        together = " and ".join(f"{name} {value!r}" for name, value in asked.items())
        raise FromScratchError(f"{run}: no document has {together} at once", "ask for less at a time")
    names = sorted(best, key=lambda name: (-frequencies[name], name))
    places = [place for name in names for _, place in sorted(best[name], reverse=True)]
    return [_shown(row) for row in read_rows(places, (*SHOWN, *LINKS, "text"))]


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in pc.value_counts(values).to_pylist() if each["values"]}


def _keep_best(
    best: Best, rows: NDArray[np.int64], order: NDArray[np.uint64], path: Path, group: int, at_most: int
) -> None:
    """Put those rows into the heap that are among the smallest seen so far."""
    for at in np.argsort(order, kind="stable")[:at_most]:
        heapq.heappush(best, (-int(order[at]), Place(path, group, int(rows[at]))))
    while len(best) > at_most:
        heapq.heappop(best)


def _refuse_unknown(run: Path, name: str, value: str, known: Counter[str]) -> None:
    if value not in known:
        listed = ", ".join(f"{each} {number:,}" for each, number in known.most_common())
        near = did_you_mean(value, list(known)) if known else ""
        suggestion = f"{near} " if near.startswith("did") else ""
        raise FromScratchError(f"{run}: no document has the {name} {value!r}", f"{suggestion}there are: {listed}")


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "text": beginning(row["text"], TEXT_CHARACTERS)}
