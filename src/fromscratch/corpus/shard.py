"""One reading task to one shard: pages are read, extracted, measured, and judged one by one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fromscratch.core.files import atomic_write, canonical_json
from fromscratch.corpus.cascade import SHARD_STEPS
from fromscratch.corpus.comparison.duplicates import content_digests, minhash_keys
from fromscratch.corpus.comparison.paragraphs import paragraph_hashes
from fromscratch.corpus.comparison.settings import DuplicateSettings
from fromscratch.corpus.documents import DOCUMENTS, FEW_VALUES
from fromscratch.corpus.extraction.extract import compile_extraction, extract_text
from fromscratch.corpus.filters.filter import Batch
from fromscratch.corpus.kernels.characters import character_tables
from fromscratch.corpus.kernels.measure import measure
from fromscratch.corpus.kernels.metrics import METRIC_NAMES
from fromscratch.corpus.kernels.refuse import read_scripts
from fromscratch.corpus.kernels.text_buffers import text_buffers, whole
from fromscratch.corpus.language import CODE
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import ReadTask
from fromscratch.corpus.refuse import refuse_pages
from fromscratch.corpus.settings import CorpusSettings
from fromscratch.corpus.sieve import sieve

__all__ = [
    "UNREADABLE",
    "CompileJob",
    "ShardJob",
    "compile_jobs",
    "compile_kernels",
    "measure_texts",
    "nulls",
    "shard_schema",
    "write_shard",
]

UNREADABLE = b"unreadable"  # key of the Parquet file's metadata: a JSON list of {"place", "why"}
NO_TEXT = pa.scalar("", pa.large_string())
DECIDED_LATER = ("keep", "duplicate_of", "similarity", "containment", "split")  # once all shards are there


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs to write one shard."""

    task: ReadTask
    path: Path
    settings: CorpusSettings
    models: Path
    """The folder of what the filters' `prepare` has made."""

    def __str__(self) -> str:
        return str(self.task)


def shard_schema(duplicates: DuplicateSettings) -> pa.Schema:
    """The columns of a document that are known before it is compared with others, and what the comparison needs."""
    known = [field for field in DOCUMENTS if field.name not in DECIDED_LATER]
    return pa.schema(
        [
            *known,
            pa.field("step_bytes", pa.list_(pa.int64(), len(SHARD_STEPS))),  # of the document after each step
            pa.field("digest", pa.list_(pa.uint64(), 2)),
            pa.field("band_keys", pa.list_(pa.uint64(), duplicates.bands)),
            pa.field("paragraphs", pa.list_(pa.uint64())),  # their hashes
        ]
    )


def write_shard(job: ShardJob) -> ReadTask:
    """Write the documents of the task at the job's path, all or none, and return the task.

    A row group is what the reader gave at a time, so memory is bounded by that. Raises FromScratchError for damaged
    input.
    """
    schema = shard_schema(job.settings.duplicates)
    pages = read_pages(job.task)
    # The codec is the quick one and statistics are left out, because shards live until the corpus is complete.
    style: dict[str, Any] = {"compression": "lz4", "use_dictionary": FEW_VALUES, "write_statistics": False}
    seen: dict[bytes, str] = {}
    with atomic_write(job.path) as temporary, pq.ParquetWriter(temporary, schema, **style) as writer:
        for table in pages:
            writer.write_table(_judged(table, job, schema, seen))
        writer.add_key_value_metadata({UNREADABLE: canonical_json(pages.unreadable)})
    return job.task


@dataclass(frozen=True)
class CompileJob:
    """What a worker needs to compile some of the kernels of `write_shard`: those of a filter, or of all else."""

    part: str
    settings: CorpusSettings
    models: Path

    def __str__(self) -> str:
        return f"compiling {self.part}"


def compile_jobs(settings: CorpusSettings, models: Path) -> list[CompileJob]:
    """The kernels in parts that take a while each, the longest first."""
    parts = ["extraction", "privacy", "measuring", *(name for name, _ in settings.filters.present())]
    return [CompileJob(part, settings, models) for part in dict.fromkeys(parts)]


