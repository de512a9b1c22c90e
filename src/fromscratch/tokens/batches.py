"""Batch number i of a run, as a pure function of the shards, the mixture, the seed and i."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fromscratch.core.errors import FromScratchError
from fromscratch.tokens.keys import key_of, mix
from fromscratch.tokens.mixture import BLOCK_SEQUENCES, assign_groups, block_counts, drawn_before, group_weights
from fromscratch.tokens.permutation import permute
from fromscratch.tokens.shards import read_index
from fromscratch.tokens.stream import open_stream

__all__ = ["BatchPlan", "trained_batches"]


class BatchPlan:
    """Which tokens each batch holds. Nothing is drawn and nothing remembered: batch i depends on i alone.

    A group's documents stand end to end, cut into windows of ``sequence_tokens`` + 1 that share their ends (the last
    target is the next first input). Each epoch of a group is another permutation of its windows, so no window comes
    twice before all came once. ``mixture`` gives weights by group or language; None takes what there is.

    Raises FromScratchError for a mixture that names what is not there, and when no group fills one window.
    """

    def __init__(
        self,
        tokens_folder: Path,
        mixture: Mapping[str, float] | None,
        seed: int,
        sequence_tokens: int,
        batch_sequences: int,
    ) -> None:
        index = read_index(tokens_folder)
        tokens = {name: entry["train"]["tokens"] for name, entry in index["groups"].items()}
        windows = {name: max(0, number - 1) // sequence_tokens for name, number in tokens.items()}
        if not any(windows.values()):
            raise FromScratchError(
                f"{tokens_folder}: no group fills one sequence of {sequence_tokens:,} tokens; "
                f"the largest has {max(tokens.values(), default=0):,}",
                "use shorter sequences or a larger corpus",
            )
        weights = group_weights(mixture, windows)
        self.groups = tuple(weights)
        self._counts = block_counts(list(weights.values()))
        self._windows = np.array([windows[name] for name in self.groups], dtype=np.int64)
        self._keys = np.array([key_of("windows", seed, name) for name in self.groups], dtype=np.uint64)
        self._streams = [open_stream(tokens_folder, index, name) for name in self.groups]
        self._seed, self._sequence_tokens, self._batch_sequences = seed, sequence_tokens, batch_sequences

    @property
    def weights(self) -> dict[str, float]:
        """The share of the sequences that each group has, a multiple of 1/4096."""
        return {name: count / BLOCK_SEQUENCES for name, count in zip(self.groups, self._counts, strict=True)}

    @property
    def windows(self) -> dict[str, int]:
        """How many windows each group has: the sequences of one epoch."""
        return dict(zip(self.groups, self._windows.tolist(), strict=True))

    def batch(self, number: int) -> npt.NDArray[np.int64]:
        """The tokens of a batch [batch_sequences, sequence_tokens + 1]: inputs are all but the last of each row,
        targets all but the first."""
        group, window = self.places(number)
        tokens = np.empty((self._batch_sequences, self._sequence_tokens + 1), dtype=np.int64)
        for row, (each, place) in enumerate(zip(group.tolist(), window.tolist(), strict=True)):
            self._streams[each].read(place * self._sequence_tokens, tokens[row])
        return tokens

    def places(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of each sequence of a batch the index of its group in ``groups``, and the window of that group."""
        first = number * self._batch_sequences
        group, earlier = assign_groups(self._counts, self._seed, first, self._batch_sequences)
        windows = self._windows[group]
        epoch, turn = earlier // windows, earlier % windows
        return group, permute(turn, windows, mix(self._keys[group] ^ epoch.astype(np.uint64)))

    def position(self, number: int) -> dict[str, Any]:
        """Where the data stands before a batch: sequences drawn of each group, and the epoch the group is in."""
        drawn = drawn_before(self._counts, self._seed, number * self._batch_sequences)
        return {
            "batch": number,
            "sequences": dict(zip(self.groups, drawn, strict=True)),
            "epochs": {name: n // w for name, n, w in zip(self.groups, drawn, self._windows.tolist(), strict=True)},
        }


def trained_batches(plan: BatchPlan, batches: int) -> Iterator[npt.NDArray[np.int64]]:
    """The tokens of batches 0 to ``batches`` - 1, one array each: exactly what a run of so many steps learnt from,
    which is what a baseline must be fitted on to be comparable."""
    return (plan.batch(number) for number in range(batches))
