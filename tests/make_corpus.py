"""Small corpus artifacts for the tests of whatever reads a corpus."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fromscratch.core.artifact import Artifact, Origin, begin_artifact
from fromscratch.core.files import write_json
from fromscratch.corpus.documents import DOCUMENTS
from fromscratch.corpus.kernels.metrics import METRIC_NAMES


def make_corpus(folder: Path, rows: Sequence[Mapping[str, Any]], row_group_documents: int = 64) -> Artifact:
    """A finished corpus at ``folder`` with a document per row; only ``text`` is needed, the rest has defaults."""
    draft = begin_artifact(folder, Origin("corpus", {"rows": len(rows)}, {}))
    (draft.folder / "documents").mkdir()
    table = pa.Table.from_pylist([_complete(number, row) for number, row in enumerate(rows)], schema=DOCUMENTS)
    pq.write_table(
        table, draft.folder / "documents" / "00000.parquet", compression="zstd", row_group_size=row_group_documents
    )
    write_json(draft.folder / "funnel.json", _funnel(table))
    return draft.finish()


def _complete(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    text = row["text"]
    bytes_ = len(text.encode())
    keep = row.get("reason") is None
    return {
        **dict.fromkeys(METRIC_NAMES, 0.0),
        "id": hashlib.sha256(f"{number}\0{text}".encode()).hexdigest()[:16],
        "source": "made",
        "domain": "technical",
        "language": "en",
        "url": f"made.txt#{number}",
        "title": None,
        "license": "CC0-1.0",
        "raw_bytes": bytes_,
        "bytes": bytes_,
        "language_score": 1.0,
        "keep": keep,
        "reason": None,
        "duplicate_of": None,
        "similarity": None,
        "split": "train" if keep else None,
        **row,
    }


def _funnel(table: pa.Table) -> dict[str, Any]:
    rows = table.select(["source", "license", "language", "bytes", "raw_bytes", "keep"]).to_pylist()
    everything = {"documents": len(rows), "bytes": sum(row["bytes"] for row in rows)}
    kept = {"documents": 0, "bytes": 0}
    languages: dict[str, dict[str, int]] = {}
    sources: dict[str, dict[str, Any]] = {}
    for row in rows:
        empty = {"documents": 0, "bytes": 0, "kept_documents": 0, "kept_bytes": 0, "license": row["license"]}
        source = sources.setdefault(row["source"], empty)
        source["documents"] += 1
        source["bytes"] += row["raw_bytes"]
        if row["keep"]:
            source["kept_documents"] += 1
            source["kept_bytes"] += row["bytes"]
            for tally in (kept, languages.setdefault(row["language"], {"documents": 0, "bytes": 0})):
                tally["documents"] += 1
                tally["bytes"] += row["bytes"]
    lost = {key: everything[key] - kept[key] for key in everything}
    return {
        "steps": [
            {
                "step": "quality",
                "entered": everything,
                "kept": kept,
                "dropped": {"too_short": lost} if lost["documents"] else {},
                "kept_by_language": languages,
            }
        ],
        "sources": sources,
        "unreadable": [],
    }
