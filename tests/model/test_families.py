"""Every family that `transformers` has: the same logits, gradients and course of training from the same weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from fromscratch.model.decoder import Decoder
from fromscratch.model.settings import (
    AlibiPositions,
    DecoderSettings,
    LearnedPositions,
    Positions,
    RotaryPositions,
)
from fromscratch.model.transformers_config import SETTINGS_OF
from fromscratch.model.transformers_folder import LAYOUTS

Weights = dict[str, Tensor]
VOCABULARY = 96
LAYERS, WIDTH, HEADS, FFN, CONTEXT = 2, 32, 4, 56, 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": FFN,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": None,
    "attn_implementation": "eager",
}
GPT_SIZES = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT}
DROPLESS = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}


def ours(positions: Positions, **axes: Any) -> DecoderSettings:
    sizes = {"layers": LAYERS, "width": WIDTH, "heads": HEADS, "ffn_width": FFN, "context_tokens": CONTEXT}
    return DecoderSettings(**{**sizes, "kv_heads": HEADS, "positions": positions, **axes})


def renamed(outside: dict[str, str], inside: dict[str, str], layer: str) -> Callable[[Weights], Weights]:
    """Names by tables, of which those inside a layer stand for its weight and its bias."""

    def rename(weights: Weights) -> Weights:
        found = {mine: weights[theirs] for theirs, mine in outside.items() if theirs in weights}
        for index in range(LAYERS):
            for theirs, mine in inside.items():
                for part in ("weight", "bias"):
                    if (name := f"{layer}.{index}.{theirs}.{part}") in weights:
                        found[f"layers.{index}.{mine}.{part}"] = weights[name]
        return found

    return rename


def split(weights: Weights, fused: str) -> Weights:
    """A matrix that makes queries, keys and values one after the other, as three."""
    parts = {name: each for name, each in weights.items() if f".{fused}." in name}
    for name, each in parts.items():
        del weights[name]
        for part, third in zip(("query", "key", "value"), each.chunk(3), strict=True):
            weights[name.replace(fused, part)] = third
    return weights


def neox(weights: Weights) -> Weights:
    """GPT-NeoX has the queries, keys and values of one head after those of the head before."""
    table = {
        "input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm",
        "attention.dense": "attention.output",
        "attention.query_key_value": "attention.fused", "mlp.dense_h_to_4h": "mlp.up", "mlp.dense_4h_to_h": "mlp.down",
    }  # fmt: skip
    outside = {
        "gpt_neox.embed_in.weight": "embedding.weight", "gpt_neox.final_layer_norm.weight": "final_norm.weight",
        "gpt_neox.final_layer_norm.bias": "final_norm.bias", "embed_out.weight": "head.weight",
        "lm_head.weight": "head.weight",
    }  # fmt: skip
    found = renamed(outside, table, "gpt_neox.layers")(weights)
    for name in [each for each in found if ".fused." in each]:
        fused = found[name].unflatten(0, (HEADS, 3, -1))
        found[name] = fused.transpose(0, 1).reshape(found[name].shape)
    return split(found, "fused")


def mpt(weights: Weights) -> Weights:
    table = {
        "norm_1": "attention_norm", "norm_2": "mlp_norm", "attn.Wqkv": "attention.fused",
        "attn.out_proj": "attention.output", "ffn.up_proj": "mlp.up", "ffn.down_proj": "mlp.down",
    }  # fmt: skip
    outside = {"transformer.wte.weight": "embedding.weight", "transformer.norm_f.weight": "final_norm.weight"}
    return split(renamed(outside, table, "transformer.blocks")(weights), "fused")


def opt(weights: Weights) -> Weights:
    table = {
        "self_attn_layer_norm": "attention_norm", "final_layer_norm": "mlp_norm", "fc1": "mlp.up", "fc2": "mlp.down",
        "self_attn.q_proj": "attention.query", "self_attn.k_proj": "attention.key",
        "self_attn.v_proj": "attention.value", "self_attn.out_proj": "attention.output",
    }  # fmt: skip
    outside = {
        "model.decoder.embed_tokens.weight": "embedding.weight",
        "model.decoder.final_layer_norm.weight": "final_norm.weight",
        "model.decoder.final_layer_norm.bias": "final_norm.bias",
    }
    found = renamed(outside, table, "model.decoder.layers")(weights)
    # Its positions begin at 2.
    return found | {"position_embedding.weight": weights["model.decoder.embed_positions.weight"][2:]}


def gpt1(weights: Weights) -> Weights:
    as_gpt2 = {
        name.replace("tokens_embed", "wte").replace("positions_embed", "wpe"): each for name, each in weights.items()
    }
    found = LAYOUTS["gpt2"].rename(as_gpt2)
    found.pop("head.weight", None)
    return found


def gemma2(weights: Weights) -> Weights:
    """Gemma's norms multiply by one more than their weight."""
    table = {
        "input_layernorm": "attention_norm", "post_attention_layernorm": "attention_output_norm",
        "pre_feedforward_layernorm": "mlp_norm", "post_feedforward_layernorm": "mlp_output_norm",
        "self_attn.q_proj": "attention.query", "self_attn.k_proj": "attention.key",
        "self_attn.v_proj": "attention.value", "self_attn.o_proj": "attention.output",
        "mlp.gate_proj": "mlp.gate", "mlp.up_proj": "mlp.up", "mlp.down_proj": "mlp.down",
    }  # fmt: skip
    outside = {
        "model.embed_tokens.weight": "embedding.weight",
        "model.norm.weight": "final_norm.weight",
        "lm_head.weight": "head.weight",
    }
    return renamed(outside, table, "model.layers")(weights)


