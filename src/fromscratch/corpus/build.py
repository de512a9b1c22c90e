"""The corpus stage: shards by many workers, one pass that compares, then documents by many workers again."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.files import digest_value, remove_tree, write_json
from fromscratch.core.progress import progress
from fromscratch.core.workplace import Machine, Workplace
from fromscratch.corpus.comparison.corpus_index import CorpusIndex, finish_index, open_earlier
from fromscratch.corpus.comparison.decide import block_groups, compare_shards, verdict_path
from fromscratch.corpus.comparison.settings import HeldoutSettings
from fromscratch.corpus.comparison.split import HeldoutChoice
from fromscratch.corpus.comparison.write import WriteJob, read_counts, write_documents
from fromscratch.corpus.engine.run import run_tasks
from fromscratch.corpus.examples import example_reader
from fromscratch.corpus.filters.filter import ReadExamples
from fromscratch.corpus.funnel import Counts, add_counts, funnel_of, refuse_empty_corpus
from fromscratch.corpus.readers.plan import ReadTask, plan_reads
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.shard import UNREADABLE, ShardJob, compile_jobs, compile_kernels, write_shard
from fromscratch.corpus.sources import Package

__all__ = ["build_corpus"]

HELDOUT = "heldout.json"


def build_corpus(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    packages: Mapping[str, Package],
    corpus: CorpusSettings,
) -> Mapping[str, Any]:
    """Write documents/*.parquet, funnel.json and index/, which later corpora are compared with; return counts, seconds.

    What an earlier attempt left complete is kept: shards, compared blocks, files of documents. The files depend on the
    settings and the input alone.
    Raises FromScratchError for missing or damaged input, a worker that died, and when nothing is left.
    """
    begun = time.monotonic()
    tasks = plan_reads(packages, corpus.sources, inputs["fetch"].path if "fetch" in inputs else None)
    funnel_path = draft.folder / "funnel.json"
    seconds: dict[str, float] = {}
    if not funnel_path.exists():  # which is written last; after it only what led to it is removed
        earlier = open_earlier(corpus.against, corpus.paragraphs, corpus.duplicates)  # refuses before there is work
        read = example_reader(packages, corpus, inputs["fetch"].path if "fetch" in inputs else None)
        _prepare_filters(draft.folder / "models", corpus, read)
        shards = _write_shards(draft.folder / "shards", tasks, corpus, workplace.machine)
        sharded = time.monotonic()
        comparison = draft.folder / "comparison"
        kept = _compare(comparison, shards, corpus, earlier)
        _choose_heldout(comparison / HELDOUT, shards, comparison, corpus.heldout)
        counts = _write_documents(draft.folder / "documents", shards, comparison, workplace.machine)
        funnel = funnel_of(counts, [each for shard in shards for each in _unreadable_of(shard)])
        refuse_empty_corpus(funnel)
        finish_index(kept, draft.folder, corpus.paragraphs, corpus.duplicates)
        write_json(funnel_path, funnel)
        seconds = {"shards": round(sharded - begun, 1), "comparison": round(time.monotonic() - sharded, 1)}
    for name in ("shards", "comparison"):
        remove_tree(draft.folder / name)
    return {**_facts(json.loads(funnel_path.read_text(encoding="utf-8"))), "seconds": seconds}


def _facts(funnel: Mapping[str, Any]) -> dict[str, Any]:
    read, last, unreadable = funnel["steps"][0]["entered"], funnel["steps"][-1], funnel["unreadable"]
    kept = last["kept"]
    remark = ""
    if unreadable:
        remark = f"; unreadable: {unreadable[0]['place']} ({unreadable[0]['why']})"
        remark += f" and {len(unreadable) - 1:,} more, listed in funnel.json" if len(unreadable) > 1 else ""
    return {
        "summary": f"{kept['documents']:,} of {read['documents']:,} documents kept, "
        f"{kept['bytes'] / 1e6:,.1f} of {read['bytes'] / 1e6:,.1f} MB" + remark,
        "read": read,
        "kept": kept,
        "kept_by_language": last["kept_by_language"],
        "unreadable": len(unreadable),
    }


def _prepare_filters(folder: Path, corpus: CorpusSettings, read: ReadExamples) -> None:
    folder.mkdir(exist_ok=True)
    corpus.refusals.prepare(folder, read)
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
    if machine.engine == "embedded" and min(machine.worker_count, len(missing)) > 1:
        # By as many workers, for it takes a minute of one core where nothing is cached yet.
        with closing(run_tasks(compile_kernels, compile_jobs(corpus, folder.with_name("models")), machine)) as compiled:
            for _ in compiled:
                pass
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


def _compare(
    folder: Path, shards: Sequence[Path], corpus: CorpusSettings, earlier: Sequence[CorpusIndex]
) -> CorpusIndex:
    rows = sum(pq.read_metadata(shard).num_rows for shard in shards)
    with progress("comparison", total=rows) as advance:
        return compare_shards(folder, shards, corpus.paragraphs, corpus.duplicates, earlier, advance)


def _choose_heldout(path: Path, shards: Sequence[Path], comparison: Path, settings: HeldoutSettings) -> None:
    """Write the ids that are held out."""
    choice = HeldoutChoice(settings)
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            for groups in block_groups(file.metadata):
                kept = pq.read_table(verdict_path(comparison, shard, groups), columns=["step"])["step"].is_null()
                rows = file.read_row_groups(groups, columns=["id", "language", "domain"]).filter(kept)
                ids, languages, domains = (np.asarray(each, dtype=object) for each in rows.columns)
                choice.add(ids, languages + "/" + domains)
    write_json(path, choice.chosen())


def _write_documents(folder: Path, shards: Sequence[Path], comparison: Path, machine: Machine) -> Counts:
    """A file of documents for each shard; what all of them add to the funnel."""
    counts_folder = comparison / "counts"
    for each in (folder, counts_folder):
        each.mkdir(exist_ok=True)
    jobs = [
        WriteJob(shard, comparison, comparison / HELDOUT, folder / f"{n:05d}.parquet", counts_folder / f"{n:05d}.json")
        for n, shard in enumerate(shards)
    ]
    missing = [job for job in jobs if not job.path.exists()]
    with (
        progress("documents", total=len(jobs), done=len(jobs) - len(missing)) as advance,
        closing(run_tasks(write_documents, missing, machine)) as done,
    ):
        for _ in done:
            advance()
    counts: Counts = Counter()
    for job in jobs:
        add_counts(counts, read_counts(job.counts))
    return counts
