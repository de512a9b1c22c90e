"""The sample a tokenizer is trained on: which documents, chosen by their ids alone."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fromscratch.core.errors import FromScratchError

__all__ = ["read_split", "sample_documents", "sample_rates", "train_bytes"]


def train_bytes(corpus_folder: Path) -> dict[str, int]:
    """UTF-8 bytes of the train documents of each language."""
    totals: Counter[str] = Counter()
    for table in read_split(corpus_folder, "train", ["language", "bytes"]):
        sums = table.group_by("language").aggregate([("bytes", "sum")])
        totals.update(dict(zip(sums["language"].to_pylist(), sums["bytes_sum"].to_pylist(), strict=True)))
    return dict(sorted(totals.items()))


def sample_rates(available: Mapping[str, int], weights: Mapping[str, float], sample_bytes: int) -> dict[str, float]:
    """The share of each language's bytes to take, so that the sample has about ``sample_bytes`` by the weights.

    ``available`` is bytes by language. A language with less than its part is taken whole, and what it leaves is
    shared among the others by the same weights.
    """
    open_weights = {name: weights.get(name, 1.0) for name in available if available[name] and weights.get(name, 1.0)}
    rates: dict[str, float] = {}
    remaining = float(sample_bytes)
    while open_weights:
        unit = remaining / sum(open_weights.values())
        whole = [name for name, weight in open_weights.items() if available[name] <= unit * weight]
        if not whole:
            return rates | {name: unit * weight / available[name] for name, weight in open_weights.items()}
        for name in whole:
            rates[name] = 1.0
            remaining -= available[name]
            del open_weights[name]
    return rates


def sample_documents(corpus_folder: Path, rates: Mapping[str, float], seed: int) -> Iterator[tuple[str, str]]:
    """Language and text of the sampled train documents, in the order of the corpus.

    A document is in the sample when its id, keyed by the seed, falls below its language's rate: ids are digests,
    hence uniform, so the choice needs no memory and a document's lot does not depend on its neighbours.
    """
    key = np.frombuffer(hashlib.sha256(f"tokenizer sample {seed}".encode()).digest()[:8], dtype=">u8")
    for table in read_split(corpus_folder, "train", ["id", "language", "text"]):
        lots = np.frombuffer(bytes.fromhex("".join(table["id"].to_pylist())), dtype=">u8") ^ key
        rate = np.array([rates.get(language, 0.0) for language in table["language"].to_pylist()])
        chosen = table.filter(pa.array(lots.astype(np.float64) <= rate * 2.0**64))
        yield from zip(chosen["language"].to_pylist(), chosen["text"].to_pylist(), strict=True)


def read_split(corpus_folder: Path, split: str, columns: list[str]) -> Iterator[Any]:
    """Arrow tables of the kept documents of one split, a Parquet row group at a time, in the order of the corpus."""
    for path in sorted((corpus_folder / "documents").glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=[*columns, "split"])
                    table = table.filter(pc.equal(table["split"], split))
                    if table.num_rows:
                        yield table.select(columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise FromScratchError(
                f"{path}: cannot be read ({str(error).splitlines()[0]})",
                "remove the corpus folder and run the same command again",
            ) from None
