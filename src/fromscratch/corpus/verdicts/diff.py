"""Two corpora of the same pages: which settings differ, and which documents they judge differently."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fromscratch.core.artifact import Artifact, differences
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

__all__ = ["diff"]

OTHER_TEXT = "kept, other text"
TEXT_CHARACTERS = 240
UNDETERMINED = "und"

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Verdicts:
    """The verdict on each document of a corpus, by ascending id: some 40 bytes for each."""

    ids: NDArray[np.uint64]
    bytes: NDArray[np.int64]
    verdicts: NDArray[np.int32]
    """Number of the reason, or of `KEPT`, in ``names``."""
    languages: NDArray[np.int32]
    places: NDArray[np.int64]
    """[documents, 3]: number of the file, row group, row."""
    names: list[str]
    language_names: list[str]
    files: list[Path]

    def at(self, row: int) -> Place:
        file, group, number = self.places[row].tolist()
        return Place(self.files[file], group, number)


def diff(run_a: Path, run_b: Path, *, examples: int = 3, seed: int = 0) -> dict[str, Any]:
    """What run B does otherwise than run A: settings, and the documents that changed sides or reasons.

    ``changes`` are groups of documents with the same verdict in A (`from`) and in B (`to`), each a reason or `kept`,
    the largest first, with some of them drawn by the seed; ``only_a`` and ``only_b`` are what the other has not read.
    Bytes are those of the text in A, or in B where it is only there. Raises FromScratchError where a run has no
    finished corpus.
    """
    corpora = finished_corpus(run_a), finished_corpus(run_b)
    names: list[str] = []
    language_names: list[str] = []
    a, b = (_verdicts(corpus, names, language_names) for corpus in corpora)
    _, in_a, in_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
    pairs = np.stack([a.verdicts[in_a], b.verdicts[in_b]], 1)
    changed = pairs[:, 0] != pairs[:, 1]
    texts_differ = ~changed & (pairs[:, 0] == _number(names, KEPT)) & (a.bytes[in_a] != b.bytes[in_b])
    found = []
    for before, after in np.unique(pairs[changed], axis=0).tolist():
        here = np.flatnonzero((pairs == (before, after)).all(1))
        found.append(_change(names[before], names[after], a, b, in_a[here], in_b[here], examples, seed))
    if texts_differ.any():
        here = np.flatnonzero(texts_differ)
        found.append(_change(KEPT, OTHER_TEXT, a, b, in_a[here], in_b[here], examples, seed))
    found.sort(key=lambda each: (-each["documents"], each["from"], each["to"]))
    return {
        "runs": [str(run_a), str(run_b)],
        "settings": differences(corpora[0].origin, corpora[1].origin),
        "kept": [_sizes(each, np.flatnonzero(each.verdicts == _number(names, KEPT))) for each in (a, b)],
        "same": int(len(in_a) - changed.sum() - texts_differ.sum()),
        "sums": _sums(found),
        "changes": found,
        "only_a": _only(a, b, examples, seed),
        "only_b": _only(b, a, examples, seed),
    }


def _verdicts(corpus: Artifact, names: list[str], language_names: list[str]) -> Verdicts:
    """The verdicts of a corpus; new names are added to the two lists, which both corpora share."""
    columns: list[list[NDArray[Any]]] = [[] for _ in range(5)]
    files: list[Path] = []
    for path, group, table in scan(corpus, ("id", "bytes", "reason", "language")):
        files += [path] if path not in files[-1:] else []
        rows = np.arange(len(table))
        places = np.stack([np.full(len(table), len(files) - 1), np.full(len(table), group), rows], 1)
        parts = (
            ids_as_numbers(table["id"]),
            table["bytes"].to_numpy(),
            _numbered(pc.fill_null(table["reason"], KEPT), names),
            _numbered(pc.fill_null(table["language"], UNDETERMINED), language_names),
            places,
        )
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    ids, bytes_, verdicts, languages, places = (np.concatenate(column) for column in columns)
    ids, order = np.unique(ids, return_index=True)  # a page that was read twice counts once
    return Verdicts(ids, bytes_[order], verdicts[order], languages[order], places[order], names, language_names, files)


def _numbered(values: pa.ChunkedArray, names: list[str]) -> NDArray[np.int32]:
    """Each value as its number among ``names``, to which new ones are added."""
    encoded = values.combine_chunks().dictionary_encode()
    numbers = np.array([_number(names, each) for each in encoded.dictionary.to_pylist()], np.int32)
    found: NDArray[np.int32] = numbers[encoded.indices.to_numpy()]
    return found


def _number(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def _change(
    before: str, after: str, a: Verdicts, b: Verdicts, in_a: Rows, in_b: Rows, examples: int, seed: int
) -> dict[str, Any]:
    drawn = np.argsort(seeded_order(a.ids[in_a], seed))[:examples]
    found = ("evidence", "duplicate_of", "similarity")
    earlier = read_rows([a.at(row) for row in in_a[drawn]], ("id", "title", "url", "language", *found))
    later = read_rows([b.at(row) for row in in_b[drawn]], ("text", *found))
    return {
        "from": before,
        "to": after,
        **_sizes(a, in_a),
        "by_language": _by_language(b, in_b, a.bytes[in_a]),
        "examples": [
            {
                **{name: old[name] for name in ("id", "title", "url", "language")},
                "evidence": [_evidence(old, before), _evidence(new, after)],
                "text": beginning(new["text"], TEXT_CHARACTERS),
            }
            for old, new in zip(earlier, later, strict=True)
        ],
    }


def _evidence(row: Mapping[str, Any], verdict: str) -> str:
    if row["duplicate_of"] is not None:
        return f"repeats {row['duplicate_of']}, similarity {row['similarity'] or 0:.3f}"
    return row["evidence"] or verdict


def _only(these: Verdicts, others: Verdicts, examples: int, seed: int) -> dict[str, Any]:
    """What the other corpus has not read."""
    rows = np.flatnonzero(~np.isin(these.ids, others.ids, assume_unique=True))
    drawn = rows[np.argsort(seeded_order(these.ids[rows], seed))[:examples]]
    found = read_rows([these.at(row) for row in drawn], ("id", "title", "url", "language", "reason", "text"))
    kept = rows[these.verdicts[rows] == _number(these.names, KEPT)]
    return {
        **_sizes(these, rows),
        "kept": _sizes(these, kept),
        "by_language": _by_language(these, rows, these.bytes[rows]),
        "examples": [{**row, "text": beginning(row["text"], TEXT_CHARACTERS)} for row in found],
    }


def _sizes(these: Verdicts, rows: Rows) -> dict[str, int]:
    return {"documents": len(rows), "bytes": int(these.bytes[rows].sum())}


def _by_language(these: Verdicts, rows: Rows, sizes: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    languages = these.languages[rows]
    return {
        these.language_names[language]: {
            "documents": int((languages == language).sum()),
            "bytes": int(sizes[languages == language].sum()),
        }
        for language in sorted(set(languages.tolist()), key=these.language_names.__getitem__)
    }


def _sums(changes: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Documents and bytes by the way that they changed."""
    sums = {name: {"documents": 0, "bytes": 0} for name in ("dropped now", "kept now", "other reason", "other text")}
    for name, each in _named(changes):
        for unit in sums[name]:
            sums[name][unit] += each[unit]
    return sums


def _named(changes: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in changes:
        before, after = each["from"], each["to"]
        if after == OTHER_TEXT:
            yield "other text", each
        elif KEPT in (before, after):
            yield ("dropped now" if before == KEPT else "kept now"), each
        else:
            yield "other reason", each
