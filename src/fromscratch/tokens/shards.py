"""The token shards on disk: documents as flat ids beside their bounds, byte counts and names."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, digest_file
from fromscratch.core.settings import did_you_mean

__all__ = ["INDEX", "Split", "describe_shard", "group_entry", "open_tokens", "read_index", "token_type", "write_shard"]

INDEX = "index.json"

Split = Literal["train", "heldout"]
Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


def token_type(vocabulary: int) -> np.dtype[Any]:
    """Little-endian 16 bits where every id fits, else 32."""
    return np.dtype("<u2") if vocabulary <= 2**16 - 1 else np.dtype("<u4")


def write_shard(path: Path, documents: Sequence[npt.NDArray[Any]], bytes_: Sequence[int], ids: Sequence[str]) -> None:
    """Write the four files of a shard: ``path`` (X.tokens), and beside it X.bounds, X.bytes and X.ids.

    ``documents`` are the tokens of each document, of one dtype; ``bytes_`` its UTF-8 bytes, ``ids`` its name. X.tokens
    comes last, so that a shard is finished when it is there.
    """
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in documents])]).astype("<u8")
    contents = {
        ".bounds": bounds.tobytes(),
        ".bytes": np.array(bytes_, dtype="<u4").tobytes(),
        ".ids": "".join(f"{each}\n" for each in ids).encode(),
        ".tokens": np.concatenate(documents).tobytes(),
    }
    for suffix, content in contents.items():
        with atomic_write(path.with_suffix(suffix)) as temporary:
            temporary.write_bytes(content)


def describe_shard(folder: Path, name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The index's line on a finished shard, read from its files; ``bytes`` are those of its documents' texts."""
    path = folder / name
    counts = np.fromfile(path.with_suffix(".bytes"), dtype="<u4")
    return {
        "file": name,
        "tokens": path.stat().st_size // dtype.itemsize,
        "documents": len(counts),
        "bytes": int(counts.sum(dtype=np.int64)),
        "sha256": digest_file(path),
    }


def read_index(tokens_folder: Path) -> Mapping[str, Any]:
    """``index.json``. Raises FromScratchError when it is missing or no index."""
    path = tokens_folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        index["groups"], index["vocabulary"], index["end_of_document"]
    except FileNotFoundError:
        raise FromScratchError(f"{path}: no such file", "pack the corpus with `fromscratch tokenizer RECIPE`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FromScratchError(
            f"{path}: not an index of token shards ({error})", "remove its folder and run the same command again"
        ) from None
    return index


def group_entry(tokens_folder: Path, index: Mapping[str, Any], group: str, split: Split) -> Mapping[str, Any]:
    """What the index says of one split of a group. Raises FromScratchError for a group that is not there."""
    if group not in index["groups"]:
        raise FromScratchError(
            f"{tokens_folder / INDEX}: no group `{group}`", did_you_mean(group, list(index["groups"]))
        )
    entry: Mapping[str, Any] = index["groups"][group][split]
    return entry


def open_tokens(tokens_folder: Path, index: Mapping[str, Any], shard: Mapping[str, Any]) -> Tokens:
    """The ids of a shard, mapped and not read: [tokens], documents one after another.

    Raises FromScratchError when the file is missing or its length is not what the index says.
    """
    path = tokens_folder / shard["file"]
    dtype = token_type(index["vocabulary"])
    size = path.stat().st_size if path.is_file() else 0
    if size != shard["tokens"] * dtype.itemsize:
        raise FromScratchError(
            f"{path}: {size:,} bytes where {shard['tokens'] * dtype.itemsize:,} are meant to be",
            f"remove {tokens_folder} and run the same command again",
        )
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))  # a plain view: slices of a memmap cost ten times more
