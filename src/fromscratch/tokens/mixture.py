"""The mixture: which group each sequence of a run is drawn from, in exact shares from the first sequence on."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import did_you_mean
from fromscratch.tokens.keys import key_of, mix, uniform

__all__ = ["BLOCK_SEQUENCES", "Assignment", "assign_groups", "block_counts", "drawn_before", "group_weights"]

BLOCK_SEQUENCES = 4096  # shares are exact in every block of so many sequences, hence multiples of 1/4096

Int64s = npt.NDArray[np.int64]
Assignment = tuple[Int64s, Int64s]
"""For some sequences the index of the group of each [N], and how many earlier sequences have the same group [N]."""


def group_weights(asked: Mapping[str, float] | None, available: Mapping[str, int]) -> dict[str, float]:
    """The weight of each group, summing to 1, from weights by group ("en/books") or by language ("en" or "en/*").

    ``available`` says how much there is of each group; a language's weight is spread over its groups in proportion,
    and so is everything when ``asked`` is None. Raises FromScratchError for a name that meets no group, a group
    that two names meet, a weight that is no share, and weights that are all 0.
    """
    weights: dict[str, float] = {}
    claimed_by: dict[str, str] = {}
    for name, weight in ({"*": 1.0} if asked is None else asked).items():
        if not (math.isfinite(weight) and weight >= 0):
            raise FromScratchError(f"mixture: `{name}` = {weight} is no weight", "use a number that is 0 or more")
        members = {group: amount for group, amount in available.items() if _meets(name, group) and amount}
        if not members:
            known = sorted({group for group, amount in available.items() if amount})
            languages = sorted({group.partition("/")[0] for group in known})
            raise FromScratchError(
                f"mixture: there is nothing to train on of `{name}`", did_you_mean(name, [*known, *languages])
            )
        for group, amount in members.items():
            if group in claimed_by:
                raise FromScratchError(
                    f"mixture: `{group}` is asked for twice, by `{claimed_by[group]}` and by `{name}`",
                    "name each group once: the language or its groups",
                )
            claimed_by[group] = name
            weights[group] = weight * amount / sum(members.values())
    total = sum(weights.values())
    if not total:
        raise FromScratchError("mixture: all weights are 0", "give at least one group a weight above 0")
    return {group: weights[group] / total for group in sorted(weights) if weights[group]}


def _meets(name: str, group: str) -> bool:
    language = group.partition("/")[0]
    return name in ("*", group, language, f"{language}/*")


def block_counts(weights: Sequence[float]) -> tuple[int, ...]:
    """Sequences of each group in a block, for weights that sum to 1: by largest remainder, none below one."""
    assert len(weights) <= BLOCK_SEQUENCES, "more groups than sequences in a block"
    exact = np.array(weights) * BLOCK_SEQUENCES
    counts = np.maximum(1, np.floor(exact)).astype(np.int64)
    while counts.sum() != BLOCK_SEQUENCES:  # at most once a group
        if counts.sum() < BLOCK_SEQUENCES:
            counts[np.argmax(exact - counts)] += 1
        else:
            counts[np.argmin(np.where(counts > 1, exact - counts, np.inf))] -= 1
    return tuple(counts.tolist())


def assign_groups(counts: tuple[int, ...], seed: int, first: int, number: int) -> Assignment:
    """The groups of the sequences from ``first`` on, ``number`` of them.

    ``counts`` are those of a block. A block has them exactly, and a prefix of one has each group's share to within
    about one sequence for each group.
    """
    sequence = np.arange(first, first + number, dtype=np.int64)
    block, within = sequence // BLOCK_SEQUENCES, sequence % BLOCK_SEQUENCES
    group, earlier = np.empty_like(sequence), np.empty_like(sequence)
    for each in range(first // BLOCK_SEQUENCES, (first + number - 1) // BLOCK_SEQUENCES + 1):
        here = block == each
        group_in_block, earlier_in_block = _block_order(counts, seed, each)
        group[here] = group_in_block[within[here]]
        earlier[here] = earlier_in_block[within[here]] + each * np.array(counts)[group[here]]
    return group, earlier


def drawn_before(counts: tuple[int, ...], seed: int, sequence: int) -> list[int]:
    """How many of the sequences before ``sequence`` each group has."""
    block, within = divmod(sequence, BLOCK_SEQUENCES)
    group_in_block, _ = _block_order(counts, seed, block)
    in_block = np.bincount(group_in_block[:within], minlength=len(counts))
    return [block * count + int(extra) for count, extra in zip(counts, in_block, strict=True)]


@lru_cache(maxsize=8)
def _block_order(counts: tuple[int, ...], seed: int, block: int) -> Assignment:
    """Group and rank within the group of each place of a block: stratified sampling.

    A group's k-th sequence of m is put at a random time of the k-th of m equal stretches; the order is that of time.
    """
    size = np.array(counts, dtype=np.int64)
    group = np.repeat(np.arange(len(counts)), size)
    rank = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
    key = np.uint64(key_of("block of the mixture", seed, block))
    time = (rank + uniform(mix(key ^ np.arange(len(group), dtype=np.uint64)))) / size[group]
    order = np.argsort(time, kind="stable")
    return group[order], rank[order]
