"""Positions against plain formulas in float64, and generation that reads what training reads, on every axis."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fromscratch.model.arithmetic import flops_per_token, parameters
from fromscratch.model.decoder import Attention
from fromscratch.model.generate import generate
from fromscratch.model.positions import alibi_slopes
from fromscratch.model.settings import (
    AlibiPositions,
    DecoderSettings,
    LearnedPositions,
    NoPositions,
    NtkScaling,
    RelativePositions,
    RotaryPositions,
    Sampling,
    SinusoidalPositions,
    YarnScaling,
)

from .conftest import VOCABULARY, recollections, small_decoder, small_settings, trained_decoder

AXES: dict[str, dict[str, Any]] = {
    "alibi": {"positions": AlibiPositions()},
    "relative": {"positions": RelativePositions()},
    "learned": {"positions": LearnedPositions(), "norm": "layer", "biases": "all", "activation": "gelu"},
    "sinusoidal": {"positions": SinusoidalPositions(), "norm_placement": "post", "norm": "layer"},
    "none": {"positions": NoPositions(), "activation": "relu"},
    "window": {"window_tokens": 7, "kv_heads": 1},
    "parallel": {"block": "parallel", "biases": "query_key_value"},
    "sandwich": {"norm_placement": "sandwich", "qk_norm": "head", "activation": "geglu"},
    "wide heads, yarn": {
        "head_width": 16,
        "positions": RotaryPositions(scaling=YarnScaling(factor=4, original_context_tokens=32)),
    },
    "ntk, tied": {"positions": RotaryPositions(scaling=NtkScaling(factor=2)), "head": "tied"},
}


def scored(attention: Attention, settings: DecoderSettings, x_TD: Tensor) -> Tensor:
    """Attention in float64, one query and one key at a time, as the papers write it."""
    T, K = x_TD.shape[0], settings.key_width
    maps = (attention.query, attention.key, attention.value)
    query, key, value = ((x_TD @ each.weight.double().T).unflatten(-1, (-1, K)) for each in maps)
    exponent = torch.arange(0, settings.width, 2, dtype=torch.float64) / settings.width
    outputs = torch.zeros(T, settings.heads, K, dtype=torch.float64)
    for head in range(settings.heads):
        shared = head // (settings.heads // settings.kv_heads)
        for t in range(T):
            scores = []
            for s in range(t + 1):
                if settings.positions.kind == "alibi":
                    slope = 2 ** (-8 * (head + 1) / settings.heads)
                    score = query[t, head] @ key[s, shared] / math.sqrt(K) - slope * (t - s)
                else:
                    distance = attention.distance
                    assert distance is not None
                    angles = (t - s) / 10000**exponent
                    sinusoid = torch.cat([angles.sin(), angles.cos()])
                    told = distance.map.weight.double().unflatten(0, (settings.heads, K))[head] @ sinusoid
                    content, position = (each.double()[head] for each in (distance.content, distance.position))
                    by_content = (query[t, head] + content) @ key[s, shared]
                    score = (by_content + (query[t, head] + position) @ told) / math.sqrt(K)
                scores.append(score)
            outputs[t, head] = torch.stack(scores).softmax(0) @ value[: t + 1, shared]
    return outputs.flatten(1) @ attention.output.weight.double().T


@pytest.mark.parametrize("kind", ["alibi", "relative"])
def test_scores_by_distance_are_those_of_the_formula(kind: str) -> None:
    decoder = small_decoder(**AXES[kind])
    attention = decoder.layers[0].get_submodule("attention")
    assert isinstance(attention, Attention)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    x_BTD = torch.randn(1, 11, 32, generator=generator)
    place = decoder._place(torch.arange(11).unsqueeze(0), None, None, torch.float32)
    expected = scored(attention, decoder.settings, x_BTD[0].double())
    torch.testing.assert_close(attention(x_BTD, place, None)[0].double(), expected, atol=1e-5, rtol=1e-5)


def test_slopes_for_other_numbers_than_powers_of_two_are_those_of_the_authors() -> None:
    assert alibi_slopes(4, torch.device("cpu")).tolist() == [2**-2, 2**-4, 2**-6, 2**-8]
    assert alibi_slopes(6, torch.device("cpu")).tolist() == [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]


def test_a_window_hides_what_lies_before_it() -> None:
    decoder = small_decoder(window_tokens=5, layers=1)
    tokens_BT, _ = recollections(1, 30)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 10] = (changed_BT[:, 10] + 1) % VOCABULARY
    same_T = (decoder(tokens_BT) - decoder(changed_BT)).abs().amax(-1)[0] < 1e-6
    assert same_T.tolist() == [not 10 <= position < 15 for position in range(30)]


@pytest.mark.parametrize("axis", AXES)
def test_generation_continues_as_the_whole_sequence_would(axis: str) -> None:
    decoder = trained_decoder(**AXES[axis]) if axis in ("relative", "alibi") else small_decoder(**AXES[axis])
    prompt = recollections(1, 12, seed=5)[0][0].tolist()
    said = list(generate(decoder, prompt, sampling=Sampling(max_tokens=12, temperature=0), stop=frozenset(), seed=0))
    with torch.no_grad():
        logits_BTV = decoder(torch.tensor([prompt + said]))
    assert logits_BTV[0, len(prompt) - 1 : -1].argmax(-1).tolist() == said


@pytest.mark.parametrize("axis", AXES)
def test_parameters_and_operations_of_every_axis_are_counted(axis: str) -> None:
    decoder = small_decoder(**AXES[axis])
    count = parameters(decoder.settings, VOCABULARY)
    assert sum(each.numel() for each in decoder.parameters()) == count.total
    matrices = sum(
        each.numel()
        for name, each in decoder.named_parameters()
        if each.dim() == 2 and "embedding" not in name and not name.endswith(("content", "position"))
    )
    if decoder.settings.head == "tied":
        matrices += decoder.embedding.weight.numel()
    T = 40
    seen = sum(min(position + 1, decoder.settings.window_tokens or T) for position in range(T)) / T
    products = 3 if decoder.settings.positions.kind == "relative" else 2
    attention = 6 * decoder.settings.layers * decoder.settings.query_width * products * seen
    assert flops_per_token(decoder.settings, VOCABULARY, T) == pytest.approx(6 * matrices + attention, rel=1e-3)


@pytest.mark.parametrize("axis", AXES)
def test_bf16_stays_near_fp32_on_every_axis(axis: str) -> None:
    decoder = small_decoder(**AXES[axis])
    batch = recollections(3, 40, seed=2)
    exact = decoder.loss(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = decoder.loss(*batch)
    rounded.backward()
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.0, rtol=0.02)
    assert all(each.grad is not None and each.grad.isfinite().all() for each in decoder.parameters())


def test_settings_that_have_no_sum_to_normalise_are_refused() -> None:
    with pytest.raises(ValueError, match="no sum to normalise"):
        small_settings(block="parallel", norm_placement="post")
