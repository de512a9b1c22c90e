"""Batch number i of a run, as a pure function of the shards, the mixture, the seed and i."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fromscratch.core.errors import FromScratchError
from fromscratch.tokens.keys import key_of, mix
from fromscratch.tokens.mixture import BLOCK_SEQUENCES, assign_groups, block_counts, drawn_before, group_weights
from fromscratch.tokens.permutation import permute
from fromscratch.tokens.settings import BatchForm
from fromscratch.tokens.shards import read_index
from fromscratch.tokens.stream import open_stream

__all__ = ["BatchPlan", "RunPlan", "Source", "trained_batches"]


@dataclass(frozen=True)
class Source:
    """Where a sequence comes from: tokens ``first`` to ``end`` of its group's stream, which are of these documents."""

    group: str
    first: int
    end: int
    documents: tuple[str, ...]


class BatchPlan:
    """Which tokens each batch holds. Nothing is drawn and nothing remembered: batch i depends on i alone.

    A group's documents stand end to end, cut into windows of ``sequence_tokens`` + 1 that share their ends (the last
    target is the next first input). Each epoch of a group is another permutation of its windows, so no window comes
    twice before all came once. ``mixture`` gives weights by group or language; None takes what there is. ``drawn`` says
    how many windows of each group were drawn before.

    Raises FromScratchError for a mixture that names what is not there, and when no group fills one window.
    """

    def __init__(
        self,
        tokens_folder: Path,
        mixture: Mapping[str, float] | None,
        seed: int,
        sequence_tokens: int,
        batch_sequences: int,
        drawn: Mapping[str, int] | None = None,
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
        self._drawn = np.array([(drawn or {}).get(name, 0) for name in self.groups], dtype=np.int64)
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
        earlier += self._drawn[group]
        windows = self._windows[group]
        epoch, turn = earlier // windows, earlier % windows
        return group, permute(turn, windows, mix(self._keys[group] ^ epoch.astype(np.uint64)))

    def sources(self, number: int) -> list[Source]:
        """Where each sequence of a batch comes from."""
        found = []
        for each, window in zip(*(array.tolist() for array in self.places(number)), strict=True):
            first = window * self._sequence_tokens
            end = first + self._sequence_tokens
            found.append(Source(self.groups[each], first, end, tuple(self._streams[each].documents(first, end))))
        return found

    def position(self, number: int) -> dict[str, Any]:
        """Where the data stands before a batch: sequences drawn of each group, and the epoch the group is in."""
        before = np.array(drawn_before(self._counts, self._seed, number * self._batch_sequences))
        drawn = (before + self._drawn).tolist()
        return {
            "batch": number,
            "sequences": dict(zip(self.groups, drawn, strict=True)),
            "epochs": {name: n // w for name, n, w in zip(self.groups, drawn, self._windows.tolist(), strict=True)},
        }


class RunPlan:
    """The batches of a run whose form or mixture changes on the way; each depends on its number alone.

    Where the windows keep their length, a group goes on in the epoch that it is in. Another length cuts other windows,
    whose epochs begin anew.
    """

    def __init__(self, tokens_folder: Path, seed: int, forms: Sequence[BatchForm]) -> None:
        self._forms = tuple(forms)
        self._firsts = (0, *accumulate(each.batches for each in forms[:-1]))
        drawn: dict[int, dict[str, int]] = {}
        plans = []
        for form in forms:
            so_far = drawn.setdefault(form.sequence_tokens, {})
            sizes = form.sequence_tokens, form.sequences
            plans.append(BatchPlan(tokens_folder, form.mixture, seed, *sizes, dict(so_far)))
            so_far.update(plans[-1].position(form.batches)["sequences"])
        self._plans = tuple(plans)

    @property
    def weights(self) -> dict[str, float]:
        """The share of the run's tokens that each group has."""
        tokens = [each.batches * each.sequences * each.sequence_tokens for each in self._forms]
        shares: dict[str, float] = {}
        for plan, number in zip(self._plans, tokens, strict=True):
            for group, weight in plan.weights.items():
                shares[group] = shares.get(group, 0.0) + weight * number / sum(tokens)
        return shares

    def batch(self, number: int) -> npt.NDArray[np.int64]:
        """The tokens of a batch [sequences, sequence_tokens + 1], as ``BatchPlan.batch`` gives them."""
        stage, within = self._place(number)
        return self._plans[stage].batch(within)

    def position(self, number: int) -> dict[str, Any]:
        """Where the data stands before a batch, and in which stage, if there are several."""
        stage, within = self._place(number)
        stages = {"stage": stage} if len(self._plans) > 1 else {}
        return {**self._plans[stage].position(within), "batch": number, **stages}

    def sources(self, number: int) -> list[Source]:
        """Where each sequence of a batch comes from."""
        stage, within = self._place(number)
        return self._plans[stage].sources(within)

    def _place(self, number: int) -> tuple[int, int]:
        stage = bisect_right(self._firsts, number) - 1
        return stage, number - self._firsts[stage]


def trained_batches(plan: BatchPlan | RunPlan, batches: int) -> Iterator[npt.NDArray[np.int64]]:
    """The tokens of batches 0 to ``batches`` - 1, one array each: exactly what a run of so many steps learnt from,
    which is what a baseline must be fitted on to be comparable."""
    return (plan.batch(number) for number in range(batches))