def compile_kernels(job: CompileJob) -> str:
    """Run kernels once, so that worker processes find the machine code on disk; return the part."""
    settings = job.settings
    texts = pa.array(["a text", ""], pa.large_string())
    if job.part == "extraction":
        compile_extraction()
    elif job.part == "measuring":
        measure_texts(texts)
        minhash_keys(texts, settings.duplicates)
        content_digests(texts)
        paragraph_hashes(texts, settings.paragraphs)
        read_scripts(*text_buffers(texts))
    else:
        ids, english, absent = (np.array([each, each], object) for each in ("0", "en", None))
        batch = Batch(ids, ids, ids, ids, ids, absent, english, texts, job.models, measure_texts)
        for name, each in settings.filters.present():
            if name == job.part:
                each.judge(batch)
    return job.part


def measure_texts(texts: pa.LargeStringArray) -> NDArray[np.float32]:
    """Metrics float32[documents, metrics] of texts."""
    tables = character_tables()
    return measure(*text_buffers(texts), tables.classes, tables.lower)


def nulls(values: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Where an array of objects holds None."""
    found: NDArray[np.bool_] = values == None  # noqa: E711 (element by element)
    return found


def _judged(pages: pa.Table, job: ShardJob, schema: pa.Schema, seen: dict[bytes, str]) -> pa.Table:
    """One row for each page: its text as the cascade leaves it, verdict, scores, and what the comparison needs.

    ``seen`` has the digests of the shard's pages so far.
    """
    settings = job.settings
    ids = np.array(_ids(pages), dtype=object)
    refused = refuse_pages(pages, ids, settings.refusals, settings.filters.language, job.models, seen)
    pages = extract_text(pages.append_column("error", pa.array(refused.reasons, pa.string())), settings.extraction)
    texts = whole(pages["text"])
    names = ("source", "domain", "url", "kind", "language_hint")
    sources, domains, urls, kinds, hints = (np.asarray(pages[name], dtype=object) for name in names)
    unknown = np.full(len(texts), None, dtype=object)
    batch = Batch(ids, sources, domains, urls, kinds, hints, unknown, texts, job.models, measure_texts)
    raw_bytes = pc.cast(pc.binary_length(pages["content"]), pa.int64()).to_numpy()
    sieved = sieve(batch, np.asarray(pages["error"], dtype=object), raw_bytes, settings.filters)
    early = ~nulls(refused.reasons)
    sieved.step[early], sieved.evidence[early] = "refuse", refused.evidence[early]
    left = pa.array(np.flatnonzero(nulls(sieved.step)))
    left_texts = sieved.batch.texts.take(left)
    digests = _spread(content_digests(left_texts), left, len(texts))
    band_keys = _spread(minhash_keys(left_texts, settings.duplicates), left, len(texts))
    prose = pa.array(nulls(sieved.step) & (sieved.columns["language"] != CODE))
    columns: dict[str, Any] = {
        **{name: pages[name].combine_chunks() for name in ("source", "domain", "url", "title", "license")},
        **dict(zip(METRIC_NAMES, sieved.batch.metrics.T, strict=True)),
        **sieved.columns,
        "id": batch.ids,
        "text": sieved.batch.texts,
        "raw_bytes": raw_bytes,
        "bytes": pc.binary_length(sieved.batch.texts),
        "step": sieved.step,
        "reason": sieved.reason,
        "evidence": sieved.evidence,
        "step_bytes": _lists(sieved.step_bytes),
        "digest": _lists(digests),
        "band_keys": _lists(band_keys),
        "paragraphs": paragraph_hashes(pc.if_else(prose, sieved.batch.texts, NO_TEXT), settings.paragraphs),
    }
    # None and NaN, where a filter has not looked, become nulls.
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in schema]
    return pa.table(arrays, schema=schema)


def _spread(values: NDArray[np.uint64], places: pa.Array, count: int) -> NDArray[np.uint64]:
    """The rows of ``values`` at these places of ``count``; zeros elsewhere."""
    spread = np.zeros((count, values.shape[1]), np.uint64)
    spread[places.to_numpy()] = values
    return spread


def _lists(values: NDArray[Any]) -> pa.FixedSizeListArray:
    """A matrix as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _ids(pages: pa.Table) -> list[str]:
    # A loop over documents: Arrow has no digests, and a content-addressed id must be one.
    data, offsets = text_buffers(whole(pages["content"]).view(pa.large_string()))
    view, bounds = data.data, offsets.tolist()
    ids = []
    for source, url, start, end in zip(
        pages["source"].to_pylist(), pages["url"].to_pylist(), bounds[:-1], bounds[1:], strict=True
    ):
        digest = hashlib.sha256(f"{source}\0{url}\0".encode())
        digest.update(view[start:end])
        ids.append(digest.hexdigest()[:16])
    return ids
