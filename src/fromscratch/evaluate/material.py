"""What is scored, held-out documents, and what the baselines learn from: the pairs of tokens that were trained on."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromscratch.tokens.batches import BatchPlan, RunPlan, trained_batches
from fromscratch.tokens.heldout import heldout_documents
from fromscratch.tokens.shards import group_entry, open_tokens, read_index

__all__ = ["Document", "drawn_documents", "group_pairs", "trained_pairs"]

Document = tuple[NDArray[np.integer[Any]], int]
"""Its tokens, the last one end_of_document, and the UTF-8 bytes of its text."""

Pairs = Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]]


def drawn_documents(tokens_folder: Path, group: str, tokens_at_most: int | None, seed: int) -> list[Document]:
    """Held-out documents of a group until they hold ``tokens_at_most`` tokens; the last one may go beyond.

    They are drawn in the order of a hash of the seed and their id, so that one more document in the corpus changes
    at most one in the draw, and no source comes first.
    """
    drawn: list[Document] = []
    tokens = 0
    for document, size_bytes, _ in sorted(
        heldout_documents(tokens_folder, group), key=lambda each: hashlib.sha256(f"{seed}\0{each[2]}".encode()).digest()
    ):
        if tokens_at_most is not None and tokens >= tokens_at_most:
            break
        drawn.append((document, size_bytes))
        tokens += len(document)
    return drawn


def trained_pairs(plan: BatchPlan | RunPlan, steps: int, advance: Callable[[], None] = lambda: None) -> Pairs:
    """The very (input, target) tokens of the batches 0 to ``steps``, as the loss saw them."""
    for batch in trained_batches(plan, steps):
        yield batch[:, :-1], batch[:, 1:]
        advance()


def group_pairs(tokens_folder: Path, group: str) -> Pairs:
    """Every pair of neighbours in all training shards of one group; a shard begins after an end of document."""
    index = read_index(tokens_folder)
    end = np.array([index["end_of_document"]])
    for shard in group_entry(tokens_folder, index, group, "train")["shards"]:
        tokens = open_tokens(tokens_folder, index, shard)
        yield end, tokens[:1]
        yield tokens[:-1], tokens[1:]
