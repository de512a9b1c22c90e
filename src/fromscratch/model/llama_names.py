"""Our tensor names and settings in the terms of `LlamaForCausalLM`, which every serving engine knows."""

import re
from collections.abc import Iterable
from typing import Any

from fromscratch.model.settings import (
    DecoderSettings,
    LinearScaling,
    Llama3Scaling,
    RopeScaling,
    RotaryPositions,
    YarnScaling,
)
from fromscratch.model.spread import initial_std

__all__ = ["from_llama_name", "llama_config", "tensor_names", "to_llama_name"]

OUTSIDE = {
    "embedding.weight": "model.embed_tokens.weight",
    "final_norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
IN_LAYER = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.query.weight": "self_attn.q_proj.weight",
    "attention.key.weight": "self_attn.k_proj.weight",
    "attention.value.weight": "self_attn.v_proj.weight",
    "attention.output.weight": "self_attn.o_proj.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "mlp.gate.weight": "mlp.gate_proj.weight",
    "mlp.up.weight": "mlp.up_proj.weight",
    "mlp.down.weight": "mlp.down_proj.weight",
}
OUTSIDE_BACK = {theirs: ours for ours, theirs in OUTSIDE.items()}
IN_LAYER_BACK = {theirs: ours for ours, theirs in IN_LAYER.items()}


def to_llama_name(name: str) -> str:
    """``layers.3.attention.query.weight`` → ``model.layers.3.self_attn.q_proj.weight``. KeyError if it is not ours."""
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
    return f"model.layers.{layer[1]}.{IN_LAYER[layer[2]]}" if layer else OUTSIDE[name]


def from_llama_name(name: str) -> str:
    """The way back from ``to_llama_name``. KeyError if it is no name of a plain ``LlamaForCausalLM``."""
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
    return f"layers.{layer[1]}.{IN_LAYER_BACK[layer[2]]}" if layer else OUTSIDE_BACK[name]


def tensor_names(settings: DecoderSettings) -> list[str]:
    """The names of all parameters of a decoder, in its own order."""
    layers = [f"layers.{index}.{name}" for index in range(settings.layers) for name in IN_LAYER]
    head = ["head.weight"] if settings.head == "untied" else []
    return ["embedding.weight", *layers, "final_norm.weight", *head]


def llama_config(
    settings: DecoderSettings,
    vocabulary: int,
    *,
    beginning_id: int | None,
    end_ids: Iterable[int],
    padding_id: int | None,
    dtype: str = "float32",
) -> dict[str, Any]:
    """The content of ``config.json`` for these settings, for transformers 4 and 5 alike and without remote code.

    Version 5 reads ``rope_parameters`` and ``dtype`` where version 4 reads ``rope_theta``, ``rope_scaling`` and
    ``torch_dtype``; each passes over what it does not know. ``end_ids`` are the tokens that end a generation. Biases of
    attention are those of all four maps there: where only three have them, the weights hold zeros for the fourth.
    """
    ends = list(end_ids)
    rotary = settings.positions
    assert isinstance(rotary, RotaryPositions) and set(settings.beyond_llama) <= {"biases"}
    scaling, base = _rope_scaling(rotary.scaling), rotary.raised_base(settings.key_width)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": settings.width,
        "intermediate_size": settings.ffn_width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.kv_heads,
        "head_dim": settings.key_width,
        "hidden_act": "silu",
        "max_position_embeddings": settings.context_tokens,
        "rms_norm_eps": settings.norm_epsilon,
        "rope_theta": base,
        "rope_scaling": scaling,
        "rope_parameters": {**(scaling or {"rope_type": "default"}), "rope_theta": base},
        "attention_bias": settings.biases != "none",
        "attention_dropout": 0.0,
        "mlp_bias": settings.biases == "all",
        "pretraining_tp": 1,
        "initializer_range": initial_std(settings, "layers.0.mlp.gate.weight"),
        "tie_word_embeddings": settings.head == "tied",
        "bos_token_id": beginning_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": padding_id,
        "torch_dtype": dtype,
        "dtype": dtype,
        "use_cache": True,
    }


def _rope_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """As `transformers` writes it; the NTK-aware one is a raised base there."""
    match scaling:
        case LinearScaling():
            return {"rope_type": "linear", "factor": scaling.factor}
        case YarnScaling():
            return {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_context_tokens,
                "beta_fast": scaling.fast_turns,
                "beta_slow": scaling.slow_turns,
            }
        case Llama3Scaling():
            return {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_context_tokens,
                "low_freq_factor": scaling.low_frequency_factor,
                "high_freq_factor": scaling.high_frequency_factor,
            }
        case _:
            return None
