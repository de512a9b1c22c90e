"""Conversations as training batches: the loss falls on responses alone, and batch i depends on nothing but i."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from fromscratch.chat.order import shuffled
from fromscratch.model.loss import IGNORED
from fromscratch.tokenizer.chatml import IM_END, Message, chatml_prompt, encode_plain
from fromscratch.tokenizer.special import PADDING
from fromscratch.tokens.keys import key_of, mix, uniform
from fromscratch.tokens.permutation import permute

__all__ = ["DialogueBatches", "Example", "Joining", "encode_example"]

LENGTH_STEP = 8  # rows are padded to a multiple of this: fewer shapes for the allocator to keep
WINDOW_BATCHES = 32  # so many batches are drawn together and sorted by length
MOST_JOINED = 3  # conversations that an example may follow

# B conversation in the batch · T position

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Example:
    """A conversation up to the token before its last: ``targets[t]`` follows ``tokens[t]``, or is IGNORED."""

    tokens: Tokens
    targets: Tokens
    has_system: bool = False

    @property
    def learnt_tokens(self) -> int:
        return int((self.targets != IGNORED).sum())


def encode_example(tokenizer: Tokenizer, messages: Sequence[Message], sequence_tokens: int) -> Example | None:
    """ChatML tokens of a conversation, with a target only where an assistant's words or their ``<|im_end|>`` follow.

    A conversation that does not fit into ``sequence_tokens`` loses its last turns, whole; None when not even the
    first answer fits. What a user types is never read as a special token.
    """
    ids: list[int] = []
    learnt: list[bool] = []
    end = 0  # how many tokens the conversation has up to the last answer that fits
    for message in messages:
        answers = message["role"] == "assistant"
        # Parts are <|im_start|>, role, content, <|im_end|>, newline: content and its end are what is answered.
        for place, part in enumerate(chatml_prompt([message], add_generation_prompt=False)):
            piece = [part] if isinstance(part, int) else encode_plain(tokenizer, part)
            ids += piece
            learnt += [answers and place in (2, 3)] * len(piece)
            if answers and part == IM_END and len(ids) - 1 <= sequence_tokens:
                end = len(ids)
    if end == 0:
        return None
    targets = [token if wanted else IGNORED for token, wanted in zip(ids[1:end], learnt[1:end], strict=True)]
    has_system = messages[0]["role"] == "system"
    return Example(np.array(ids[: end - 1], dtype=np.int32), np.array(targets, dtype=np.int32), has_system)


def join_examples(earlier: Example, later: Example, between: Sequence[int]) -> Example:
    """Two conversations as one that goes on to another subject, with these tokens ``between`` them."""
    return Example(
        np.concatenate([earlier.tokens, between, later.tokens], dtype=np.int32),
        np.concatenate([earlier.targets, [IGNORED] * len(between), later.targets], dtype=np.int32),
        earlier.has_system,
    )


@dataclass(frozen=True)
class Joining:
    """How single conversations become later turns of others, so that a model learns to answer the last message."""

    share: float
    """Part of the examples that are given something to follow: one, two or three others, as far as they fit."""
    sequence_tokens: int
    between: Sequence[int]
    """Tokens between two conversations: ``<|im_end|>`` and the newline after it."""

    def joined(self, drawn: Sequence[Example], key: int) -> list[Example]:
        """As many examples as before; what an example follows are its neighbours in ``drawn``."""
        chance = uniform(mix(np.arange(len(drawn), dtype=np.uint64) ^ np.uint64(key)))
        most = np.where(chance < self.share, 1 + (chance / self.share * MOST_JOINED).astype(int), 0)
        return [self._behind(drawn, place, int(most[place])) for place in range(len(drawn))]

    def _behind(self, drawn: Sequence[Example], place: int, most: int) -> Example:
        example = drawn[place]
        for distance in range(1, most + 1):
            earlier = drawn[place - distance]
            length = len(earlier.tokens) + len(self.between) + len(example.tokens)
            if example.has_system or length > self.sequence_tokens:
                break
            example = join_examples(earlier, example, self.between)
        return example


class DialogueBatches:
    """Batch i of weighted sources of examples: a pure function of the seed, the sources and i.

    Every window of 32 batches holds each source's share of the examples to the nearest one, taken from shuffled
    passes over the source that go on from window to window, so that none is seen twice before all were seen once.
    Within a window examples of like length share a batch, which leaves little to pad.

    ``joining`` lets a share of the examples follow others drawn in the same window, as later turns of one talk.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[Example]],
        weights: Mapping[str, float],
        seed: int,
        batch_sequences: int,
        joining: Joining | None = None,
    ) -> None:
        self._sources = {name: sources[name] for name in sorted(sources)}
        self._seed = seed
        self._batch_sequences = batch_sequences
        self._joining = joining
        self._quotas = _quotas({name: weights[name] for name in self._sources}, WINDOW_BATCHES * batch_sequences)
        self._window = lru_cache(maxsize=2)(self._draw_window)

    @property
    def shares(self) -> dict[str, float]:
        """The part of all examples that each source really gives."""
        return {name: quota / (WINDOW_BATCHES * self._batch_sequences) for name, quota in self._quotas.items()}

    def examples(self, i: int) -> list[Example]:
        """The conversations of batch i."""
        window, place = divmod(i, WINDOW_BATCHES)
        return self._window(window)[place]

    def batch(self, i: int) -> tuple[Tensor, Tensor]:
        """tokens_BT and targets_BT (int64) of batch i, padded on the right to its longest conversation.

        Attention looks back only, so no token of a conversation sees the padding, which has no loss either.
        """
        examples = self.examples(i)
        longest = max(len(each.tokens) for each in examples)
        T = math.ceil(longest / LENGTH_STEP) * LENGTH_STEP
        tokens_BT = torch.full((len(examples), T), PADDING, dtype=torch.int64)
        targets_BT = torch.full((len(examples), T), IGNORED, dtype=torch.int64)
        for row, each in enumerate(examples):
            tokens_BT[row, : len(each.tokens)] = torch.from_numpy(each.tokens)
            targets_BT[row, : len(each.tokens)] = torch.from_numpy(each.targets)
        return tokens_BT, targets_BT

    def _draw_window(self, window: int) -> list[list[Example]]:
        drawn = [each for name, quota in self._quotas.items() for each in self._draw(name, quota, window)]
        # Shuffled first, so that which of equal length share a batch is left to chance.
        drawn = [drawn[place] for place in shuffled(len(drawn), self._seed, "window", window)]
        if self._joining is not None:
            drawn = self._joining.joined(drawn, key_of(self._seed, "joining", window))
        drawn.sort(key=lambda each: len(each.tokens))
        batches = [
            drawn[start : start + self._batch_sequences] for start in range(0, len(drawn), self._batch_sequences)
        ]
        return [batches[place] for place in shuffled(len(batches), self._seed, "batches", window)]

    def _draw(self, name: str, quota: int, window: int) -> list[Example]:
        examples = self._sources[name]
        passes, places = np.divmod(window * quota + np.arange(quota), len(examples))
        keys = np.array([key_of(self._seed, name, int(each)) for each in passes], dtype=np.uint64)
        return [examples[place] for place in permute(places, np.full(quota, len(examples)), keys)]


def _quotas(weights: Mapping[str, float], places: int) -> dict[str, int]:
    """Places in proportion to the weights, by the largest remainder; no source goes without one."""
    total = sum(weights.values())
    exact = {name: places * weight / total for name, weight in weights.items()}
    quotas = {name: max(1, math.floor(share)) for name, share in exact.items()}
    while sum(quotas.values()) != places:
        missing = places - sum(quotas.values())
        behind = {name: exact[name] - quotas[name] for name in quotas if missing > 0 or quotas[name] > 1}
        name = max(behind, key=lambda each: behind[each] if missing > 0 else -behind[each])
        quotas[name] += 1 if missing > 0 else -1
    return quotas