def of_layout(kind: str, config: Any) -> tuple[DecoderSettings, Callable[[Weights], Weights]]:
    told = SETTINGS_OF[kind](config.to_dict())
    rename = LAYOUTS[kind].rename
    return DecoderSettings.model_validate(told), rename


def llama_with(**rope: Any) -> Any:
    return transformers.LlamaConfig(**SIZES, num_key_value_heads=2, rope_parameters={"rope_theta": 1e4, **rope})


GEMMA2 = transformers.Gemma2Config(
    **SIZES, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, attn_logit_softcapping=None,
    final_logit_softcapping=None, sliding_window=CONTEXT, tie_word_embeddings=False,
)  # fmt: skip
OPT = transformers.OPTConfig(
    **{**SIZES, "hidden_size": WIDTH}, ffn_dim=FFN, word_embed_proj_dim=WIDTH, dropout=0.0, attention_dropout=0.0
)
MPT = transformers.MptConfig(
    d_model=WIDTH, n_heads=HEADS, n_layers=LAYERS, expansion_ratio=4, max_seq_len=CONTEXT, vocab_size=VOCABULARY,
    layer_norm_epsilon=1e-5, attn_implementation="eager",
)  # fmt: skip
NEOX = transformers.GPTNeoXConfig(
    **SIZES, rotary_pct=1.0, use_parallel_residual=True, hidden_act="gelu", hidden_dropout=0.0, attention_dropout=0.0,
    rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0},
)  # fmt: skip
LAYERED = {"norm": "layer", "biases": "all"}

Family = tuple[Any, DecoderSettings, Callable[[Weights], Weights]]


def family(name: str) -> Family:
    configs: dict[str, tuple[str, Any]] = {
        "llama, grouped-query": ("llama", llama_with(rope_type="default")),
        "llama, linear scaling": ("llama", llama_with(rope_type="linear", factor=4.0)),
        "llama, yarn": ("llama", llama_with(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)),
        "llama 3.1": (
            "llama",
            llama_with(
                rope_type="llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=16,
            ),
        ),
        "mistral, sliding window": (
            "mistral",
            transformers.MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=9),
        ),
        "qwen2": ("qwen2", transformers.Qwen2Config(**SIZES, num_key_value_heads=2)),
        "qwen3": ("qwen3", transformers.Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16)),
        "gpt2": (
            "gpt2",
            transformers.GPT2Config(vocab_size=VOCABULARY, **GPT_SIZES, **DROPLESS, attn_implementation="eager"),
        ),
    }
    if name in configs:
        kind, config = configs[name]
        return (config, *of_layout(kind, config))
    return {
        "gpt": (
            transformers.OpenAIGPTConfig(vocab_size=VOCABULARY, **GPT_SIZES, **DROPLESS),
            ours(
                LearnedPositions(), **LAYERED, norm_placement="post", activation="gelu_tanh", ffn_width=128, head="tied"
            ),
            gpt1,
        ),
        "opt, relu": (OPT, ours(LearnedPositions(), **LAYERED, activation="relu", head="tied"), opt),
        "mpt, alibi": (
            MPT,
            ours(AlibiPositions(), norm="layer", activation="gelu", ffn_width=128, head="tied"),
            mpt,
        ),
        "gpt-neox, parallel": (NEOX, ours(RotaryPositions(), **LAYERED, activation="gelu", block="parallel"), neox),
        "gemma 2, sandwich": (
            GEMMA2,
            ours(RotaryPositions(), kv_heads=2, norm_epsilon=1e-6, norm_placement="sandwich", activation="geglu_tanh"),
            gemma2,
        ),
    }[name]


