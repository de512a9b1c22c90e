"""Decoders of other kinds, trained for a moment: named and blind, nothing is told that is not so."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.structure.roles import Role
from fromscratch.anatomy.tensors import checkpoint_of_arrays
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings, LearnedPositions
from tests.anatomy.structure.planted import shuffled
from tests.anatomy.trained import PAGES

Arrays = dict[str, NDArray[np.float32]]

SHAPE = {"layers": 4, "width": 64, "heads": 4, "kv_heads": 4, "ffn_width": 160, "context_tokens": 48}
GPT2 = {"biases": "all", "activation": "gelu", "norm": "layer", "positions": LearnedPositions(), "head": "tied"}
KINDS = {
    "GPT-2": (GPT2, ["multi-head, biases", "plain", "LayerNorm, pre", "learned"]),
    "Qwen 2": (
        {"kv_heads": 2, "biases": "query_key_value"},
        ["grouped-query, biases of queries, keys and values", "gated", "RMSNorm, pre", "rotary"],
    ),
    "Qwen 3": (
        {"kv_heads": 2, "qk_norm": "head"},
        ["grouped-query, no biases, queries and keys normalised", "gated", "RMSNorm, pre", "rotary"],
    ),
    "sandwich": ({"norm_placement": "sandwich"}, ["multi-head, no biases", "gated", "RMSNorm, sandwich", "rotary"]),
    "parallel": (
        {"block": "parallel", "head": "tied"},
        ["multi-head, no biases", "gated", "RMSNorm, pre, parallel blocks", "rotary"],
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest) -> tuple[DecoderSettings, Arrays, list[str]]:
    changes, axes = KINDS[request.param]
    settings = DecoderSettings.model_validate({**SHAPE, **changes})
    decoder = Decoder(settings, 256)
    initialise(decoder, seed=1)
    text = torch.tensor(list((PAGES / "text" / "en" / "tempest_gut.txt").read_bytes()))
    draw, update = torch.Generator().manual_seed(0), torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(120):
        window = text[torch.randint(0, len(text) - 49, (8, 1), generator=draw) + torch.arange(49)]
        decoder.loss(window[:, :-1], window[:, 1:]).backward()  # type: ignore[no-untyped-call]
        update.step()
        update.zero_grad()
    return settings, {name: each.detach().numpy() for name, each in decoder.named_parameters()}, axes


def test_axes_and_sizes_are_those_of_the_settings(trained: tuple[DecoderSettings, Arrays, list[str]]) -> None:
    settings, arrays, axes = trained
    config = {"settings": settings.model_dump(mode="json")}
    found = find_structure(checkpoint_of_arrays(arrays, config))
    assert [found.axes[axis].value for axis in ("attention", "activation", "normalisation", "positions")] == axes
    assert (found.layers, found.width, found.mlp_width, found.vocabulary) == (4, 64, 160, 256)
    assert (found.query_heads, found.kv_heads) == (settings.heads, settings.kv_heads)
    assert found.tied == (settings.head == "tied")
    assert Role.UNKNOWN not in {part.role for part in found.parts.values()}


def test_blind_nothing_is_told_that_is_not_so(trained: tuple[DecoderSettings, Arrays, list[str]]) -> None:
    settings, arrays, axes = trained
    opaque, truth = shuffled(arrays, seed=7)
    found = find_structure(checkpoint_of_arrays(opaque), blind=True)
    known = find_structure(checkpoint_of_arrays(arrays)).parts
    wrong = {
        truth[name]: part
        for name, part in found.parts.items()
        if part.role not in (Role.UNKNOWN, known[truth[name]].role)
        or part.layer not in (None, known[truth[name]].layer)
    }
    assert not wrong
    assert (found.layers, found.width, found.mlp_width, found.vocabulary) == (4, 64, 160, 256)
    assert found.query_heads in (None, settings.heads)
    told = [found.axes[axis].value for axis in ("attention", "activation", "positions")]
    assert all("unknown" in here or here == there for here, there in zip(told, [*axes[:2], axes[3]], strict=True))
