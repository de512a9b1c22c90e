"""A shard and the verdicts on it to finished documents, and what they add to the funnel."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fromscratch.core.files import atomic_write, write_json
from fromscratch.corpus.cascade import SHARD_STEPS, STEPS
from fromscratch.corpus.comparison.decide import block_groups, verdict_path
from fromscratch.corpus.documents import DOCUMENTS, FEW_VALUES
from fromscratch.corpus.funnel import Counts, count_documents

__all__ = ["WriteJob", "read_counts", "write_documents"]

# Numbers take as little space with the quick codec, which is done with a column of few of them in a fifth of the time.
CODECS = {field.name: "zstd" if "string" in str(field.type) else "snappy" for field in DOCUMENTS}
CUT_FROM = STEPS.index("paragraphs") - len(SHARD_STEPS)  # steps of the comparison before texts are cut


@dataclass(frozen=True)
class WriteJob:
    """What a worker needs to write the documents of one shard."""

    shard: Path
    comparison: Path
    """The folder of `compare_shards`."""
    heldout: Path
    """A JSON file of the ids that are held out, by group."""
    path: Path
    counts: Path

    def __str__(self) -> str:
        return self.path.name


def write_documents(job: WriteJob) -> int:
    """Write the documents at the job's path, all or none, after their counts; return how many.

    They have the rows and row groups of the shard; those that were dropped keep their texts.
    """
    heldout = pa.array([each for ids in json.loads(job.heldout.read_text()).values() for each in ids], pa.string())
    counts: Counts = Counter()
    with (
        pq.ParquetFile(job.shard) as shard,
        atomic_write(job.path) as temporary,
        pq.ParquetWriter(temporary, DOCUMENTS, compression=CODECS, use_dictionary=FEW_VALUES) as writer,
    ):
        known = [name for name in shard.schema_arrow.names if name in DOCUMENTS.names]
        for groups in block_groups(shard.metadata):
            with pq.ParquetFile(verdict_path(job.comparison, job.shard, groups)) as verdicts:
                for group in groups:
                    rows = shard.read_row_group(group, columns=[*known, "step_bytes"])
                    documents, step_bytes = _decided(rows, verdicts.read_row_group(group - groups.start), heldout)
                    writer.write_table(documents)
                    counts.update(count_documents(documents, step_bytes))
        write_json(job.counts, [[*key, value] for key, value in sorted(counts.items())])
        return int(shard.metadata.num_rows)


def read_counts(path: Path) -> Counts:
    """What a written shard adds to the funnel."""
    return Counter({tuple(key): value for *key, value in json.loads(path.read_text(encoding="utf-8"))})


def _decided(rows: pa.Table, verdicts: pa.Table, heldout: pa.Array) -> tuple[pa.Table, NDArray[np.int64]]:
    """The documents of a row group, and their bytes [documents, steps] after each step."""
    texts = pc.coalesce(verdicts["text"], rows["text"])
    sizes = pc.cast(pc.binary_length(texts), pa.int64())
    keep = pc.is_null(verdicts["step"])
    split = pc.if_else(pc.is_in(rows["id"], heldout), "heldout", "train")
    columns = {
        **{name: rows[name] for name in rows.column_names},
        **{name: verdicts[name] for name in verdicts.column_names},
        "text": texts,
        "bytes": sizes,
        "keep": keep,
        "split": pc.if_else(keep, split, pa.scalar(None, pa.string())),
    }
    shard_bytes = rows["step_bytes"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    compared = [shard_bytes[:, -1]] * CUT_FROM + [sizes.to_numpy()] * (len(STEPS) - len(SHARD_STEPS) - CUT_FROM)
    arrays = [columns[field.name].cast(field.type) for field in DOCUMENTS]
    return pa.table(arrays, schema=DOCUMENTS), np.column_stack([shard_bytes, *compared])
