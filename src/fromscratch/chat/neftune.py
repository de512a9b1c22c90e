"""NEFTune: noise on the embeddings while tuning, so that a small set of dialogues is not learnt by rote."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fromscratch.model.decoder import Decoder
from fromscratch.tokens.keys import key_of

__all__ = ["noisy_embeddings"]


@contextmanager
def noisy_embeddings(decoder: Decoder, alpha: float | None, seed: int) -> Iterator[None]:
    """Within the block, training adds uniform noise in ±alpha/√(T·D) to embeddings [B, T, D]; None adds nothing.

    Jain et al. 2023 (arXiv:2310.05914), with T the padded length. The noise is a pure function of the seed and the
    tokens, which no two batches share, so a run that was stopped goes on to the same weights.
    """
    # B sequence in the batch · T position · D model width

    def add_noise(_embedding: torch.nn.Module, inputs: tuple[Any, ...], embedded_BTD: Tensor) -> Tensor | None:
        if alpha is None or not decoder.training:
            return None
        tokens_BT: Tensor = inputs[0]
        digest = hashlib.sha256(tokens_BT.cpu().numpy().tobytes()).hexdigest()
        generator = torch.Generator().manual_seed(key_of(seed, digest) >> 1)
        unit_BTD = torch.rand(embedded_BTD.shape, generator=generator) * 2 - 1
        T, D = embedded_BTD.shape[-2:]
        noisy_BTD: Tensor = embedded_BTD + unit_BTD.to(embedded_BTD) * alpha / (T * D) ** 0.5
        return noisy_BTD

    hook = decoder.embedding.register_forward_hook(add_noise)
    try:
        yield
    finally:
        hook.remove()
