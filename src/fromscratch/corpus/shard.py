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
from fromscratch.corpus.characters import character_tables
from fromscratch.corpus.documents import DOCUMENTS
from fromscratch.corpus.duplicates import content_digests, minhash_keys
from fromscratch.corpus.extract import extract_text
from fromscratch.corpus.kernels import measure
from fromscratch.corpus.language import identify_languages
from fromscratch.corpus.metrics import METRIC_NAMES
from fromscratch.corpus.readers.pages import read_pages
from fromscratch.corpus.readers.plan import ReadTask
from fromscratch.corpus.rules import judge_quality
from fromscratch.corpus.settings import CorpusSettings, DuplicateSettings
from fromscratch.corpus.text_buffers import text_buffers

__all__ = ["UNREADABLE", "ShardJob", "compile_kernels", "measure_texts", "nulls", "shard_schema", "write_shard"]

UNREADABLE = b"unreadable"  # key of the Parquet file's metadata: a JSON list of {"place", "why"}
DECIDED_LATER = ("keep", "duplicate_of", "similarity", "split")  # once all shards are there


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs to write one shard."""

    task: ReadTask
    path: Path
    settings: CorpusSettings


def shard_schema(duplicates: DuplicateSettings) -> pa.Schema:
    """The columns of a document that are known before it is compared with others, and what the comparison needs."""
    known = [field for field in DOCUMENTS if field.name not in DECIDED_LATER]
    return pa.schema(
        [
            *known,
            pa.field("step", pa.string()),  # that dropped the document; null when none has so far
            pa.field("digest", pa.list_(pa.uint64(), 2)),
            pa.field("band_keys", pa.list_(pa.uint64(), duplicates.bands)),
        ]
    )


def write_shard(job: ShardJob) -> ReadTask:
    """Write the documents of the task at the job's path, all or none, and return the task.

    A row group is what the reader gave at a time, so memory is bounded by that. Raises FromScratchError for damaged
    input.
    """
    schema = shard_schema(job.settings.duplicates)
    pages = read_pages(job.task)
    # The codec is the quick one, because shards live until the corpus is complete.
    with atomic_write(job.path) as temporary, pq.ParquetWriter(temporary, schema, compression="lz4") as writer:
        for table in pages:
            writer.write_table(_judged(table, job.settings, schema))
        writer.add_key_value_metadata({UNREADABLE: canonical_json(pages.unreadable)})
    return job.task


def compile_kernels(settings: CorpusSettings) -> None:
    """Run the kernels of `write_shard` once, so that worker processes find the machine code on disk."""
    texts = pa.array(["a text", ""], pa.large_string())
    measure_texts(texts)
    minhash_keys(texts, settings.duplicates)


def measure_texts(texts: pa.LargeStringArray) -> NDArray[np.float32]:
    """Metrics float32[documents, metrics] of texts."""
    tables = character_tables()
    return measure(*text_buffers(texts), tables.classes, tables.lower)


def nulls(values: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Where an array of objects holds None."""
    found: NDArray[np.bool_] = values == None  # noqa: E711 (element by element)
    return found


def _judged(pages: pa.Table, settings: CorpusSettings, schema: pa.Schema) -> pa.Table:
    pages = extract_text(pages, settings.extraction_timeout_seconds)
    texts = pages["text"].combine_chunks()
    metrics = measure_texts(texts)
    languages, scores = identify_languages(
        texts, pages["kind"].combine_chunks(), pages["language_hint"].combine_chunks(), metrics, settings.language
    )
    step, reason = _verdicts(pages, languages, metrics, settings)
    left = np.flatnonzero(nulls(step))
    digests = np.zeros((len(texts), 2), np.uint64)
    band_keys = np.zeros((len(texts), settings.duplicates.bands), np.uint64)
    left_texts = texts.take(pa.array(left))
    digests[left] = content_digests(left_texts)
    band_keys[left] = minhash_keys(left_texts, settings.duplicates)
    columns: dict[str, Any] = {
        **{name: pages[name] for name in ("source", "domain", "url", "title", "license")},
        **dict(zip(METRIC_NAMES, metrics.T, strict=True)),
        "id": _ids(pages),
        "language": pa.array(languages, pa.string()),
        "text": texts,
        "raw_bytes": pc.cast(pc.binary_length(pages["content"]), pa.int64()),
        "bytes": pc.binary_length(texts),
        "language_score": scores,
        "reason": pa.array(reason, pa.string()),
        "step": pa.array(step, pa.string()),
        "digest": pa.FixedSizeListArray.from_arrays(digests.ravel(), 2),
        "band_keys": pa.FixedSizeListArray.from_arrays(band_keys.ravel(), settings.duplicates.bands),
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _verdicts(
    pages: pa.Table, languages: NDArray[np.object_], metrics: NDArray[np.float32], settings: CorpusSettings
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The step that drops each document, and its reason; None where it stays."""
    step = np.full(len(languages), None, dtype=object)
    reason = np.asarray(pages["error"], dtype=object).copy()
    step[~nulls(reason)] = "extract"
    foreign = nulls(step) & ~np.isin(languages, settings.language.keep)
    step[foreign], reason[foreign] = "language", "wrong_language"
    left = np.flatnonzero(nulls(step))
    failed = judge_quality(
        languages[left], np.asarray(pages["domain"], dtype=object)[left], metrics[left], settings.quality
    )
    step[left[~nulls(failed)]] = "quality"
    reason[left] = failed
    return step, reason


def _ids(pages: pa.Table) -> list[str]:
    # A loop over documents: Arrow has no digests, and a content-addressed id must be one.
    names = zip(pages["source"].to_pylist(), pages["url"].to_pylist(), pages["content"].to_pylist(), strict=True)
    return [hashlib.sha256(f"{source}\0{url}\0".encode() + content).hexdigest()[:16] for source, url, content in names]
