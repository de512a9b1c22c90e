"""Packed documents are read as if each stood alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fromscratch.model.decoder import Decoder
from fromscratch.model.documents import documents_in, ended_by
from fromscratch.model.loss import IGNORED
from fromscratch.model.settings import (
    AlibiPositions,
    LearnedPositions,
    NoPositions,
    RelativePositions,
    SinusoidalPositions,
)
from fromscratch.model.tiling import QUERIES_PER_BLOCK

from .conftest import VOCABULARY, recollections, small_decoder

LENGTHS = ((1, QUERIES_PER_BLOCK + 12, 7), (80, 1, 67))  # of the documents of two rows of 148 tokens
ROWS = [[number for number, length in enumerate(row) for _ in range(length)] for row in LENGTHS]
AXES: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": LearnedPositions()},
    "sinusoidal": {"positions": SinusoidalPositions(), "norm_placement": "post"},
    "alibi": {"positions": AlibiPositions()},
    "relative": {"positions": RelativePositions()},
    "none": {"positions": NoPositions(), "qk_norm": "head"},
    "sliding window": {"window_tokens": 20},
}


def packed() -> tuple[Tensor, Tensor, Tensor]:
    tokens_BT, targets_BT = recollections(2, len(ROWS[0]))
    return tokens_BT, targets_BT, torch.tensor(ROWS)


def gradients(decoder: Decoder, loss: Tensor) -> dict[str, Tensor]:
    decoder.zero_grad()
    loss.backward()
    return {name: each.grad for name, each in decoder.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("changes", AXES.values(), ids=AXES)
def test_packed_documents_give_the_states_and_gradients_of_each_alone(changes: dict[str, Any]) -> None:
    decoder = small_decoder(**changes).double()
    tokens_BT, targets_BT, documents_BT = packed()
    together_BTD = decoder.hidden(tokens_BT, documents_BT=documents_BT)
    alone = []
    for row, lengths in enumerate(LENGTHS):
        alone += [decoder.hidden(each.unsqueeze(0))[0] for each in tokens_BT[row].split(lengths)]
    torch.testing.assert_close(together_BTD.flatten(0, 1), torch.cat(alone), atol=1e-6, rtol=0)
    assert (decoder.hidden(tokens_BT) - together_BTD).abs().max() > 1e-3, "the documents do not see each other"

    at_once = gradients(decoder, decoder.loss(tokens_BT, targets_BT, documents_BT=documents_BT))
    parts = [
        decoder.loss(tokens.unsqueeze(0), targets.unsqueeze(0)) * int((targets != IGNORED).sum())
        for row, lengths in enumerate(LENGTHS)
        for tokens, targets in zip(tokens_BT[row].split(lengths), targets_BT[row].split(lengths), strict=True)
    ]
    one_by_one = gradients(decoder, torch.stack(parts).sum() / int((targets_BT != IGNORED).sum()))
    for name, gradient in at_once.items():
        torch.testing.assert_close(gradient, one_by_one[name], atol=1e-6, rtol=1e-5)


def test_the_mask_of_other_devices_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = small_decoder()
    tokens_BT, _, documents_BT = packed()
    one_by_one_BTD = decoder.hidden(tokens_BT, documents_BT=documents_BT)
    monkeypatch.setattr("fromscratch.model.decoder.ONE_BY_ONE", ())
    torch.testing.assert_close(decoder.hidden(tokens_BT, documents_BT=documents_BT), one_by_one_BTD)


def test_documents_end_with_their_last_token() -> None:
    tokens_BT = torch.tensor([[5, 2, 2, 7, 8], [2, 4, 4, 4, 2]])
    assert ended_by(tokens_BT, 2).tolist() == [[0, 0, 1, 2, 2], [0, 1, 1, 1, 1]]
    documents = documents_in(ended_by(tokens_BT, 2))
    assert documents.positions.tolist() == [[0, 1, 0, 0, 1], [0, 0, 1, 2, 3]]
    assert documents.lengths() == [2, 1, 2, 1, 4]


def test_a_number_that_comes_back_is_another_document() -> None:
    documents = documents_in(torch.tensor([[7, 7, 3, 7]]))
    assert documents.numbers.tolist() == [[0, 0, 1, 2]]


def test_a_decoder_that_knows_how_documents_end_keeps_them_apart_by_itself() -> None:
    decoder = small_decoder()
    tokens_BT, targets_BT, _ = packed()
    expected = decoder.loss(tokens_BT, targets_BT, documents_BT=ended_by(tokens_BT, VOCABULARY - 1))
    assert not torch.equal(decoder.loss(tokens_BT, targets_BT), expected)
    decoder.document_end = VOCABULARY - 1
    assert torch.equal(decoder.loss(tokens_BT, targets_BT), expected)
