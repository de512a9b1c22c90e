"""Initial weights: of what they are a function, and the formulas of the initialisations that are published."""

import math
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.initialisation import DepthScaled, FanIn, Initialisation, Normal, SmallInit, Torchtitan
from fromscratch.model.presets import PRESETS
from fromscratch.model.settings import DecoderSettings, LearnedPositions
from fromscratch.model.spread import initial_std

from .conftest import VOCABULARY, peer_of, small_decoder, small_settings

WIDTH, INNER, LAYERS = 128, 384, 3
TABLE, QUERY, WRITE, GATE, UP, DOWN, HEAD = (
    "embedding.weight",
    "layers.1.attention.query.weight",
    "layers.1.attention.output.weight",
    "layers.1.mlp.gate.weight",
    "layers.1.mlp.up.weight",
    "layers.1.mlp.down.weight",
    "head.weight",
)
# Standard deviations by parameter; the layer is the second of three, and every value is written out by hand.
PUBLISHED: dict[str, tuple[Initialisation, dict[str, float]]] = {
    "GPT-2": (
        DepthScaled(),
        {TABLE: 0.02, QUERY: 0.02, WRITE: 0.02 / 6**0.5, UP: 0.02, DOWN: 0.02 / 6**0.5, HEAD: 0.02},
    ),
    "by layer": (DepthScaled(depth="layer"), {TABLE: 0.02, QUERY: 0.02, WRITE: 0.01, UP: 0.02, DOWN: 0.01, HEAD: 0.02}),
    "transformers' Llama": (Normal(), dict.fromkeys((TABLE, QUERY, WRITE, GATE, UP, DOWN, HEAD), 0.02)),
    "GPT-NeoX-20B": (
        SmallInit(),
        {
            **dict.fromkeys((TABLE, QUERY, GATE, UP, HEAD), math.sqrt(2 / (5 * WIDTH))),
            **dict.fromkeys((WRITE, DOWN), 2 / 3 / math.sqrt(WIDTH)),
        },
    ),
    "PaLM": (FanIn(), {TABLE: 1.0, **dict.fromkeys((QUERY, WRITE, GATE, UP, HEAD), 128**-0.5), DOWN: 384**-0.5}),
    "OLMo 1": (
        FanIn(depth="layer", embedding_std=128**-0.5, truncate_at=3),
        {TABLE: 128**-0.5, QUERY: 128**-0.5, WRITE: (2 * 128 * 2) ** -0.5, UP: 128**-0.5, DOWN: (2 * 384 * 2) ** -0.5},
    ),
    "torchtitan": (
        Torchtitan(),
        {TABLE: 1.0, QUERY: 0.02, WRITE: 0.01, GATE: 0.02, UP: 0.01, DOWN: 0.01, HEAD: 128**-0.5},
    ),
}


def decoder_with(init: Initialisation, **changes: Any) -> Decoder:
    return small_decoder(**{"layers": LAYERS, "width": WIDTH, "ffn_width": INNER, "init": init, **changes})


def test_initial_weights_depend_on_seed_and_name_alone() -> None:
    deep, shallow = small_decoder(layers=3), small_decoder(layers=2)
    torch.manual_seed(1234)
    again = small_decoder(layers=3)
    for name, parameter in deep.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), f"{name} depends on the global generator"
    query = "layers.1.attention.query.weight"
    assert torch.equal(deep.get_parameter(query), shallow.get_parameter(query)), "depends on what else is created"
    assert not torch.equal(deep.get_parameter(query), deep.get_parameter("layers.0.attention.query.weight"))
    other_seed = Decoder(small_settings(layers=3), VOCABULARY)
    initialise(other_seed, 1)
    assert not torch.equal(deep.get_parameter(query), other_seed.get_parameter(query))


def test_initial_weights_do_not_depend_on_the_order_of_creation() -> None:
    plain = small_decoder()
    turned = Decoder(small_settings(), VOCABULARY)
    turned._modules = dict(reversed(turned._modules.items()))
    for layer in turned.layers:
        layer._modules = dict(reversed(layer._modules.items()))
    assert [name for name, _ in turned.named_parameters()] != [name for name, _ in plain.named_parameters()]
    initialise(turned, 0)
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, turned.get_parameter(name))


def test_initial_weights_have_the_spread_that_the_settings_ask_for() -> None:
    decoder = small_decoder(width=128, ffn_width=256, init=DepthScaled(std=0.05))
    for name, parameter in decoder.named_parameters():
        if name.endswith("norm.weight"):
            assert torch.equal(parameter, torch.ones_like(parameter))
            continue
        expected = 0.05 / 2 if name.endswith(("output.weight", "down.weight")) else 0.05  # √(2 · 2 layers) = 2
        assert parameter.std().item() == pytest.approx(expected, rel=0.03), name


