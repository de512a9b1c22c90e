"""The comparison: one pass over the shards in order, block by block, each against all that was kept before it.

A document's verdict depends on earlier documents alone. So the blocks do not show in the result, and a corpus that
is compared with earlier ones ends with the verdicts of a run over all of them together.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fromscratch.core.files import atomic_write, write_json
from fromscratch.corpus.comparison.corpus_index import BOILERPLATE, KEPT, NEAR, RECORD, CorpusIndex, group_begins
from fromscratch.corpus.comparison.duplicates import Compared, find_exact_duplicates, find_near_duplicates, minhash_keys
from fromscratch.corpus.comparison.paragraphs import cut_paragraphs, repeated_paragraphs
from fromscratch.corpus.comparison.settings import DuplicateSettings, ParagraphSettings

__all__ = ["VERDICTS", "block_groups", "compare_shards", "verdict_path"]

BLOCK_BYTES = 16_000_000  # of text, compared at a time
STATE = "state.json"
READ = ["id", "step", "reason", "evidence", "digest", "band_keys", "paragraphs"]
VERDICT_FIELDS = ("partner", "similarity", "containment", "state")  # of a record, that a copy has as well
VERDICTS = pa.schema(
    [
        pa.field("step", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("similarity", pa.float32()),
        pa.field("containment", pa.float32()),
        pa.field("text", pa.large_string()),  # that is left after a cut, null without one
    ]
)
"""What the comparison adds to the rows of a shard."""


@dataclass(frozen=True)
class _Block:
    """Some row groups of a shard, and what the comparison finds of their documents."""

    shard: int
    file: pq.ParquetFile
    groups: range

    @cached_property
    def rows(self) -> pa.Table:
        return self.file.read_row_groups(self.groups, READ).combine_chunks()

    @cached_property
    def first_row(self) -> int:
        return int(group_begins(self.file)[self.groups.start])

    def texts(self, places: NDArray[np.int64]) -> pa.LargeStringArray:
        """The texts of some documents, whose places ascend; of the rest only a row group at a time is in memory."""
        begins = group_begins(self.file) - self.first_row
        parts = [pa.array([], pa.large_string())]
        for group in self.groups:
            here = places[np.searchsorted(places, begins[group]) : np.searchsorted(places, begins[group + 1])]
            if len(here):
                texts = self.file.read_row_group(group, columns=["text"])["text"].combine_chunks()
                parts.append(texts.take(pa.array(here - begins[group])))
        return pa.concat_arrays(parts)


def compare_shards(
    folder: Path,
    shards: Sequence[Path],
    paragraphs: ParagraphSettings,
    duplicates: DuplicateSettings,
    earlier: Sequence[CorpusIndex] = (),
    advance: Callable[[int], None] = lambda _documents: None,
) -> CorpusIndex:
    """Write the verdicts on all documents below ``folder``, and return the index of those that are kept.

    Goes on after the last block that an earlier attempt has finished. Memory is bounded by a block and a row group,
    however many documents there are.
    """
    (folder / "verdicts").mkdir(parents=True, exist_ok=True)
    path = folder / STATE
    done: dict[str, Any] = {"blocks": 0, "documents": 0, "runs": {}}
    if path.exists():
        done = json.loads(path.read_text(encoding="utf-8"))
    own = CorpusIndex(folder, done["documents"], done["runs"], *_kept_texts(folder, shards))
    for number, block in enumerate(_blocks(shards)):
        if number >= done["blocks"]:
            verdicts = _compare(block, own, earlier, paragraphs, duplicates)
            with (
                atomic_write(verdict_path(folder, shards[block.shard], block.groups)) as temporary,
                pq.ParquetWriter(temporary, VERDICTS, compression="lz4") as writer,
            ):
                for start, end in pairwise(group_begins(block.file)[block.groups.start : block.groups.stop + 1]):
                    writer.write_table(verdicts.slice(start - block.first_row, end - start))
            write_json(path, {"blocks": number + 1, "documents": own.documents, "runs": own.runs})
            own.remove_other_runs()
        advance(len(block.rows))
    return own


def block_groups(metadata: pq.FileMetaData) -> list[range]:
    """The row groups of each block of a shard: successive ones of `BLOCK_BYTES` of text, or a single one."""
    text = metadata.schema.names.index("text")
    blocks: list[range] = []
    size = BLOCK_BYTES
    for number in range(metadata.num_row_groups):
        more = metadata.row_group(number).column(text).total_uncompressed_size
        if size + more > BLOCK_BYTES:
            blocks.append(range(number, number))
            size = 0
        blocks[-1] = range(blocks[-1].start, number + 1)
        size += more
    return blocks


def verdict_path(folder: Path, shard: Path, groups: range) -> Path:
    """Where the verdicts on a block of a shard are; they have its row groups."""
    return folder / "verdicts" / f"{shard.stem}-{groups.start:05d}.parquet"


def _kept_texts(
    folder: Path, shards: Sequence[Path]
) -> tuple[Callable[[int], Path], Callable[[int, int], pa.LargeStringArray]]:
    """Where the index finds the texts that are kept: in the shards, and in the verdicts those that were cut."""
    groups_of = lru_cache(maxsize=16)(lambda shard: block_groups(pq.read_metadata(shards[shard])))

    def cut_texts(shard: int, group: int) -> pa.LargeStringArray:
        groups = next(each for each in groups_of(shard) if group in each)
        with pq.ParquetFile(verdict_path(folder, shards[shard], groups)) as file:
            return file.read_row_group(group - groups.start, columns=["text"])["text"].combine_chunks()

    return shards.__getitem__, cut_texts


def _blocks(shards: Sequence[Path]) -> Iterator[_Block]:
    for number, shard in enumerate(shards):
        with pq.ParquetFile(shard) as file:
            for groups in block_groups(file.metadata):
                yield _Block(number, file, groups)


def _compare(
    block: _Block,
    own: CorpusIndex,
    earlier: Sequence[CorpusIndex],
    paragraphs: ParagraphSettings,
    duplicates: DuplicateSettings,
) -> pa.Table:
    """The verdicts on a block. What is new in it is added to the own index."""
    before = (*earlier, own)
    left = np.flatnonzero(block.rows["step"].is_null())
    digests = _matrix(block.rows["digest"])[left]
    records = _new_records(block, left, digests)
    repeats = find_exact_duplicates(digests)
    is_copy = (repeats >= 0) | _copy_known(records, digests, before)
    new = np.flatnonzero(~is_copy)
    cut = _cut(block, left[new], before, paragraphs)
    keys = _matrix(block.rows["band_keys"])[left[new]]
    keys[cut.places] = minhash_keys(cut.texts, duplicates)

    def read_texts(places: NDArray[np.int64]) -> pa.LargeStringArray:
        return cut.apply(places, block.texts(left[new][places]))

    near = find_near_duplicates(keys, read_texts, duplicates, ~cut.too_much, before)
    _note_near(records, new, near, before, cut)
    own.paragraphs.add(*cut.counts)
    own.digests.add(digests[new, 0], numbers := (own.documents + np.arange(len(new))).astype(np.uint64))
    own.bands.add(keys[near.taken], numbers[np.nonzero(near.taken)[0]])
    own.append(records[new])
    copies = np.flatnonzero(repeats >= 0)
    for name in VERDICT_FIELDS:
        records[name][copies] = records[name][repeats[copies]]
    return _verdicts(block, left, records, is_copy, duplicates.threshold, new[cut.places], cut.texts)


def _new_records(block: _Block, left: NDArray[np.int64], digests: NDArray[np.uint64]) -> NDArray[np.void]:
    """Records of documents that, as far as is known, are kept."""
    records = np.zeros(len(left), RECORD)
    ids = "".join(block.rows["id"].take(pa.array(left)).to_pylist())
    records["id"] = records["partner"] = np.frombuffer(bytes.fromhex(ids), ">u8")
    records["digest"] = digests[:, 1]
    records["similarity"] = records["containment"] = 1
    records["file"], records["row"], records["state"] = block.shard, block.first_row + left, KEPT
    return records


def _copy_known(
    records: NDArray[np.void], digests: NDArray[np.uint64], before: Sequence[CorpusIndex]
) -> NDArray[np.bool_]:
    """Which documents equal an earlier one; what became of that one is copied into their records."""
    known = np.zeros(len(records), bool)
    for each in before:
        places, numbers = each.digests.find(digests[:, 0])
        theirs = each.records(numbers)
        same = (theirs["digest"] == digests[places, 1]) & ~known[places]
        places, firsts = np.unique(places[same], return_index=True)
        for name in VERDICT_FIELDS:
            records[name][places] = theirs[name][same][firsts]
        known[places] = True
    return known


@dataclass(frozen=True)
class _Cut:
    """Documents that lose paragraphs and stay: their places, and what is left of them; and those that lose too much."""

    places: NDArray[np.int64]
    texts: pa.LargeStringArray
    lost: NDArray[np.float64]
    """Of every document the share of its bytes that stands in earlier ones."""
    too_much: NDArray[np.bool_]
    """Of every document whether it loses so much that it cannot stay. It is then compared as it was."""
    counts: tuple[NDArray[np.uint64], NDArray[np.uint64]]
    """Hashes of paragraphs, and in how many more documents each was seen."""

    def apply(self, places: NDArray[np.int64], texts: pa.LargeStringArray) -> pa.LargeStringArray:
        """The texts of the documents at these places, given as they were."""
        is_cut = np.isin(places, self.places)
        chosen = self.texts.take(pa.array(np.searchsorted(self.places, places[is_cut])))
        return pc.replace_with_mask(texts, pa.array(is_cut), chosen)


def _cut(block: _Block, places: NDArray[np.int64], before: Sequence[CorpusIndex], settings: ParagraphSettings) -> _Cut:
    lists = block.rows["paragraphs"].combine_chunks().take(pa.array(places))
    begins, hashes = lists.offsets.to_numpy(), lists.flatten().to_numpy()
    distinct, numbers = np.unique(hashes, return_inverse=True)
    seen = np.zeros(len(distinct), np.int64)
    for each in before:
        at, counted = each.paragraphs.find(distinct)
        np.add.at(seen, at, counted.astype(np.int64))
    more = -seen
    most = np.iinfo(np.int64).max if settings.most_documents is None else settings.most_documents
    repeated = repeated_paragraphs(numbers, begins, seen, most) & (hashes != 0)
    more += seen
    holders = np.repeat(np.arange(len(places)), np.diff(begins))
    cut = np.unique(holders[repeated])
    texts = block.texts(places[cut])
    rest = cut_paragraphs(texts, repeated[np.isin(holders, cut)], settings)
    whole_bytes, rest_bytes = (pc.binary_length(each).to_numpy() for each in (texts, rest))
    lost, too_much = np.zeros(len(places)), np.zeros(len(places), bool)
    lost[cut] = 1 - rest_bytes / whole_bytes
    too_much[cut] = (lost[cut] > settings.most_cut_share) | (rest_bytes < settings.least_left_bytes)
    counts = (distinct[more > 0], more[more > 0].astype(np.uint64))
    return _Cut(cut[~too_much[cut]], rest.filter(pa.array(~too_much[cut])), lost, too_much, counts)


def _note_near(
    records: NDArray[np.void],
    new: NDArray[np.int64],
    near: Compared,
    before: Sequence[CorpusIndex],
    cut: _Cut,
) -> None:
    """Enter into the records of new documents what the comparison found."""
    found = records[new]
    found["was_cut"][cut.places] = 1
    boilerplate = cut.too_much & (near.similarities == 0)
    found["state"][boilerplate], found["similarity"][boilerplate] = BOILERPLATE, cut.lost[boilerplate]
    similar = near.similarities > 0
    found["state"][similar] = NEAR
    found["similarity"][similar], found["containment"][similar] = near.similarities[similar], near.contained[similar]
    inside = near.partners >= 0
    found["partner"][inside] = found["id"][near.partners[inside]]
    for corpus, each in enumerate(before):
        here = near.corpora == corpus
        found["partner"][here] = each.records(near.numbers[here])["id"]
    records[new] = found


def _verdicts(
    block: _Block,
    left: NDArray[np.int64],
    records: NDArray[np.void],
    is_copy: NDArray[np.bool_],
    threshold: float,
    cut: NDArray[np.int64],
    texts: pa.LargeStringArray,
) -> pa.Table:
    """`VERDICTS` on all rows of a block; those that were dropped before keep theirs."""
    step, reason, evidence = (np.asarray(block.rows[name], dtype=object).copy() for name in VERDICTS.names[:3])
    partners = np.full(len(step), None, dtype=object)
    scores = np.full((2, len(step)), np.nan, np.float32)
    repeats = is_copy | (records["state"] == NEAR)
    boilerplate = records["state"] == BOILERPLATE
    unlike = records["similarity"] < np.float32(threshold)
    for chosen, name, why in (
        (is_copy, "exact duplicates", "exact_duplicate"),
        (~is_copy & repeats & ~unlike, "near duplicates", "near_duplicate"),
        (~is_copy & repeats & unlike, "near duplicates", "contained"),
        (boilerplate, "paragraphs", "boilerplate"),
    ):
        step[left[chosen]], reason[left[chosen]] = name, why
    repeats &= ~boilerplate
    # Loops over dropped documents: numbers become words.
    evidence[left[boilerplate]] = [
        f"{lost:.0%} of it stands in earlier documents" for lost in records["similarity"][boilerplate]
    ]
    partners[left[repeats]] = [f"{partner:016x}" for partner in records["partner"][repeats].tolist()]
    scores[:, left[repeats]] = records["similarity"][repeats], records["containment"][repeats]
    at = np.full(len(step), -1)
    at[left[cut]] = np.arange(len(cut))
    columns = (step, reason, evidence, partners, *scores, texts.take(pa.array(at, mask=at < 0)))
    return pa.table(
        [pa.array(each, field.type, from_pandas=True) for each, field in zip(columns, VERDICTS, strict=True)],
        schema=VERDICTS,
    )


def _matrix(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A column of lists of one length as [documents, length]."""
    values: NDArray[np.uint64] = column.combine_chunks().flatten().to_numpy()
    return values.reshape(-1, column.type.list_size)
