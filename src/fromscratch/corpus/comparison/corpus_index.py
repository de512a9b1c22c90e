"""What a corpus remembers of its documents on disk, so that others are compared with them without reading them all."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fromscratch.core.artifact import Artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, write_json
from fromscratch.corpus.comparison.against import earlier_corpus
from fromscratch.corpus.comparison.duplicates import MINHASH_SEED
from fromscratch.corpus.comparison.settings import DuplicateSettings, ParagraphSettings
from fromscratch.corpus.comparison.sorted_runs import SortedRuns

__all__ = ["BOILERPLATE", "KEPT", "NEAR", "RECORD", "CorpusIndex", "finish_index", "group_begins", "open_earlier"]

KEPT, NEAR, BOILERPLATE = 0, 1, 2  # what became of a document
RECORD = np.dtype(
    [
        ("id", "<u8"),  # its 16 hex digits
        ("digest", "<u8"),  # the second half; the first is the key by which the document is found
        ("partner", "<u8"),  # id of the document that it repeats, or its own
        ("similarity", "<f4"),  # with the partner
        ("containment", "<f4"),
        ("file", "<u4"),  # number of the file that holds it
        ("row", "<u4"),  # there
        ("state", "<u4"),
        ("was_cut", "<u4"),  # 1 if it lost paragraphs
    ]
)
RECORDS = "records"  # the file of them, by number of document
INDEX = "index"  # the folder of a finished corpus
CONTENT = "index.json"

Numbers = NDArray[np.uint64]


def group_begins(file: pq.ParquetFile) -> NDArray[np.int64]:
    """Where the rows of each row group begin, and where the last ends."""
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return np.cumsum([0, *rows])


class CorpusIndex:
    """The distinct documents of one corpus, numbered in its order.

    ``digests`` leads from content to numbers, ``bands`` from band keys to numbers of kept documents, ``paragraphs``
    from hashes to counts of documents, which add up. ``path_of`` names the file of documents with a number;
    ``cut_texts`` gives, for a row group of it, the texts that were kept otherwise than they stand there, and null for
    all others.
    """

    def __init__(
        self,
        folder: Path,
        documents: int,
        runs: Mapping[str, Sequence[str]],
        path_of: Callable[[int], Path],
        cut_texts: Callable[[int, int], pa.LargeStringArray] | None = None,
    ) -> None:
        self.folder, self.documents = folder, documents
        self.digests = SortedRuns(folder, "digests", runs.get("digests", ()))
        self.bands = SortedRuns(folder, "bands", runs.get("bands", ()))
        self.paragraphs = SortedRuns(folder, "paragraphs", runs.get("paragraphs", ()))
        self._open = lru_cache(maxsize=16)(lambda file: pq.ParquetFile(path_of(file)))
        self._cut_texts = cut_texts

    @property
    def runs(self) -> dict[str, list[str]]:
        """What is to be committed, beside the number of documents."""
        return {each.kind: each.names for each in (self.digests, self.bands, self.paragraphs)}

    def remove_other_runs(self) -> None:
        """Once `runs` are committed: remove the files that they do not name."""
        for each in (self.digests, self.bands, self.paragraphs):
            each.remove_others()

    def records(self, numbers: Numbers) -> NDArray[np.void]:
        """The records of documents, as `RECORD`."""
        if not len(numbers):
            return np.zeros(0, RECORD)
        return np.array(np.memmap(self.folder / RECORDS, RECORD, "r")[numbers])

    def append(self, records: NDArray[np.void]) -> None:
        """Add documents; what a killed process left behind the last one is overwritten."""
        path = self.folder / RECORDS
        path.touch()
        with path.open("r+b") as file:
            file.truncate(self.documents * RECORD.itemsize)
            file.seek(0, os.SEEK_END)
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.documents += len(records)

    def find_bands(self, keys: Numbers) -> tuple[NDArray[np.int64], Numbers]:
        """The kept documents that have any of the keys: the place of the key, and the document's number."""
        return self.bands.find(keys)

    def read_texts(self, numbers: Numbers) -> Iterator[pa.LargeStringArray]:
        """The texts of documents as they were kept, a row group at a time; ``numbers`` ascend."""
        records = self.records(numbers)
        for file in np.unique(records["file"]).tolist():
            here = records[records["file"] == file]
            opened = self._open(file)
            groups = np.searchsorted(begins := group_begins(opened), here["row"], side="right") - 1
            for group in np.unique(groups).tolist():
                rows = here[groups == group]
                texts = opened.read_row_group(group, columns=["text"])["text"].combine_chunks()
                if self._cut_texts is not None and rows["was_cut"].any():
                    texts = pc.coalesce(self._cut_texts(file, group), texts)
                yield texts.take(pa.array(rows["row"] - begins[group]))


def open_earlier(
    against: Sequence[str], paragraphs: ParagraphSettings, duplicates: DuplicateSettings
) -> list[CorpusIndex]:
    """The indexes of earlier corpora, in the order given.

    Raises FromScratchError for one that is missing, without an index, or whose keys mean something else.
    """
    return [_open(earlier_corpus(folder), _meaning(paragraphs, duplicates)) for folder in against]


def finish_index(
    index: CorpusIndex, corpus_folder: Path, paragraphs: ParagraphSettings, duplicates: DuplicateSettings
) -> None:
    """Write an index, each of its parts as one run, where `open_earlier` finds it."""
    folder = corpus_folder / INDEX
    folder.mkdir(exist_ok=True)
    runs = {}
    for each in (index.digests, index.bands, index.paragraphs):
        runs[each.kind] = [each.compact(folder / f"{each.kind}-0-0")]
    with atomic_write(folder / RECORDS) as temporary:
        shutil.copyfile(index.folder / RECORDS, temporary) if index.documents else temporary.touch()
    content = {"documents": index.documents, "runs": runs, "meaning": _meaning(paragraphs, duplicates)}
    write_json(folder / CONTENT, content)


def _meaning(paragraphs: ParagraphSettings, duplicates: DuplicateSettings) -> dict[str, Any]:
    """What keys and counts depend on; equal ones can be compared."""
    return {
        "minhash_seed": MINHASH_SEED,
        **{f"duplicates.{name}": getattr(duplicates, name) for name in ("shingle_units", "bands", "rows")},
        **{f"paragraphs.{name}": getattr(paragraphs, name) for name in ("least_bytes", "most_documents")},
    }


def _open(corpus: Artifact, meaning: dict[str, Any]) -> CorpusIndex:
    path = corpus.file(f"{INDEX}/{CONTENT}")
    if not path.exists():
        raise FromScratchError(
            f"`corpus.against`: the corpus at {corpus.path} has no index", "make it again, with --redo"
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    for name, value in meaning.items():
        if content["meaning"].get(name) != value:
            raise FromScratchError(
                f"`corpus.{name}` = {value}, but it was {content['meaning'].get(name)} for {corpus.path}",
                "corpora are compared when both were made with the same: set it back, or make the earlier one again",
            )
    documents = corpus.file("documents")
    return CorpusIndex(
        path.parent, content["documents"], content["runs"], lambda file: documents / f"{file:05d}.parquet"
    )
