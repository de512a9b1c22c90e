"""The corpus stage: shards by a pool of processes, then what needs all documents at once: duplicates and the split."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.files import atomic_write, digest_value, remove_tree, write_json
from fromscratch.core.progress import progress
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus.documents import DOCUMENTS
from fromscratch.corpus.duplicates import find_exact_duplicates, find_near_duplicates
from fromscratch.corpus.engine import run_tasks
from fromscratch.corpus.examples import example_reader
from fromscratch.corpus.filters.filter import ReadExamples
from fromscratch.corpus.funnel import count_funnel, refuse_empty_corpus
from fromscratch.corpus.readers.plan import ReadTask, plan_reads
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.shard import UNREADABLE, ShardJob, compile_kernels, nulls, write_shard
from fromscratch.corpus.sources import Package
from fromscratch.corpus.split import choose_heldout

__all__ = ["build_corpus"]

FILE_BYTES = 64_000_000  # of text, from which on the next row group goes to a new file
JUDGED = (
    "id",
    "source",
    "domain",
    "language",
    "license",
    "raw_bytes",
    "bytes",
    "step",
    "evidence",
    "reason",
    "digest",
    "band_keys",
)
FEW_VALUES = ["source", "domain", "language", "license", "reason", "split"]  # the columns worth a dictionary


def build_corpus(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    packages: Mapping[str, Package],
    corpus: CorpusSettings,
) -> Mapping[str, Any]:
    """Write documents/*.parquet and funnel.json; return counts and seconds.

    Shards that an earlier attempt left complete are kept. The files depend on the settings and the input alone.
    Raises FromScratchError for missing or damaged input, a worker that died, and when nothing is left.
    """
    begun = time.monotonic()
    tasks = plan_reads(packages, corpus.sources, inputs["fetch"].path if "fetch" in inputs else None)
    funnel_path = draft.folder / "funnel.json"
    seconds: dict[str, float] = {}
    if not funnel_path.exists():  # which is written last; after it only the shards are removed
        read = example_reader(packages, corpus, inputs["fetch"].path if "fetch" in inputs else None)
        _prepare_filters(draft.folder / "models", corpus, read)
        shards = _write_shards(draft.folder / "shards", tasks, corpus, workplace.machine)
        sharded = time.monotonic()
        documents = _decide(shards, corpus)
        funnel = count_funnel(documents, [each for shard in shards for each in _unreadable_of(shard)])
        refuse_empty_corpus(funnel)
        _write_documents(draft.folder / "documents", _decided_tables(shards, documents))
        write_json(funnel_path, funnel)
        seconds = {"shards": round(sharded - begun, 1), "comparison": round(time.monotonic() - sharded, 1)}
    remove_tree(draft.folder / "shards")
    return {**_facts(json.loads(funnel_path.read_text(encoding="utf-8"))), "seconds": seconds}


def _facts(funnel: Mapping[str, Any]) -> dict[str, Any]:
    read, last, unreadable = funnel["steps"][0]["entered"], funnel["steps"][-1], len(funnel["unreadable"])
    kept = last["kept"]
    return {
        "summary": f"{kept['documents']:,} of {read['documents']:,} documents kept, "
        f"{kept['bytes'] / 1e6:,.1f} of {read['bytes'] / 1e6:,.1f} MB"
        + (f"; {unreadable:,} places unreadable, listed in funnel.json" if unreadable else ""),
        "read": read,
        "kept": kept,
        "kept_by_language": last["kept_by_language"],
        "unreadable": unreadable,
    }


def _prepare_filters(folder: Path, corpus: CorpusSettings, read: ReadExamples) -> None:
    folder.mkdir(exist_ok=True)
    for _, each in corpus.filters.present():
        each.prepare(folder, read)


def _write_shards(folder: Path, tasks: Sequence[ReadTask], corpus: CorpusSettings, machine: Machine) -> list[Path]:
    """One Parquet file for each task, in the order of tasks."""
    folder.mkdir(exist_ok=True)
    jobs = [
        ShardJob(task, folder / f"{number:05d}-{_name(task)}.parquet", corpus, folder.with_name("models"))
        for number, task in enumerate(tasks)
    ]
    missing = sorted((job for job in jobs if not job.path.exists()), key=lambda job: -job.task.bytes)
    if min(machine.worker_count, len(missing)) > 1:
        compile_kernels(corpus)
    all_bytes, missing_bytes = (sum(job.task.bytes for job in some) for some in (jobs, missing))
    with (
        progress("corpus", total=all_bytes, done=all_bytes - missing_bytes) as advance,
        closing(run_tasks(write_shard, missing, machine)) as done,
    ):
        for task in done:
            advance(task.bytes, note=task.source)
    return [job.path for job in jobs]


def _name(task: ReadTask) -> str:
    """Tells the tasks apart, so that a shard left by an earlier attempt is taken for this very task alone."""
    return digest_value([task.source, task.prefix, task.members, task.bytes])[:8]


def _unreadable_of(shard: Path) -> list[Mapping[str, str]]:
    found: list[Mapping[str, str]] = json.loads(pq.read_metadata(shard).metadata[UNREADABLE])
    return found


def _decide(shards: Sequence[Path], corpus: CorpusSettings) -> pa.Table:
    """All documents with JUDGED columns, step and reason now final, and duplicate_of, similarity and split."""
    documents = pa.concat_tables(pq.read_table(shard, columns=list(JUDGED)) for shard in shards).combine_chunks()
    ids, languages, domains, step, reason = (
        np.asarray(documents[name], dtype=object).copy() for name in ("id", "language", "domain", "step", "reason")
    )
    duplicate_of = np.full(len(ids), None, dtype=object)
    similarity = np.full(len(ids), np.nan, np.float32)

    def drop(places: NDArray[np.int64], partners: NDArray[np.int64], similarities: Any, kind: str) -> None:
        repeated = partners >= 0
        here, kept = places[repeated], places[partners[repeated]]
        step[here], reason[here] = f"{kind} duplicates", f"{kind}_duplicate"
        duplicate_of[here], similarity[here] = ids[kept], similarities[repeated]

    left = np.flatnonzero(nulls(step))
    exact = find_exact_duplicates(_matrix(documents["digest"])[left])
    drop(left, exact, np.ones(len(left)), "exact")

    left = left[exact < 0]
    near, similarities = find_near_duplicates(
        _matrix(documents["band_keys"])[left], lambda places: _texts(shards, left[places]), corpus.duplicates
    )
    drop(left, near, similarities, "near")

    left = left[near < 0]
    split = np.full(len(ids), None, dtype=object)
    groups = languages[left] + "/" + domains[left]
    split[left] = np.where(choose_heldout(ids[left], groups, corpus.heldout), "heldout", "train")
    decided = {
        "step": pa.array(step, pa.string()),
        "keep": pa.array(~nulls(split)),
        "reason": pa.array(reason, pa.string()),
        "duplicate_of": pa.array(duplicate_of, pa.string()),
        "similarity": pa.array(similarity, pa.float32(), from_pandas=True),  # NaN becomes null
        "split": pa.array(split, pa.string()),
    }
    unchanged = [name for name in documents.column_names if name not in {*decided, "digest", "band_keys"}]
    return pa.table({**{name: documents[name] for name in unchanged}, **decided})


def _matrix(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A column of lists of one length as [documents, length]."""
    values: NDArray[np.uint64] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, column.type.list_size)


def _texts(shards: Sequence[Path], places: NDArray[np.int64]) -> pa.LargeStringArray:
    """The texts of the documents at these places, ascending and counted over all shards."""
    found, first = [pa.chunked_array([], pa.large_string())], 0
    for file, group in _row_groups(shards):
        rows = file.metadata.row_group(group).num_rows
        here = places[np.searchsorted(places, first) : np.searchsorted(places, first + rows)] - first
        if len(here):
            found.append(file.read_row_group(group, columns=["text"])["text"].take(pa.array(here)))
        first += rows
    return pa.chunked_array([chunk for column in found for chunk in column.chunks], pa.large_string()).combine_chunks()


def _row_groups(shards: Sequence[Path]) -> Iterator[tuple[pq.ParquetFile, int]]:
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                yield file, group


def _decided_tables(shards: Sequence[Path], decided: pa.Table) -> Iterator[pa.Table]:
    """The documents with all columns, a row group of the shards at a time."""
    read = [name for name in DOCUMENTS.names if name not in decided.column_names]
    first = 0
    for file, group in _row_groups(shards):
        rows = file.read_row_group(group, columns=read)
        here = decided.slice(first, len(rows))
        columns = {name: (here if name in here.column_names else rows)[name] for name in DOCUMENTS.names}
        yield pa.table(columns, schema=DOCUMENTS)
        first += len(rows)


def _write_documents(folder: Path, tables: Iterator[pa.Table]) -> None:
    """A row group for each table, in files that are cut by the size of the text."""
    folder.mkdir(exist_ok=True)
    for number, first in enumerate(tables):
        with (
            atomic_write(folder / f"{number:05d}.parquet") as temporary,
            pq.ParquetWriter(temporary, DOCUMENTS, compression="zstd", use_dictionary=FEW_VALUES) as writer,
        ):
            table, written = first, 0
            while table is not None:
                writer.write_table(table)
                written += pc.sum(table["bytes"]).as_py()
                table = next(tables, None) if written < FILE_BYTES else None
