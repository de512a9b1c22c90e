"""The held-out documents of a group: whole for evaluation, and as windows for a look at a model that trains."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fromscratch.tokens.keys import key_of
from fromscratch.tokens.permutation import permute
from fromscratch.tokens.shards import group_entry, open_tokens, read_index
from fromscratch.tokens.stream import open_stream

__all__ = ["heldout_documents", "heldout_windows"]


def heldout_documents(tokens_folder: Path, group: str) -> Iterator[tuple[npt.NDArray[Any], int, str]]:
    """Of each held-out document of ``group`` ("en/books"): its ids [tokens] with the end of document, the UTF-8 bytes
    of its text, and its id. In the order of the corpus. Raises FromScratchError for a group that is not there.
    """
    index = read_index(tokens_folder)
    for shard in group_entry(tokens_folder, index, group, "heldout")["shards"]:
        path = tokens_folder / shard["file"]
        tokens = open_tokens(tokens_folder, index, shard)
        bounds = np.fromfile(path.with_suffix(".bounds"), dtype="<u8").astype(np.int64)
        bytes_ = np.fromfile(path.with_suffix(".bytes"), dtype="<u4")
        ids = path.with_suffix(".ids").read_text(encoding="utf-8").splitlines()
        for document, (first, past) in enumerate(pairwise(bounds)):
            yield tokens[first:past], int(bytes_[document]), ids[document]


def heldout_windows(tokens_folder: Path, sequence_tokens: int, tokens_at_most: int) -> dict[str, npt.NDArray[np.int64]]:
    """Of each group that holds documents out some windows of them [N, sequence_tokens + 1], always the same ones.

    They stand at places that a key of the group picks, and predict at most ``tokens_at_most`` tokens, but one window at
    least. Where all that is held out is shorter than a window, -1 fills it up.
    """
    index = read_index(tokens_folder)
    found = {}
    for group in sorted(index["groups"]):
        stream = open_stream(tokens_folder, index, group, "heldout")
        if stream.starts[-1] < 2:
            continue
        windows = (stream.starts[-1] - 1) // sequence_tokens
        number = max(1, min(windows, tokens_at_most // sequence_tokens))
        key = np.full(number, key_of("held-out windows", group), dtype=np.uint64)
        size = np.full(number, max(1, windows))
        found[group] = np.full((number, sequence_tokens + 1), -1)
        for row, place in zip(found[group], permute(np.arange(number), size, key).tolist(), strict=True):
            stream.read(place * sequence_tokens, row[: stream.starts[-1]])
    return found
