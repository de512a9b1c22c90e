"""Rows of a finished corpus, found without reading its texts: what `explain`, `sample` and `diff` share."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fromscratch.core.artifact import Artifact, open_artifact
from fromscratch.core.errors import FromScratchError

__all__ = ["KEPT", "Place", "beginning", "finished_corpus", "ids_as_numbers", "read_rows", "scan", "seeded_order"]

KEPT = "kept"  # stands where a dropped document has its reason


class Place(NamedTuple):
    """Where a document's row lies."""

    file: Path
    group: int
    row: int


def finished_corpus(run: Path) -> Artifact:
    """The corpus of a run. Raises FromScratchError where none is finished."""
    if not run.is_dir():
        raise FromScratchError(f"{run}: no such run", "name the folder of a run, such as runs/demo")
    corpus = open_artifact(run / "corpus")
    if corpus is None and (run / ".corpus.unfinished").exists():
        raise FromScratchError(f"{run}: its corpus is not finished", f"go on with `fromscratch corpus {run}`")
    if corpus is None:
        raise FromScratchError(f"{run}: a folder without a corpus", "make one with `fromscratch corpus RECIPE`")
    return corpus


def scan(corpus: Artifact, columns: Sequence[str]) -> Iterator[tuple[Path, int, pa.Table]]:
    """File, row group and these columns of each row group in the order of the corpus, one in memory at a time."""
    for path in sorted((corpus.path / "documents").glob("*.parquet")):
        with _opened(path, columns) as file:
            for group in range(file.num_row_groups):
                yield path, group, _read(file, path, group, columns)


def read_rows(places: Sequence[Place], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows at these places, with all columns unless some are named; each row group is read once."""
    order = sorted(range(len(places)), key=places.__getitem__)
    rows: dict[int, dict[str, Any]] = {}
    for (path, group), numbers in groupby(order, key=lambda number: places[number][:2]):
        here = list(numbers)
        with _opened(path, columns or ()) as file:
            table = _read(file, path, group, columns)
        found = table.take(pa.array([places[number].row for number in here])).to_pylist()
        rows |= dict(zip(here, found, strict=True))
    return [rows[number] for number in range(len(places))]


def _opened(path: Path, columns: Sequence[str]) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None
    if lacking := [name for name in columns if name not in file.schema_arrow.names]:
        raise FromScratchError(
            f"{path}: another version of fromscratch made it; it has no column `{lacking[0]}`",
            "make the corpus again with --redo",
        )
    return file


def _read(file: pq.ParquetFile, path: Path, group: int, columns: Sequence[str] | None) -> pa.Table:
    try:
        return file.read_row_group(group, columns=None if columns is None else list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> FromScratchError:
    return FromScratchError(
        f"{path}: cannot be read ({str(error).splitlines()[0]})",
        "remove the corpus folder and run the same command again",
    )


def ids_as_numbers(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Ids, 16 hexadecimal digits each, as uint64[documents]."""
    return np.frombuffer(bytes.fromhex("".join(ids.to_pylist())), ">u8").astype(np.uint64)


def seeded_order(ids: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """A random number uint64 for each document, made of its id and the seed alone: so the smallest are a sample.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    value = ids ^ np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def beginning(text: str, characters: int) -> str:
    """The first characters of a text, with an ellipsis where there are more."""
    return text if len(text) <= characters else text[:characters].rstrip() + "…"
