"""Bounded samples of example texts, which the learned filters are trained on and measured with."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from fromscratch.core.errors import FromScratchError
from fromscratch.corpus.filters.filter import ReadExamples

__all__ = ["sample_pieces"]

PIECE = re.compile(r"\S.{0,1999}(?<=\S)(?=\s|$)|\S.{0,1999}", re.DOTALL)  # ends at white space where there is any
LEAST_PIECES = 20  # so that there are two of each of the ten parts
LEAST_DOCUMENTS = 50


def sample_pieces(
    read: ReadExamples, names: Sequence[str], megabytes: float, setting: str
) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
    """Pieces of up to 2,000 characters, together at most ``megabytes`` (10^6 bytes), and in which of ten parts each is.

    All examples are read; where they are more, those pieces stay whose hashes end in enough zeros. That is half of
    what is allowed at least, spread evenly, and always the same. A part has whole documents, if there are enough.
    Raises FromScratchError, which names the setting, where there is too little to learn from.
    """
    kept: list[tuple[int, int, str]] = []
    size = zeros = documents = 0
    for name in names:
        for _, text in read(name):
            # A loop over documents, as what they are read by yields them one by one.
            for piece in PIECE.findall(text):
                encoded = piece.encode()
                key = xxhash.xxh3_64_intdigest(encoded)
                if not key & ((1 << zeros) - 1):
                    kept.append((key, documents, piece))
                    size += len(encoded)
            documents += 1
            while size > megabytes * 1e6:
                zeros += 1
                kept = [each for each in kept if not each[0] & ((1 << zeros) - 1)]
                size = sum(len(piece.encode()) for _, _, piece in kept)
    if len(kept) < LEAST_PIECES:
        raise FromScratchError(
            f"`{setting}`: {', '.join(names)} give {len(kept)} pieces of text, too few to learn from",
            f"at least {LEAST_PIECES} are needed, of up to 2,000 characters each",
        )
    numbers = np.array([document for _, document, _ in kept])
    if documents < LEAST_DOCUMENTS:
        numbers = np.arange(len(kept))
    return pa.array([piece for _, _, piece in kept], pa.large_string()), numbers % 10
