"""The decoder agrees with `transformers`' Llama on the same weights, and keeps its own promises."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from fromscratch.model.arithmetic import parameters, training_bytes
from fromscratch.model.attention import causal_attention
from fromscratch.model.llama_names import tensor_names, to_llama_name
from fromscratch.model.settings import RotaryPositions
from fromscratch.model.tiling import BLOCKWISE_TOKENS, QUERIES_PER_BLOCK

from .conftest import VOCABULARY, peer_of, recollections, small_decoder, trained_decoder

FAMILIES: dict[str, dict[str, Any]] = {
    "grouped-query": {},
    "multi-head, tied": {"kv_heads": 4, "head": "tied"},
    "multi-query": {"kv_heads": 1, "positions": RotaryPositions(base=1e4)},
}


@pytest.mark.parametrize("changes", FAMILIES.values(), ids=FAMILIES)
def test_logits_and_gradients_equal_those_of_transformers_before_and_after_training(changes: dict[str, Any]) -> None:
    for stage in (small_decoder(**changes), trained_decoder(**changes)):
        peer = peer_of(stage)
        tokens_BT, targets_BT = recollections(3, 150, seed=99)
        logits_BTV = peer(tokens_BT).logits
        tolerance = 1e-5 * max(1.0, logits_BTV.abs().max().item())
        torch.testing.assert_close(stage(tokens_BT), logits_BTV, atol=tolerance, rtol=0)
        stage.zero_grad()
        stage.loss(tokens_BT, targets_BT).backward()
        torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten()).backward()
        theirs = dict(peer.named_parameters())
        for name, parameter in stage.named_parameters():
            expected = theirs[to_llama_name(name)].grad
            assert parameter.grad is not None and expected is not None
            difference = (parameter.grad - expected).norm() / expected.norm()
            assert difference < 1e-4, f"the gradient of {name} is off by {difference:.1e}"


def test_brief_training_makes_the_decoder_look_back() -> None:
    tokens_BT, targets_BT = recollections(8, 48, seed=99)
    before = small_decoder().loss(tokens_BT, targets_BT)
    assert trained_decoder().loss(tokens_BT, targets_BT) < before - 0.5


@pytest.mark.parametrize("T", [1, QUERIES_PER_BLOCK - 1, QUERIES_PER_BLOCK + 1, 2 * QUERIES_PER_BLOCK])
def test_attention_in_blocks_equals_attention_at_once(T: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, T, heads, 8, generator=generator, requires_grad=True) for heads in (6, 2, 2)]
    blocks_BTHK = causal_attention(*inputs)
    gradients = torch.autograd.grad(blocks_BTHK.square().sum(), inputs)
    monkeypatch.setattr("fromscratch.model.attention.BLOCKWISE_TOKENS", 0)
    whole_BTHK = causal_attention(*inputs)
    assert BLOCKWISE_TOKENS >= 2 * QUERIES_PER_BLOCK, "the first call went through blocks"
    torch.testing.assert_close(blocks_BTHK, whole_BTHK)
    torch.testing.assert_close(gradients, torch.autograd.grad(whole_BTHK.square().sum(), inputs), atol=1e-5, rtol=1e-4)


def test_no_position_sees_a_later_one() -> None:
    decoder = small_decoder()
    tokens_BT, _ = recollections(1, 40)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 25:] = (changed_BT[:, 25:] + 1) % VOCABULARY
    before_BTV, after_BTV = decoder(tokens_BT), decoder(changed_BT)
    torch.testing.assert_close(before_BTV[:, :25], after_BTV[:, :25])
    assert not torch.allclose(before_BTV[:, 25:], after_BTV[:, 25:])


def test_autocast_keeps_statistics_and_loss_in_fp32_and_stays_near_fp32() -> None:
    decoder = trained_decoder()
    batch = recollections(4, 60, seed=7)
    exact = decoder.loss(*batch)
    kept: dict[str, torch.dtype] = {}
    for name in ("layers.1", "layers.1.attention_norm", "layers.1.attention.query", "layers.1.mlp"):
        decoder.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: kept.update({name: output.dtype})
        )
    with torch.autocast("cpu", torch.bfloat16):
        rounded = decoder.loss(*batch)
    rounded.backward()
    assert kept == {
        "layers.1": torch.float32,  # the residual stream
        "layers.1.attention_norm": torch.bfloat16,
        "layers.1.attention.query": torch.bfloat16,
        "layers.1.mlp": torch.bfloat16,
    }
    assert rounded.dtype == torch.float32
    assert all(each.grad is not None and each.grad.dtype == torch.float32 for each in decoder.parameters())
    torch.testing.assert_close(rounded, exact, atol=0.0, rtol=0.01)


def test_the_statistics_of_the_norm_survive_autocast() -> None:
    decoder = small_decoder()
    stream_BTD = torch.full((1, 1, 32), 300.0)
    stream_BTD[..., 0] = 301.0  # equal to 300 in bf16
    with torch.autocast("cpu", torch.bfloat16):
        normed_BTD = decoder.final_norm(stream_BTD)
    torch.testing.assert_close(normed_BTD.float(), torch.ones(1, 1, 32), atol=0.01, rtol=0)
    assert normed_BTD[0, 0, 0] >= normed_BTD[0, 0, 1]


@pytest.mark.parametrize("head", ["tied", "untied"])
def test_parameters_are_those_that_were_counted_and_named(head: str) -> None:
    decoder = small_decoder(head=head)
    assert [name for name, _ in decoder.named_parameters()] == tensor_names(decoder.settings)
    count = parameters(decoder.settings, VOCABULARY)
    assert sum(each.numel() for each in decoder.parameters()) == count.total
    attention = sum(each.numel() for name, each in decoder.named_parameters() if ".attention." in name)
    assert attention == count.attention


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tokens", [64, 300, BLOCKWISE_TOKENS + 1])
def test_what_autograd_keeps_is_what_was_reckoned(precision: Literal["fp32", "bf16"], tokens: int) -> None:
    decoder = small_decoder(layers=3, width=64, ffn_width=160)
    parts = {each.untyped_storage().data_ptr() for each in decoder.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(saved: Tensor) -> Tensor:
        is_copy_of_weight = saved.dim() == 2 and saved.shape[0] <= 160 and saved.dtype == torch.bfloat16
        if saved.untyped_storage().data_ptr() not in parts and not is_copy_of_weight:
            kept[saved.untyped_storage().data_ptr()] = saved
        return saved

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        decoder.loss(*recollections(4, tokens))
    found = sum(each.untyped_storage().nbytes() for each in kept.values())
    found -= 4 * decoder.head_weight.numel()  # the head's gradient, which the loss makes early
    reckoned = training_bytes(
        decoder.settings, VOCABULARY, sequences=4, sequence_tokens=tokens, precision=precision
    ).activations
    assert reckoned == pytest.approx(found, rel=0.03)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's compiler does it
def test_the_loss_compiles_without_a_break_and_stays_the_same() -> None:
    decoder = small_decoder(layers=1)
    batch = recollections(2, QUERIES_PER_BLOCK + 3)
    results = []
    for loss in (decoder.loss, torch.compile(decoder.loss, backend="aot_eager", fullgraph=True)):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(*batch)
        results.append((value, torch.autograd.grad(value, list(decoder.parameters()))))
    torch.testing.assert_close(results[0], results[1])
