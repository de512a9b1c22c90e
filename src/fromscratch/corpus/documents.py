"""The finished corpus as a reader sees it: the columns of a document, and an iterator over them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.cascade import filter_columns
from fromscratch.corpus.kernels.metrics import METRIC_NAMES

__all__ = ["DOCUMENTS", "FEW_VALUES", "read_documents"]

DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string()),  # the first 16 hex digits of SHA-256 over source, url and raw content
        pa.field("source", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("url", pa.string()),
        pa.field("title", pa.string()),
        pa.field("license", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("raw_bytes", pa.int64()),  # as read
        pa.field("bytes", pa.int64()),  # UTF-8 length of the text
        # "language" ("en", "zh", "code", another ISO 639 code, "und" or null) and what else the filters say:
        *(pa.field(name, pa.type_for_alias(kind)) for name, kind in filter_columns().items()),
        *(pa.field(name, pa.float32()) for name in METRIC_NAMES),
        pa.field("keep", pa.bool_()),
        pa.field("step", pa.string()),  # that dropped it, of cascade.STEPS; null when kept
        pa.field("reason", pa.string()),  # why it did; null when kept
        pa.field("evidence", pa.string()),  # what was measured or found, in words; null when kept
        pa.field("duplicate_of", pa.string()),  # the id of the kept document that this one repeats
        pa.field("similarity", pa.float32()),  # exact Jaccard similarity of the two, 1 for exact duplicates
        pa.field("containment", pa.float32()),  # share of this one's shingles that the other has as well
        pa.field("split", pa.string()),  # "train" or "heldout"; null when dropped
    ]
)
FEW_VALUES = ["source", "domain", "language", "license", "step", "reason", "split"]  # the columns worth a dictionary


def read_documents(
    corpus_folder: Path,
    columns: Sequence[str],
    split: Literal["train", "heldout"] | None = None,
    keep_only: bool = True,
) -> Iterator[pa.Table]:
    """Tables of the asked columns, a row group each, in the order of the corpus; tables of no rows are left out.

    ``split`` takes one of the two splits; ``keep_only=False`` yields what was dropped as well. Raises
    FromScratchError for a folder that holds no documents and for a file that cannot be read.
    """
    files = sorted((corpus_folder / "documents").glob("*.parquet"))
    if not files:
        raise FromScratchError(
            f"{corpus_folder / 'documents'}: no documents", "make the corpus first, with `fromscratch corpus RECIPE`"
        )
    needed = list(dict.fromkeys([*columns, "keep", "split"]))
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=needed)
                    if split is not None:
                        table = table.filter(pc.equal(table["split"], split))
                    elif keep_only:
                        table = table.filter(table["keep"])
                    if table.num_rows:
                        yield table.select(list(columns))
        except (pa.ArrowInvalid, OSError) as error:
            raise FromScratchError(
                f"{path}: cannot be read ({str(error).splitlines()[0]})",
                "remove the corpus folder and run the same command again",
            ) from None
