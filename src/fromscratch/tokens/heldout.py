"""The held-out documents of a group, whole, for evaluation."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fromscratch.tokens.shards import group_entry, open_tokens, read_index

__all__ = ["heldout_documents"]


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
