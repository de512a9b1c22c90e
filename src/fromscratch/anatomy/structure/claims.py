"""What a config claims of a model: some of it weights can confirm, the rest nobody can but its makers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Claims", "read_claims"]

# What is claimed, as `transformers` spells it for one family or another, LitGPT, and GGUF after its architecture.
SPELLINGS = {
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "heads", "attention.head_count"),
    "kv_heads": (
        *("num_key_value_heads", "n_query_groups", "num_kv_heads", "n_head_kv", "multi_query_group_num", "kv_heads"),
        "attention.head_count_kv",
    ),
    "head_width": ("head_dim", "head_size", "head_width", "kv_channels", "attention.key_length"),
    "activation": ("hidden_act", "activation_function", "hidden_activation", "activation"),
    "epsilon": (
        *("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "layernorm_epsilon", "norm_eps", "norm_epsilon"),
        *("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"),
    ),
    "context_tokens": ("max_position_embeddings", "n_positions", "block_size", "context_tokens", "context_length"),
    "window_tokens": ("sliding_window", "window_tokens", "attention.sliding_window"),
    "rotary_base": ("rope_theta", "rotary_emb_base", "rope_base", "rope.freq_base"),
    "architecture": ("model_type", "general.architecture"),
}


@dataclass(frozen=True)
class Claims:
    """None where nothing is said."""

    heads: int | None = None
    kv_heads: int | None = None
    head_width: int | None = None
    activation: str | None = None
    epsilon: float | None = None
    context_tokens: int | None = None
    window_tokens: int | None = None
    rotary_base: float | None = None
    architecture: str | None = None
    norm: str | None = None
    """``rms`` or ``layer``."""
    parallel: bool = False
    """That attention and the MLP read the same stream."""


def read_claims(config: Mapping[str, Any]) -> Claims:
    """What ``config.json``, a GGUF table or our own ``model.json`` says; values of a wrong type are passed over."""
    flat = _flat(config)
    found: dict[str, Any] = {}
    for claim, spellings in SPELLINGS.items():
        values = (flat.get(spelling) for spelling in spellings)
        found[claim] = next((each for each in values if _fits(claim, each)), None)
    if flat.get("use_sliding_window") is False:
        found["window_tokens"] = None
    if isinstance(found["epsilon"], float) and "general.architecture" in config:
        found["epsilon"] = float(str(np.float32(found["epsilon"])))  # 1e-05, as it was before 32 bits
    if found["heads"] and found["kv_heads"] is None:
        found["kv_heads"] = found["heads"]
    if flat.get("multi_query") is True and not flat.get("new_decoder_architecture"):
        found["kv_heads"] = 1
    epsilon = next((each for each in SPELLINGS["epsilon"] if each in flat), "")
    norm = "rms" if "rms" in epsilon else "layer" if "layer" in epsilon else None
    found["norm"] = flat["norm"] if flat.get("norm") in ("rms", "layer") else norm
    parallel = any(flat.get(key) is True for key in ("use_parallel_residual", "parallel_attn", "parallel_residual"))
    return Claims(**found, parallel=parallel or flat.get("block") == "parallel")


def _fits(claim: str, value: object) -> bool:
    if claim in ("activation", "architecture"):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0 and (claim in ("epsilon", "rotary_base") or isinstance(value, int))


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """One level of keys, whichever form the config has."""
    prefix = f"{config.get('general.architecture')}."
    flat = {key.removeprefix(prefix): value for key, value in config.items()}
    for inner in ("text_config", "settings", "rope_parameters"):
        if isinstance(config.get(inner), Mapping):
            flat |= config[inner]
    positions = flat.get("positions")
    if isinstance(positions, Mapping):
        flat["rope_theta"] = positions.get("base")
    return flat
