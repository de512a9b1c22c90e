"""How many bits a decoder needs for documents: every token is predicted exactly once, in its own document.

B window in the batch · T position in the window · D model width · V vocabulary · N tokens that are scored
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fromscratch.evaluate.settings import Scoring
from fromscratch.model.decoder import Decoder

__all__ = ["Window", "batches_of_windows", "document_bits", "windows"]

LOGITS_AT_ONCE = 1 << 21  # numbers, 8 MiB in fp32: what a cache still holds between the passes over them


@dataclass(frozen=True)
class Window:
    """A stretch of one document that the decoder reads at once: it predicts tokens ``first`` to ``end``, and reads
    from the token before ``start`` on, so that tokens ``start`` to ``first`` are context alone."""

    document: int
    start: int
    first: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def document_bits(
    decoder: Decoder,
    documents: Sequence[NDArray[np.integer]],
    end_of_document: int,
    scoring: Scoring,
    advance: Callable[[float], None] = lambda _tokens: None,
) -> NDArray[np.float64]:
    """Bits, −log2 of the probability, of each document: one sum over all its tokens, [documents].

    The first token is predicted after ``end_of_document``, as in training; if a document is to be predicted with
    its end, it holds that token itself. ``advance`` is told how many tokens each batch has scored.
    """
    size = decoder.settings.context_tokens
    size = min(size, scoring.window_tokens or size)
    stride = size - max(1, int(size * scoring.overlap))
    planned = [each for at, document in enumerate(documents) for each in windows(at, len(document), size, stride)]
    bits = np.zeros(len(documents))
    decoder.eval()
    for batch in batches_of_windows(planned, scoring.batch_tokens):
        tokens_BT, targets_BT = _arrays(batch, documents, end_of_document)
        with torch.inference_mode(), _precision(decoder, scoring):
            bits_N = _target_bits(decoder, tokens_BT, targets_BT)
        ends = np.cumsum([each.end - each.first for each in batch])
        np.add.at(bits, [each.document for each in batch], [part.sum() for part in np.split(bits_N, ends[:-1])])
        advance(float(ends[-1]))
    return bits


def windows(document: int, length: int, size: int, stride: int) -> Iterator[Window]:
    """Windows of at most ``size`` tokens, each starting ``stride`` later, that predict each token exactly once.

    Every token but the first ``size`` has at least ``size - stride`` tokens of its document before it.
    """
    first = 0
    for start in range(0, length, stride):
        end = min(start + size, length)
        yield Window(document, start, first, end)
        if end == length:
            return
        first = end


def batches_of_windows(planned: Sequence[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, the longest first; with padding at most ``batch_tokens``, or one window."""
    batch: list[Window] = []
    for each in sorted(planned, key=lambda window: (-window.length, window.document, window.start)):
        if batch and (len(batch) + 1) * batch[0].length > batch_tokens:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _arrays(
    batch: Sequence[Window], documents: Sequence[NDArray[np.integer]], end_of_document: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs and targets [B, T]; −1 where nothing is predicted, and padding on the right, which no token looks at."""
    tokens_BT = np.full((len(batch), batch[0].length), end_of_document, np.int64)
    targets_BT = np.full_like(tokens_BT, -1)
    for row, each in enumerate(batch):
        document = documents[each.document]
        tokens_BT[row, 1 : each.length] = document[each.start : each.end - 1]
        if each.start:
            tokens_BT[row, 0] = document[each.start - 1]
        targets_BT[row, each.first - each.start : each.length] = document[each.first : each.end]
    return tokens_BT, targets_BT


def _target_bits(decoder: Decoder, tokens_BT: NDArray[np.int64], targets_BT: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits [N] of the targets that are not −1, row by row, without ever holding the logits of all of them."""
    device = decoder.head_weight.device
    targets_N = torch.from_numpy(targets_BT[targets_BT >= 0]).to(device)
    hidden_BTD = decoder.hidden(torch.from_numpy(tokens_BT).to(device))
    hidden_ND = hidden_BTD[torch.from_numpy(targets_BT >= 0).to(device)]
    rows = max(1, LOGITS_AT_ONCE // decoder.vocabulary)
    nats: list[Tensor] = []
    for at in range(0, len(targets_N), rows):
        logits_NV = functional.linear(hidden_ND[at : at + rows], decoder.head_weight).float()
        nats.append(functional.cross_entropy(logits_NV, targets_N[at : at + rows], reduction="none"))
    bits_N: NDArray[np.float64] = torch.cat(nats).double().cpu().numpy() / np.log(2)
    return bits_N


def _precision(decoder: Decoder, scoring: Scoring) -> contextlib.AbstractContextManager[object]:
    if scoring.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(decoder.head_weight.device.type, torch.bfloat16)
