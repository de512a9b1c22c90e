"""Continuations of prompts, token by token as they come or many prompts at once.

B row still going · T position · D model width · V vocabulary
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fromscratch.core.errors import FromScratchError
from fromscratch.model.cache import KeyValueCache
from fromscratch.model.decoder import Decoder
from fromscratch.model.precision import compute_dtype
from fromscratch.model.sampling import draw
from fromscratch.model.settings import Sampling

__all__ = ["generate", "generate_batch"]


def generate(
    decoder: Decoder, prompt: Sequence[int], *, sampling: Sampling, stop: frozenset[int], seed: int
) -> Iterator[int]:
    """Yield the tokens that follow the prompt, each as soon as it is drawn.

    Ends before a token of ``stop``, after ``sampling.max_tokens``, or where the context is full. The same seed gives
    the same tokens. Raises FromScratchError, at the call, for a prompt that is empty, leaves no room in the context,
    or holds tokens that the vocabulary does not have.
    """
    _check(decoder, prompt)
    return (token for step in _steps(decoder, [prompt], sampling, stop, seed) for _, token in step)


def generate_batch(
    decoder: Decoder, prompts: Sequence[Sequence[int]], *, sampling: Sampling, stop: frozenset[int], seed: int
) -> list[list[int]]:
    """The continuations of many prompts, computed side by side. Prompt i draws as ``generate`` does with seed + i."""
    for prompt in prompts:
        _check(decoder, prompt)
    continuations: list[list[int]] = [[] for _ in prompts]
    if not prompts:
        return continuations
    for step in _steps(decoder, prompts, sampling, stop, seed):
        for row, token in step:
            continuations[row].append(token)
    return continuations


def _check(decoder: Decoder, prompt: Sequence[int]) -> None:
    context = decoder.settings.context_tokens
    if not prompt:
        raise FromScratchError("the prompt is empty", "give at least one token, such as <|startoftext|>")
    if len(prompt) >= context:
        raise FromScratchError(
            f"the prompt has {len(prompt):,} tokens, and a context of {context:,} leaves it no room for an answer",
            f"shorten it to {context - 1:,} tokens or fewer",
        )
    if not 0 <= min(prompt) <= max(prompt) < decoder.vocabulary:
        raise FromScratchError(
            f"the prompt holds token {max(prompt) if min(prompt) >= 0 else min(prompt)}, "
            f"and the model's vocabulary is 0 to {decoder.vocabulary - 1}",
            "encode it with the tokenizer that the model was trained with",
        )


def _steps(
    decoder: Decoder, prompts: Sequence[Sequence[int]], sampling: Sampling, stop: frozenset[int], seed: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield one token for each prompt that still goes on, as (index of the prompt, token)."""
    left = [min(sampling.max_tokens, decoder.settings.context_tokens - len(prompt)) for prompt in prompts]
    generators = [torch.Generator().manual_seed(seed + row) for row in range(len(prompts))]
    going = list(range(len(prompts)))
    reader = _Reader(decoder, prompts, max(len(prompt) + most for prompt, most in zip(prompts, left, strict=True)))
    while going:
        drawn_B = draw(reader.logits_BV, reader.seen_BV, sampling, [generators[row] for row in going])
        step = list(zip(going, drawn_B.tolist(), strict=True))
        spoken = [(row, token) for row, token in step if token not in stop]
        if spoken:
            yield spoken
        for row, _ in spoken:
            left[row] -= 1
        stays = [token not in stop and left[row] > 0 for row, token in step]
        going = [row for row, stay in zip(going, stays, strict=True) if stay]
        if going:
            reader.read_next(drawn_B, stays)


class _Reader:
    """The decoder with what it has read: one row per prompt that still goes on."""

    def __init__(self, decoder: Decoder, prompts: Sequence[Sequence[int]], capacity_tokens: int) -> None:
        weight = decoder.embedding.weight
        longest = max(map(len, prompts))
        tokens_BT = torch.tensor(
            [[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=weight.device
        )
        lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=weight.device)
        self._decoder = decoder
        self._cache = KeyValueCache(
            decoder.settings, len(prompts), capacity_tokens, compute_dtype(weight), weight.device
        )
        self.seen_BV = torch.zeros(len(prompts), decoder.vocabulary, dtype=torch.bool, device=weight.device)
        for row, prompt in enumerate(prompts):
            self.seen_BV[row, list(prompt)] = True
        self.logits_BV = _logits_after(decoder, tokens_BT, lengths_B, self._cache)

    def read_next(self, token_B: Tensor, stays: Sequence[bool]) -> None:
        """Go on with the rows that stay, each by its token."""
        if not all(stays):
            stays_B = torch.tensor(stays, device=token_B.device)
            self._cache.keep(stays_B)
            token_B, self.seen_BV = token_B[stays_B], self.seen_BV[stays_B]
        self.seen_BV.scatter_(1, token_B.unsqueeze(1), True)
        self.logits_BV = _logits_after(self._decoder, token_B.unsqueeze(1), self._cache.lengths_B + 1, self._cache)


@torch.inference_mode()  # around each step, not around the generator, whose caller would run in it between two tokens
def _logits_after(decoder: Decoder, tokens_BT: Tensor, lengths_B: Tensor, cache: KeyValueCache) -> Tensor:
    """Read the tokens, of which each row holds as many as make it ``lengths_B`` long; logits [B, V] at its end."""
    last_B = lengths_B - 1 - cache.lengths_B
    hidden_BTD = decoder.hidden(tokens_BT, cache)
    cache.lengths_B = lengths_B  # what follows overwrites the padding of shorter rows
    hidden_BD = hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B]
    return functional.linear(hidden_BD, decoder.head_weight)
