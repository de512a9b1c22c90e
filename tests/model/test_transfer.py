"""muP: the tables of its papers, multipliers folded into weights, and activations that do not grow with the width.

B batch · T position · D model width
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.initialisation import FanIn, MuP, Normal, Parametrisation, Standard
from fromscratch.model.settings import LearnedPositions, RelativePositions
from fromscratch.model.spread import initial_std
from fromscratch.model.transfer import learning_rate_factor
from fromscratch.optim.build import build_optimizer
from fromscratch.optim.settings import AdamW, Muon, Optimizer, Selection

from .conftest import VOCABULARY, peer_of, recollections, small_decoder, small_settings

HIDDEN = [f"layers.0.attention.{name}.weight" for name in ("query", "key", "value", "output")]
HIDDEN += [f"layers.0.mlp.{name}.weight" for name in ("gate", "up", "down")]
VECTORS = ["embedding.weight", "layers.0.attention_norm.weight", "layers.0.attention.key.bias", "final_norm.weight"]


def wide(**changes: Any) -> Any:
    """Four times the base width."""
    return small_settings(**{"width": 64, "ffn_width": 192, "parametrisation": MuP(base_width=16), **changes})


def test_initial_spread_and_adamw_rates_are_those_of_table_3() -> None:
    settings = wide(init=Normal(std=0.1, embedding_std=0.5))
    rate = partial(learning_rate_factor, settings, moves="entries")
    for name in HIDDEN:  # variance 1 / inputs, so a quarter of it; rate 1 / inputs
        assert (initial_std(settings, name), rate(name)) == (pytest.approx(0.1 / 2), 0.25), name
    assert (initial_std(settings, "head.weight"), rate("head.weight")) == (pytest.approx(0.1 / 4), 0.25)
    assert initial_std(settings, "embedding.weight") == 0.5
    assert [rate(name) for name in VECTORS] == [1.0] * 4


def test_an_initialisation_that_follows_the_width_is_scaled_once() -> None:
    for name in HIDDEN:
        assert initial_std(wide(init=FanIn()), name) == pytest.approx(
            initial_std(wide(init=FanIn(), parametrisation=Standard()), name)
        )
    assert initial_std(wide(init=FanIn()), "head.weight") == pytest.approx(64**-0.5 / 2)


def test_muon_follows_the_spectral_condition() -> None:
    for update_scale, expected in (("spectral", 1.0), ("adamw", 0.5)):
        moves = Muon(update_scale=update_scale).moves
        assert [learning_rate_factor(wide(), name, moves) for name in HIDDEN] == [expected] * 7, update_scale


def test_scores_over_the_width_of_heads_are_folded_into_what_makes_queries() -> None:
    mup = MuP(base_width=16, base_head_width=4)  # heads are 16 wide here
    settings = wide(parametrisation=mup, biases="query_key_value", init=Normal(std=0.1))
    assert initial_std(settings, HIDDEN[0]) == pytest.approx(0.1 / 2 / 2)
    rates = {
        name: learning_rate_factor(settings, name, "entries") for name in (*HIDDEN[:2], "layers.0.attention.query.bias")
    }
    assert list(rates.values()) == [0.25 / 2, 0.25, 1 / 2]
    normed = small_decoder(width=64, parametrisation=mup, qk_norm="head")
    assert torch.equal(normed.get_parameter("layers.0.attention.query_norm.weight"), torch.full((16,), 0.5))
    assert learning_rate_factor(normed.settings, HIDDEN[0], "entries") == 0.25


def test_at_the_base_width_nothing_changes() -> None:
    mup = small_decoder(parametrisation=MuP(base_width=32, base_head_width=8), head="tied")
    plain = small_decoder(head="tied")
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, mup.get_parameter(name)), name
        assert learning_rate_factor(mup.settings, name, "entries") == 1.0, name


@pytest.mark.parametrize(
    "optimizer",
    [AdamW(peak_learning_rate=0.03, epsilon=1e-15, weight_decay=0.5), Muon(rest=AdamW(epsilon=1e-15))],
    ids=["adamw", "muon"],
)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qk_norm": "head"},
        {"norm_placement": "post", "norm": "layer"},
        {"biases": "all", "positions": LearnedPositions()},
    ],
    ids=["plain", "normed queries", "post", "biases"],
)
def test_folded_multipliers_train_as_those_of_the_paper_do(changes: dict[str, Any], optimizer: Optimizer) -> None:
    """Table 8 for a tied head and scores over the head width, once as multipliers and once folded (lemma J.1)."""
    mup = MuP(base_width=8, base_head_width=4)
    folded = small_decoder(head="tied", parametrisation=mup, **changes)
    paper = small_decoder(head="tied", parametrisation=MuP(base_width=8), **changes)
    last_norm = paper.final_norm if paper.final_norm is not None else paper.layers[-1].mlp_norm
    last_norm.weight.data.fill_(1.0)
    last_norm.register_forward_hook(lambda _module, _inputs, output: output / 4)
    for layer in paper.layers:
        made = layer.attention.query if layer.attention.query_norm is None else layer.attention.query_norm
        made.register_forward_hook(lambda _module, _inputs, output: output * 0.5**0.5)
    losses = []
    for decoder in (folded, paper):
        usual = partial(learning_rate_factor, decoder.settings)
        untouched = {id(each) for each in last_norm.parameters()}  # the hook does what the folded norm carries
        factors = {name: id(each) in untouched for name, each in decoder.named_parameters()}
        updater = build_optimizer(
            optimizer,
            decoder.named_parameters(),
            lambda name, moves, plain=factors, usual=usual: 1.0 if plain[name] else usual(name, moves),
        )
        losses.append([])
        for step in range(4):
            loss = decoder.loss(*recollections(4, 32, seed=step))
            loss.backward()
            updater.step(1.0)
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=2e-5 if optimizer.kind == "adamw" else 2e-3)  # Muon rounds to bf16
    assert max(losses[0]) - min(losses[0]) > 0.005


def test_a_trained_wide_model_is_a_plain_llama() -> None:
    decoder = small_decoder(width=64, head="tied", parametrisation=MuP(base_width=16, base_head_width=4))
    assert not decoder.settings.beyond_llama
    factor = partial(learning_rate_factor, decoder.settings)
    updater = build_optimizer(AdamW(), decoder.named_parameters(), factor)
    for step in range(3):
        decoder.loss(*recollections(4, 32, seed=step)).backward()
        updater.step(1.0)
    tokens_BT, _ = recollections(2, 32)
    with torch.no_grad():
        torch.testing.assert_close(decoder(tokens_BT), peer_of(decoder)(tokens_BT).logits, rtol=1e-5, atol=1e-5)


def test_muon_is_refused_what_does_not_grow_on_both_sides() -> None:
    decoder = small_decoder(parametrisation=MuP(base_width=16), positions=RelativePositions())
    everything = Muon(matrices=Selection(dimensions=2, except_names=("*.content", "*.position")))
    with pytest.raises(FromScratchError, match=r"muP is not defined for 'embedding\.weight' under Muon") as refused:
        build_optimizer(everything, decoder.named_parameters(), partial(learning_rate_factor, decoder.settings))
    assert refused.value.hint == "leave it to AdamW by `matrices.except_names`, which has to match 'embedding.weight'"
    plain = small_decoder(positions=RelativePositions())
    build_optimizer(everything, plain.named_parameters(), partial(learning_rate_factor, plain.settings))


def sizes_after(
    steps: int, width: int, parametrisation: Parametrisation, optimizer: Optimizer, **changes: Any
) -> dict[str, float]:
    """The root mean square of each activation after so many steps."""
    shape = {"width": width, "ffn_width": 3 * width, "parametrisation": parametrisation, "init": FanIn(zero=("head",))}
    decoder = Decoder(small_settings(**{**shape, **changes}), VOCABULARY)
    initialise(decoder, 0)
    factor = partial(learning_rate_factor, decoder.settings)
    updater = build_optimizer(optimizer, decoder.named_parameters(), factor)
    for step in range(steps):
        decoder.loss(*recollections(4, 32, seed=step)).backward()
        updater.step(1.0)
    sizes: dict[str, float] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: sizes.update({name: output.square().mean().sqrt().item()})

    for number, layer in enumerate(decoder.layers):
        for name in ("attention", "mlp"):
            layer.get_submodule(name).register_forward_hook(note(f"{name} {number}"))
    with torch.no_grad():
        sizes["logits"] = decoder(recollections(4, 32)[0]).square().mean().sqrt().item()
    return sizes


@pytest.mark.parametrize(
    ("optimizer", "heads"),
    [
        (AdamW(peak_learning_rate=2e-2), "wider"),
        (AdamW(peak_learning_rate=2e-2), "more"),
        (Muon(peak_learning_rate=0.03, rest=AdamW(peak_learning_rate=2e-2)), "more"),
        (Muon(peak_learning_rate=0.03, update_scale="adamw", rest=AdamW(peak_learning_rate=2e-2)), "wider"),
    ],
    ids=["adamw, wider heads", "adamw, more heads", "muon, spectral", "muon, as large as adamw's"],
)
def test_activations_stay_as_large_when_the_width_grows_fourfold_and_without_mup_they_grow(
    optimizer: Optimizer, heads: str
) -> None:
    growth = {}
    for kind in ("muP", "standard"):
        sizes = []
        for width in (32, 128):
            shape = {"heads": width // 8, "kv_heads": width // 8} if heads == "more" else {"heads": 4, "kv_heads": 4}
            mup = MuP(base_width=32, base_head_width=8)
            sizes.append(sizes_after(4, width, mup if kind == "muP" else Standard(), optimizer, **shape))
        growth[kind] = {name: sizes[1][name] / sizes[0][name] for name in sizes[0]}
    assert all(0.7 < each < 1.3 for each in growth["muP"].values()), growth["muP"]
    assert max(growth["standard"].values()) > 1.9, growth["standard"]