def test_the_embedding_may_start_at_a_scale_of_its_own() -> None:
    decoder = small_decoder(width=128, ffn_width=256, init=DepthScaled(embedding_std=1.0))
    assert 0.95 < decoder.embedding.weight.std() < 1.05
    assert decoder.head_weight.std() < 0.1


@pytest.mark.parametrize(("init", "expected"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_initialisations_have_the_spread_of_their_papers(
    init: Initialisation, expected: dict[str, float]
) -> None:
    decoder = decoder_with(init)
    cut = 0.98658 if init.truncate_at else 1.0  # the deviation of a normal one that ends at 3 of its deviations
    for name, std in expected.items():
        assert initial_std(decoder.settings, name) == pytest.approx(std), name
        here = 0.98658 if (init.kind, name) == ("torchtitan", HEAD) else cut
        assert decoder.get_parameter(name).std().item() == pytest.approx(std * here, rel=0.03), name


def test_the_default_draws_what_it_always_did() -> None:
    drawn = small_decoder().get_parameter("layers.1.mlp.down.weight")[0, :3]
    expected = torch.tensor([0.00044740597, -0.0104965307, -0.0064472151])
    torch.testing.assert_close(drawn, expected, rtol=1e-5, atol=0)


def test_transformers_begins_llama_and_gpt2_with_the_same_spread() -> None:
    decoder = decoder_with(Normal())
    torch.manual_seed(0)
    fresh = LlamaForCausalLM(peer_of(decoder).config)
    for theirs, ours in (("model.layers.1.mlp.down_proj", DOWN), ("lm_head", HEAD), ("model.embed_tokens", TABLE)):
        spread = fresh.get_submodule(theirs).weight.std().item()
        assert spread == pytest.approx(initial_std(decoder.settings, ours), rel=0.03), ours
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=LAYERS, n_embd=WIDTH, n_head=4, vocab_size=VOCABULARY))
    settings = small_settings(layers=LAYERS, width=WIDTH, activation="gelu_tanh", positions=LearnedPositions())
    for theirs, ours in (("h.1.mlp.c_proj", DOWN), ("h.1.attn.c_proj", WRITE), ("h.1.mlp.c_fc", UP)):
        spread = gpt2.transformer.get_submodule(theirs).weight.std().item()
        assert spread == pytest.approx(initial_std(settings, ours), rel=0.03), ours


def test_embeddings_have_a_spread_of_their_own_where_it_is_said() -> None:
    init = Normal(embedding_std=1.0, position_embedding_std=0.01)
    decoder = decoder_with(init, positions=LearnedPositions())
    assert decoder.embedding.weight.std().item() == pytest.approx(1.0, rel=0.03)
    assert decoder.get_parameter("position_embedding.weight").std().item() == pytest.approx(0.01, rel=0.03)
    assert decoder.head_weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert initial_std(PRESETS["gpt2"].settings, "position_embedding.weight") == 0.01


def test_a_tied_embedding_begins_as_a_head_where_kinds_would_give_it_1() -> None:
    for init in (FanIn(), Torchtitan()):
        assert initial_std(decoder_with(init, head="tied").settings, TABLE) == pytest.approx(128**-0.5)


def test_truncation_ends_the_values_and_leaves_the_seed_its_say() -> None:
    decoder = decoder_with(Normal(truncate_at=2))
    up = decoder.get_parameter(UP)
    assert 0.039 < up.abs().max() <= 0.04
    other = Decoder(decoder.settings, VOCABULARY)
    initialise(other, 1)
    assert not torch.equal(up, other.get_parameter(UP))


@pytest.mark.parametrize(
    ("zero", "names"),
    [("head", {HEAD}), ("query", {QUERY}), ("outputs", {WRITE, DOWN})],
    ids=["head", "query", "outputs"],
)
def test_what_is_to_begin_at_zero_does_and_nothing_else(zero: str, names: set[str]) -> None:
    decoder, plain = decoder_with(Normal(zero=(zero,))), decoder_with(Normal())
    for name in (TABLE, QUERY, WRITE, GATE, UP, DOWN, HEAD):
        begun = decoder.get_parameter(name)
        assert torch.equal(begun, torch.zeros_like(begun) if name in names else plain.get_parameter(name)), name


def test_a_tied_head_cannot_begin_at_zero() -> None:
    data = {"layers": 1, "width": 8, "heads": 1, "kv_heads": 1, "ffn_width": 8, "context_tokens": 8, "head": "tied"}
    with pytest.raises(FromScratchError) as refused:
        validate_settings(DecoderSettings, {**data, "init": {"kind": "normal", "zero": ["head"]}}, "recipe.toml")
    assert refused.value.message == 'recipe.toml: `head` = "tied" has no head of its own to begin at 0'
