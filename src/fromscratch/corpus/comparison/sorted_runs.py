"""An index on disk from 64-bit keys to numbers: sorted runs, merged before they are many, searched where they lie."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fromscratch.core.files import atomic_write
from fromscratch.corpus.kernels.measure import kernel

__all__ = ["SortedRuns", "find_ranges"]

Numbers = NDArray[np.uint64]

RUNS_A_LEVEL = 8  # so many of one level become one of the next: an entry is rewritten log8(runs) times
MERGED_ENTRIES = 1_000_000  # in memory at a time, 16 bytes each
FOUND_KEYS = 16_384  # looked up at a time


class SortedRuns:
    """Entries (key, value), any number of them for a key: a log-structured merge tree (O'Neil et al. 1996).

    What is added becomes a run, a file of its keys in ascending order and then their values; its name tells its level
    and how many entries had been added by then. ``names`` are the runs from the oldest to the newest. They are the
    state, which the owner commits; files of runs that were merged stay until ``remove_others``, because an earlier
    commit names them.
    """

    def __init__(self, folder: Path, kind: str, names: Sequence[str] = ()) -> None:
        self.folder, self.kind, self.names = folder, kind, list(names)

    def add(self, keys: Numbers, values: Numbers) -> None:
        """Add entries; among equal keys their order is kept."""
        if not len(keys):
            return
        entries = len(keys) + (int(self.names[-1].split("-")[2]) if self.names else 0)
        order = np.argsort(keys, kind="stable")
        level, count, parts = 0, len(keys), iter([(keys[order], values[order])])
        while True:
            self.names.append(f"{self.kind}-{level}-{entries}")
            _write(self.folder / self.names[-1], count, parts)
            alike = [name for name in self.names[-RUNS_A_LEVEL:] if _level(name) == level]
            if len(alike) < RUNS_A_LEVEL:
                return
            del self.names[-RUNS_A_LEVEL:]
            level, (count, parts) = level + 1, self._merged(alike)

    def find(self, keys: Numbers) -> tuple[NDArray[np.int64], Numbers]:
        """The entries of some keys: of each the place of its key among these, and its value.

        They come by place, those of one in the order in which they were added.
        """
        order = np.argsort(keys, kind="stable")
        places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for name in self.names:
            for start in range(0, len(keys), FOUND_KEYS):
                some = order[start : start + FOUND_KEYS]
                run = _open(self.folder / name)  # anew each time: the pages that a search touches must not pile up
                firsts, lasts = find_ranges(run[0], keys[some])
                counts = lasts - firsts
                ends = np.cumsum(counts)
                places.append(np.repeat(some, counts))
                values.append(run[1][np.repeat(lasts - ends, counts) + np.arange(ends[-1])])
        by_place = np.argsort(np.concatenate(places), kind="stable")
        return np.concatenate(places)[by_place], np.concatenate(values)[by_place]

    def compact(self, path: Path) -> str:
        """Write all entries as one run; return its name."""
        _write(path, *self._merged(self.names))
        return path.name

    def remove_others(self) -> None:
        """Remove the files of this kind that are not named: merged runs, and what a killed process left."""
        for path in self.folder.glob(f"{self.kind}-*"):
            if path.name not in self.names:
                path.unlink()

    def _merged(self, names: Sequence[str]) -> tuple[int, Iterator[tuple[Numbers, Numbers]]]:
        """The number of entries in some runs, and the entries by key."""
        paths = [self.folder / name for name in names]
        return sum(path.stat().st_size // 16 for path in paths), _slices(paths)


def _level(name: str) -> int:
    return int(name.split("-")[1])


def _open(path: Path) -> Numbers:
    """Keys and values [2, entries] of a run, mapped into memory."""
    return np.memmap(path, np.uint64, "r").reshape(2, -1) if path.stat().st_size else np.zeros((2, 0), np.uint64)


def _write(path: Path, entries: int, parts: Iterable[tuple[Numbers, Numbers]]) -> None:
    with atomic_write(path) as temporary:
        temporary.touch()
        with temporary.open("r+b") as keys_file, temporary.open("r+b") as values_file:
            values_file.seek(8 * entries)
            for keys, values in parts:
                keys_file.write(keys.tobytes())
                values_file.write(values.tobytes())


def _slices(paths: Sequence[Path]) -> Iterator[tuple[Numbers, Numbers]]:
    """The entries of some runs by key, slice by slice of the keys' range: what is in memory does not grow with them."""
    lengths = [path.stat().st_size // 16 for path in paths]
    slices = -(-sum(lengths) // MERGED_ENTRIES)
    bounds = (np.arange(1, slices) * 2.0**64 / max(slices, 1)).astype(np.uint64)  # keys are hashes, spread evenly
    places = [np.searchsorted(_open(path)[0], bounds).tolist() for path in paths]
    cuts = [[0, *inner, length] for inner, length in zip(places, lengths, strict=True)]
    for number in range(slices):
        keys, values = (
            np.concatenate(
                [
                    np.fromfile(path, np.uint64, cut[number + 1] - cut[number], offset=8 * (cut[number] + first))
                    for path, first, cut in zip(paths, np.multiply(part, lengths), cuts, strict=True)
                ]
            )
            for part in range(2)
        )
        order = np.argsort(keys, kind="stable")  # of equal keys the older run comes first
        yield keys[order], values[order]


@kernel
def find_ranges(run: Numbers, keys: Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the entries of each key begin and end in a run. Keys ascend, so each search goes on, in growing steps,
    from where the one before ended (Bentley and Yao 1976)."""
    firsts, lasts = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    at = 0
    for number in range(len(keys)):
        key = keys[number]
        step = 1
        while at + step <= len(run) and run[at + step - 1] < key:
            at += step
            step *= 2
        end = min(at + step - 1, len(run))
        while at < end:
            middle = (at + end) // 2
            if run[middle] < key:
                at = middle + 1
            else:
                end = middle
        firsts[number] = at
        end = at
        while end < len(run) and run[end] == key:
            end += 1
        lasts[number] = end
    return firsts, lasts
