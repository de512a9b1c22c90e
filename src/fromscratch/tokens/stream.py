"""The documents of a group end to end, as one stream of tokens across its shards."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fromscratch.tokens.shards import Split, group_entry, open_tokens

__all__ = ["TokenStream", "open_stream"]


@dataclass(frozen=True)
class TokenStream:
    """The shards of a group end to end; ``starts`` are the places of their first tokens, and of the end."""

    shards: tuple[npt.NDArray[Any], ...]
    files: tuple[Path, ...]
    starts: tuple[int, ...]

    def read(self, first: int, out: npt.NDArray[np.int64]) -> None:
        """Fill ``out`` with the tokens from place ``first`` on, across shards where it must."""
        filled = 0
        while filled < len(out):
            number = bisect_right(self.starts, first + filled) - 1
            offset = first + filled - self.starts[number]
            part = self.shards[number][offset : offset + len(out) - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)

    def documents(self, first: int, end: int) -> list[str]:
        """The ids of the documents that the tokens from place ``first`` up to ``end`` are of."""
        ids: list[str] = []
        for file, start in zip(self.files, self.starts, strict=False):  # there is one start more, the end
            bounds = np.fromfile(file.with_suffix(".bounds"), dtype="<u8").astype(np.int64) + start
            if bounds[-1] > first and start < end:
                names = file.with_suffix(".ids").read_text(encoding="utf-8").splitlines()
                begun = max(0, int(np.searchsorted(bounds, first, "right")) - 1)
                ids += names[begun : int(np.searchsorted(bounds, end))]
        return ids


def open_stream(tokens_folder: Path, index: Mapping[str, Any], group: str, split: Split = "train") -> TokenStream:
    """The stream of one split of a group. Raises FromScratchError for a shard that is missing or cut."""
    entries = group_entry(tokens_folder, index, group, split)["shards"]
    shards = tuple(open_tokens(tokens_folder, index, each) for each in entries)
    files = tuple(tokens_folder / each["file"] for each in entries)
    return TokenStream(shards, files, (*accumulate((len(each) for each in shards), initial=0),))
