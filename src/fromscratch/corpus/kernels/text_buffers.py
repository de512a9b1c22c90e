"""The bytes and offsets of an Arrow string column, without a copy: what the kernels read."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["text_buffers", "whole"]


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array: without the copy that `combine_chunks` makes even of a single chunk."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def text_buffers(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 data and offsets int64[texts + 1] of a column without nulls; text i is data[offsets[i]:offsets[i + 1]]."""
    assert texts.type == pa.large_string() and not texts.null_count, f"{texts.type} with {texts.null_count} nulls"
    _, offsets, data = texts.buffers()
    if not len(texts) or offsets is None:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), bounds
