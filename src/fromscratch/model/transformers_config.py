"""Settings of other projects' decoders, read from `config.json` as `transformers` writes it, without torch."""

from collections.abc import Callable, Mapping
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import did_you_mean, validate_settings
from fromscratch.model.settings import DecoderSettings

__all__ = ["SETTINGS_OF", "read_config"]

Config = Mapping[str, Any]


def read_config(config: Config, origin: str) -> tuple[DecoderSettings, int]:
    """Settings and vocabulary of a model's ``config.json``, whose file is ``origin``.

    Raises FromScratchError for an architecture that is none of ``SETTINGS_OF``, and for quantised weights.
    """
    kind = str(config.get("model_type", "")).lower()
    if kind not in SETTINGS_OF:
        raise FromScratchError(f"{origin}: `model_type` = {kind!r} is not known", did_you_mean(kind, list(SETTINGS_OF)))
    if config.get("quantization_config") is not None:
        raise FromScratchError(f"{origin}: its weights are quantised", "use the folder of the unquantised model")
    if not isinstance(config.get("vocab_size"), int):
        raise FromScratchError(f"{origin}: `vocab_size` is missing", "the folder needs the config of its model")
    return validate_settings(DecoderSettings, SETTINGS_OF[kind](config), origin), config["vocab_size"]


def _llama_settings(config: Config) -> dict[str, Any]:
    activation = {"silu": "swiglu", "gelu": "geglu", "gelu_pytorch_tanh": "geglu_tanh"}
    heads, kind = config.get("num_attention_heads"), str(config.get("model_type")).lower()
    head_width = config.get("head_dim")
    biased = config.get("attention_bias") or config.get("mlp_bias")
    window = config.get("sliding_window") if config.get("use_sliding_window", kind == "mistral") else None
    return {
        "layers": config.get("num_hidden_layers"),
        "width": config.get("hidden_size"),
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_width": head_width if heads and head_width != (config.get("hidden_size") or 0) / heads else None,
        "window_tokens": window,
        "qk_norm": "head" if kind == "qwen3" else "none",
        "biases": "query_key_value" if kind == "qwen2" else "all" if biased else "none",
        "activation": activation.get(config.get("hidden_act", "silu"), config.get("hidden_act")),
        "ffn_width": config.get("intermediate_size"),
        "norm_epsilon": config.get("rms_norm_eps", 1e-6),
        "positions": {"kind": "rotary", "base": _rope(config).get("rope_theta", 1e4), "scaling": _scaling(config)},
        "context_tokens": config.get("max_position_embeddings", 2048),
        "head": "tied" if config.get("tie_word_embeddings", False) else "untied",
        "init": {"kind": "normal", "std": config.get("initializer_range", 0.02)},
    }


def _rope(config: Config) -> dict[str, Any]:
    """Version 5 of `transformers` has one table, version 4 two keys."""
    base = {"rope_theta": config["rope_theta"]} if config.get("rope_theta") else {}
    return {**base, **(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}


def _scaling(config: Config) -> dict[str, Any] | None:
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    original = rope.get("original_max_position_embeddings") or config.get("max_position_embeddings")
    if kind == "default":
        return None
    scaling = {"kind": kind, "factor": float(rope.get("factor", 1))}
    if kind == "yarn":
        scaling |= {"original_context_tokens": original, "fast_turns": rope.get("beta_fast") or 32}
        scaling |= {"slow_turns": rope.get("beta_slow") or 1}
    elif kind == "llama3":
        scaling |= {"original_context_tokens": original, "low_frequency_factor": rope.get("low_freq_factor", 1)}
        scaling |= {"high_frequency_factor": rope.get("high_freq_factor", 4)}
    return scaling


def _gpt2_settings(config: Config) -> dict[str, Any]:
    activation = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
    width = config.get("n_embd", 768)
    return {
        "layers": config.get("n_layer", 12),
        "width": width,
        "heads": config.get("n_head", 12),
        "kv_heads": config.get("n_head", 12),
        "biases": "all",
        "activation": activation.get(config.get("activation_function", "gelu_new")),
        "ffn_width": config.get("n_inner") or 4 * width,
        "norm": "layer",
        "norm_epsilon": config.get("layer_norm_epsilon", 1e-5),
        "positions": {"kind": "learned"},
        "context_tokens": config.get("n_positions", 1024),
        "head": "tied" if config.get("tie_word_embeddings", True) else "untied",
        "init": {"kind": "depth_scaled", "std": config.get("initializer_range", 0.02)},
    }


SETTINGS_OF: Mapping[str, Callable[[Config], dict[str, Any]]] = {
    "llama": _llama_settings,
    "yi": _llama_settings,
    "mistral": _llama_settings,
    "qwen2": _llama_settings,
    "qwen3": _llama_settings,
    "gpt2": _gpt2_settings,
}
"""The settings of the decoder, by ``model_type``."""
