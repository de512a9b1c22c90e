"""Every token costs what a plain forward pass over its own window says, once."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fromscratch.evaluate.perplexity import batches_of_windows, document_bits, windows
from fromscratch.evaluate.settings import Scoring
from fromscratch.model.decoder import Decoder
from fromscratch.model.settings import DecoderSettings

VOCABULARY, END = 50, 2
LENGTHS = [1, 2, 5, 16, 17, 24, 25, 40, 77]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    settings = DecoderSettings(layers=2, width=16, heads=2, kv_heads=1, ffn_width=32, context_tokens=16)
    decoder = Decoder(settings, VOCABULARY)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return decoder


@pytest.fixture(scope="module")
def documents() -> list[NDArray[np.uint16]]:
    generator = np.random.default_rng(0)
    return [np.append(generator.integers(3, VOCABULARY, length - 1), END).astype(np.uint16) for length in LENGTHS]


@torch.inference_mode()
def slow_bits(decoder: Decoder, document: NDArray[np.uint16], size: int, stride: int) -> float:
    """One forward pass per token: the window in which it is first reached, and nothing else."""
    read = [END, *document.tolist()]
    total = 0.0
    for at, token in enumerate(document.tolist()):
        start = max(0, math.ceil((at + 1 - size) / stride)) * stride
        log_probabilities = torch.log_softmax(decoder(torch.tensor([read[start : at + 1]]))[0, -1].double(), dim=-1)
        total -= float(log_probabilities[token]) / math.log(2)
    return total


@pytest.mark.parametrize(
    ("window", "overlap", "size", "stride"), [(None, 0.5, 16, 8), (8, 0.25, 8, 6), (99, 0.9, 16, 2)]
)
def test_bits_are_those_of_one_forward_pass_per_token(
    decoder: Decoder,
    documents: list[NDArray[np.uint16]],
    window: int | None,
    overlap: float,
    size: int,
    stride: int,
) -> None:
    scoring = Scoring(window_tokens=window, overlap=overlap, batch_tokens=40)
    fast = document_bits(decoder, documents, END, scoring)
    np.testing.assert_allclose(fast, [slow_bits(decoder, each, size, stride) for each in documents], rtol=1e-4)


def test_batches_change_nothing(
    decoder: Decoder, documents: list[NDArray[np.uint16]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = []
    large = document_bits(decoder, documents, END, Scoring(batch_tokens=10_000), scored.append)
    monkeypatch.setattr("fromscratch.evaluate.perplexity.LOGITS_AT_ONCE", 3 * VOCABULARY)
    small = document_bits(decoder, documents[::-1], END, Scoring(batch_tokens=1), scored.append)[::-1]
    np.testing.assert_allclose(small, large, rtol=1e-5)
    assert sum(scored) == 2 * sum(LENGTHS)


def test_an_indifferent_model_needs_the_logarithm_of_the_vocabulary(
    decoder: Decoder, documents: list[NDArray[np.uint16]]
) -> None:
    indifferent = Decoder(decoder.settings, VOCABULARY)
    indifferent.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        indifferent.head_weight.zero_()
    bits = document_bits(indifferent, documents, END, Scoring(precision="bf16"))
    np.testing.assert_allclose(bits, np.array(LENGTHS) * math.log2(VOCABULARY), rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_windows_predict_each_token_once_and_leave_context(stride: int) -> None:
    for length in range(1, 60):
        predicted = []
        for each in windows(0, length, 8, stride):
            predicted += range(each.first, each.end)
            assert each.length <= 8
            assert each.first == 0 or each.first - each.start >= 8 - stride
        assert predicted == list(range(length))


def test_batches_hold_every_window_and_no_more_tokens_than_allowed() -> None:
    planned = [each for at, length in enumerate([30, 3, 8, 1, 5, 8]) for each in windows(at, length, 8, 4)]
    batches = list(batches_of_windows(planned, batch_tokens=20))
    assert sorted(map(str, planned)) == sorted(str(each) for batch in batches for each in batch)
    assert all(len(batch) * max(each.length for each in batch) <= 20 for batch in batches)
    assert len(batches) <= len(planned) / 2


def test_no_documents_need_no_bits(decoder: Decoder) -> None:
    assert document_bits(decoder, [], END, Scoring()).shape == (0,)
