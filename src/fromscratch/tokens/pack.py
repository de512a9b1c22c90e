"""Packing: the kept documents of a corpus as token shards by group, a group being ``language/domain``."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import write_json
from fromscratch.core.progress import progress
from fromscratch.core.workplace import Workplace
from fromscratch.corpus.documents import read_documents
from fromscratch.tokenizer.load import Tokenizer, load_tokenizer
from fromscratch.tokenizer.special import END_OF_TEXT
from fromscratch.tokens.settings import TokensSettings
from fromscratch.tokens.shards import INDEX, describe_shard, token_type, write_shard

__all__ = ["pack_tokens"]

CHUNK_BYTES = 250_000  # of text to one call of the encoder: about a tenth of a second


@dataclass(frozen=True)
class _Plan:
    """Which shard each kept document goes to, as an index into ``shards`` [documents], and what a shard will hold."""

    shards: list[tuple[str, str, str]]  # group, split, file name
    shard_of: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]


@dataclass
class _OpenShard:
    documents: list[npt.NDArray[Any]] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


Chunk = tuple[list[int], list[str], list[int], list[str]]
"""Some documents: the shard, id, UTF-8 bytes and text of each."""


def pack_tokens(
    draft: Draft, inputs: Mapping[str, Artifact], workplace: Workplace, *, tokens: TokensSettings
) -> Mapping[str, Any]:
    """The stage: writes the shards of each group and split, and ``index.json``.

    Each document is its tokens and the end of text, in the order of the corpus. What a shard holds follows from the
    documents' bytes alone, so a resumed run knows what is done without encoding it. Raises FromScratchError when there
    is no train document.
    """
    begun = time.monotonic()
    corpus = inputs["corpus"].path
    tokenizer = load_tokenizer(inputs["tokenizer"].path)
    dtype = token_type(tokenizer.vocabulary)
    plan = _plan_shards(corpus, tokens.shard_bytes)
    finished = np.array([(draft.folder / name).exists() for _, _, name in plan.shards])
    _encode_shards(draft.folder, corpus, tokenizer, plan, finished, workplace.machine.worker_count)

    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for group, split, name in plan.shards:
        empty = {each: {"shards": [], "tokens": 0, "documents": 0, "bytes": 0} for each in ("train", "heldout")}
        entry = groups.setdefault(group, empty)[split]
        shard = describe_shard(draft.folder, name, dtype)
        entry["shards"].append({key: value for key, value in shard.items() if key != "bytes"})
        for key in ("tokens", "documents", "bytes"):
            entry[key] += shard[key]
    index = {"vocabulary": tokenizer.vocabulary, "end_of_document": END_OF_TEXT, "groups": groups}
    write_json(draft.folder / INDEX, index)
    trained, held_out = (sum(entry[split]["tokens"] for entry in groups.values()) for split in ("train", "heldout"))
    return {
        "train_tokens": trained,
        "heldout_tokens": held_out,
        "encoded_bytes": int(plan.bytes[~finished].sum()),
        "seconds": round(time.monotonic() - begun, 1),
        "summary": f"{trained:,} tokens to train on, {held_out:,} held out, {len(groups)} groups",
    }


def _plan_shards(corpus: Path, shard_bytes: int) -> _Plan:
    tables = list(read_documents(corpus, ["split", "language", "domain", "bytes"]))
    if not any(pc.any(pc.equal(table["split"], "train")).as_py() for table in tables):
        raise FromScratchError(f"{corpus}: no train documents to pack", "look at what the corpus dropped, and why")
    table = pa.concat_tables(tables)
    place = pc.binary_join_element_wise(table["split"], table["language"], table["domain"], "/")
    encoded = place.combine_chunks().dictionary_encode()
    code, size = encoded.indices.to_numpy(), table["bytes"].to_numpy()
    shards: list[tuple[str, str, str]] = []
    shard_of = np.empty(len(size), dtype=np.int64)
    for name, each in sorted((name, each) for each, name in enumerate(encoded.dictionary.to_pylist())):
        split, _, group = name.partition("/")
        rows = np.flatnonzero(code == each)
        bytes_before = np.cumsum(size[rows]) - size[rows]
        numbers, number_of_row = np.unique(bytes_before // shard_bytes, return_inverse=True)
        shard_of[rows] = len(shards) + number_of_row
        file_stem = f"{split}/{group.replace('/', '--')}"
        shards += [(group, split, f"{file_stem}-{number:05}.tokens") for number in range(len(numbers))]
    documents = np.bincount(shard_of, minlength=len(shards))
    bytes_ = np.bincount(shard_of, weights=size, minlength=len(shards)).astype(np.int64)
    return _Plan(shards, shard_of, documents, bytes_)


def _encode_shards(
    folder: Path, corpus: Path, tokenizer: Tokenizer, plan: _Plan, finished: npt.NDArray[np.bool_], workers: int
) -> None:
    """Encode the documents of the shards that are not finished; write each shard when its last document is there."""
    for split in ("train", "heldout"):
        (folder / split).mkdir(exist_ok=True)
    dtype = token_type(tokenizer.vocabulary)
    still_open: dict[int, _OpenShard] = {}
    total, done = int(plan.bytes.sum()), int(plan.bytes[finished].sum())
    with progress("tokens", total, done) as advance:
        chunks = _chunks(corpus, plan, finished)
        # One document at a time, because the encoder takes and gives Python lists; it is where the time goes.
        for (shards, ids, bytes_, _), documents in _encoded(chunks, tokenizer, dtype, workers):
            for shard, id_, size, document in zip(shards, ids, bytes_, documents, strict=True):
                here = still_open.setdefault(shard, _OpenShard())
                here.documents.append(document)
                here.bytes.append(size)
                here.ids.append(id_)
                if len(here.ids) == plan.documents[shard]:
                    write_shard(folder / plan.shards[shard][2], here.documents, here.bytes, here.ids)
                    del still_open[shard]
            advance(sum(bytes_))
    assert not still_open, "the corpus gave fewer documents than it was planned for"


def _encoded(
    chunks: Iterator[Chunk], tokenizer: Tokenizer, dtype: np.dtype[Any], workers: int
) -> Iterator[tuple[Chunk, list[npt.NDArray[Any]]]]:
    """Each chunk with the ids of its documents, in order. Threads serve, since the encoder lets go of the lock."""

    def encode(chunk: Chunk) -> list[npt.NDArray[Any]]:
        return [np.array([*ids, END_OF_TEXT], dtype=dtype) for ids in tokenizer.encode_batch(chunk[3])]

    ahead: deque[tuple[Chunk, Future[list[npt.NDArray[Any]]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for chunk in chunks:
            ahead.append((chunk, pool.submit(encode, chunk)))
            if len(ahead) > 2 * workers:  # so that the texts in memory stay few
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()


def _chunks(corpus: Path, plan: _Plan, finished: npt.NDArray[np.bool_]) -> Iterator[Chunk]:
    read = 0
    for table in read_documents(corpus, ["id", "bytes", "text"]):
        shards = plan.shard_of[read : read + table.num_rows]
        read += table.num_rows
        wanted = ~finished[shards]
        table, shards = table.filter(pa.array(wanted)), shards[wanted]
        number = np.cumsum(table["bytes"].to_numpy()) // CHUNK_BYTES
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), table.num_rows]
        for first, past in pairwise(edges):
            if past > first:
                ids, bytes_, texts = (table[name][first:past].to_pylist() for name in ("id", "bytes", "text"))
                yield shards[first:past].tolist(), ids, bytes_, texts