NAMES = [
    "llama, grouped-query", "llama, linear scaling", "llama, yarn", "llama 3.1", "mistral, sliding window", "qwen2",
    "qwen3", "gpt2", "gpt", "opt, relu", "mpt, alibi", "gpt-neox, parallel", "gemma 2, sandwich",
]  # fmt: skip


def pair(name: str) -> tuple[Decoder, torch.nn.Module, Callable[[Weights], Weights]]:
    """Our decoder and theirs with the same random weights, and how their gradients are called and turned by us."""
    config, settings, rename = family(name)
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # far from the initial ones and zeros, which hide mistakes
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.1))
    decoder = Decoder(settings, VOCABULARY)
    weights = {name: each.detach().clone() for name, each in rename(dict(theirs.named_parameters())).items()}
    if name.startswith("gemma"):
        for each in weights:
            if each.endswith("norm.weight"):
                weights[each] += 1
        weights["embedding.weight"] *= WIDTH**0.5  # which Gemma does when it reads
    if name.startswith("mpt"):  # whose norms have no bias
        weights |= {each: torch.zeros(WIDTH) for each, _ in decoder.named_parameters() if each.endswith("norm.bias")}
    weights.pop("head.weight", None) if settings.head == "tied" else None
    decoder.load_state_dict(weights)
    return decoder, theirs, rename


def batch(seed: int, rows: int = 3) -> Tensor:
    return torch.randint(VOCABULARY, (rows, 40), generator=torch.Generator().manual_seed(seed))


def their_loss(model: torch.nn.Module, tokens_BT: Tensor) -> Tensor:
    logits_BTV = model(input_ids=tokens_BT[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1).float(), tokens_BT[:, 1:].flatten())


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_those_of_transformers(name: str) -> None:
    decoder, theirs, rename = pair(name)
    tokens_BT = batch(1)
    logits_BTV = theirs(input_ids=tokens_BT).logits
    tolerance = 1e-5 * max(1.0, logits_BTV.abs().max().item())
    torch.testing.assert_close(decoder(tokens_BT), logits_BTV, atol=tolerance, rtol=0)
    their_loss(theirs, tokens_BT).backward()
    decoder.loss(tokens_BT[:, :-1], tokens_BT[:, 1:].contiguous()).backward()
    expected = rename({name: each.grad for name, each in theirs.named_parameters() if each.grad is not None})
    for parameter_name, parameter in decoder.named_parameters():
        if parameter_name in expected and parameter.grad is not None:
            wanted = expected[parameter_name]
            if name.startswith("gemma") and parameter_name == "embedding.weight":
                wanted = wanted / WIDTH**0.5
            difference = (parameter.grad - wanted).norm() / wanted.norm().clamp(min=1e-3)
            assert difference < 1e-4, f"the gradient of {parameter_name} is off by {difference:.1e}"
    assert len(expected) >= len(list(decoder.parameters())) - (5 if name.startswith("mpt") else 1)


@pytest.mark.parametrize("name", [each for each in NAMES if not each.startswith(("gemma", "mpt"))])
def test_twenty_steps_of_adamw_have_the_losses_of_transformers(name: str) -> None:
    decoder, theirs, _ = pair(name)
    losses: list[list[float]] = [[], []]
    for side, model in enumerate((decoder, theirs)):
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for step in range(20):
            tokens_BT = batch(step)
            loss = (
                decoder.loss(tokens_BT[:, :-1], tokens_BT[:, 1:].contiguous())
                if model is decoder
                else their_loss(theirs, tokens_BT)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[side].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
