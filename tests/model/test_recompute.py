"""Recomputation: the same gradients to the bit, from less that is kept."""

import gc
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from fromscratch.model.arithmetic import training_bytes
from fromscratch.model.decoder import Decoder
from fromscratch.model.settings import AlibiPositions, Recompute, RelativePositions
from fromscratch.model.tiling import BLOCKWISE_TOKENS

from .conftest import VOCABULARY, recollections, small_decoder

AXES: dict[str, dict[str, Any]] = {
    "rotary": {},
    "post-norms, a sliding window, biases": {"norm_placement": "post", "window_tokens": 20, "biases": "all"},
    "alibi, sandwich": {"positions": AlibiPositions(), "norm_placement": "sandwich", "norm": "layer"},
    "relative, qk-norm": {"positions": RelativePositions(), "qk_norm": "head"},
}
MODES: tuple[Recompute, ...] = ("selective", "full")


def asked_for(decoder: Decoder, recompute: Recompute) -> Decoder:
    for layer in decoder.layers:
        layer.recompute = recompute  # type: ignore[assignment]
    return decoder


def loss_and_gradients(decoder: Decoder, precision: str = "bf16", compiled: bool = False) -> list[Tensor]:
    loss = torch.compile(decoder.loss, backend="aot_eager", fullgraph=True) if compiled else decoder.loss
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        value = loss(*recollections(2, 148))
    return [value, *torch.autograd.grad(value, list(decoder.parameters()))]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("recompute", MODES)
@pytest.mark.parametrize("document_end", [None, VOCABULARY - 1], ids=["windows", "documents"])
@pytest.mark.parametrize("changes", AXES.values(), ids=AXES)
def test_gradients_are_the_same_to_the_bit(
    changes: dict[str, Any], document_end: int | None, recompute: Recompute
) -> None:
    decoder = small_decoder(**changes)
    decoder.document_end = document_end
    plain = loss_and_gradients(decoder)
    assert_same(loss_and_gradients(asked_for(decoder, recompute)), plain)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tokens", [400, BLOCKWISE_TOKENS + 1])
def test_less_is_held_after_the_forward_pass_and_as_much_as_was_reckoned(tokens: int, precision: Any) -> None:
    held, reckoned = {}, {}
    for recompute in ("none", *MODES):
        decoder = asked_for(small_decoder(layers=4, width=64, ffn_width=160, context_tokens=tokens), recompute)
        gc.collect()  # what earlier tests left would count as given back
        with (
            profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled,
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
        ):
            loss = decoder.loss(*recollections(2, tokens))
        held[recompute] = sum(each.self_cpu_memory_usage for each in profiled.key_averages())
        loss.backward()
        shapes = (decoder.settings, decoder.settings.model_copy(update={"layers": 3}))
        sizes = {"sequences": 2, "sequence_tokens": tokens, "precision": precision, "recompute": recompute}
        whole, without_a_layer = (training_bytes(each, VOCABULARY, **sizes).activations for each in shapes)
        reckoned[recompute] = 4 * (whole - without_a_layer)
    for recompute in MODES:
        saved = held["none"] - held[recompute]
        assert saved == pytest.approx(reckoned["none"] - reckoned[recompute], rel=0.15)
    assert held["full"] < held["selective"] < 0.6 * held["none"]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's compiler does it
@pytest.mark.parametrize("recompute", MODES)
def test_it_compiles_without_a_break(recompute: Recompute) -> None:
    decoder = small_decoder(layers=1)
    plain = loss_and_gradients(decoder)
    compiled = loss_and_gradients(asked_for(decoder, recompute), compiled=True)
    torch.testing.assert_close(compiled, plain)


def test_generation_and_validation_compute_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fromscratch.model.recompute.checkpoint", lambda *_: pytest.fail("kept something"))
    with torch.no_grad():
        asked_for(small_decoder(), "full").loss(*recollections(1, 8))
