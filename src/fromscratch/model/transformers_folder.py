"""Model folders of other projects, as `transformers` writes them, read as our decoder."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import did_you_mean, validate_settings
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import WEIGHTS, build_with_weights, read_safetensors
from fromscratch.model.llama_names import IN_LAYER, OUTSIDE
from fromscratch.model.settings import DecoderSettings

__all__ = ["LAYOUTS", "Layout", "read_transformers_folder"]

Config = Mapping[str, Any]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How one ``model_type`` names its settings and its tensors."""

    settings: Callable[[Config], dict[str, Any]]
    """The settings of the decoder, from ``config.json``."""
    rename: Callable[[Weights], Weights]
    """The tensors by our names, turned and split where that is needed; unknown names stay as they are."""
    theirs: Callable[[str], str]
    """Their name for one of ours, for messages."""


def read_transformers_folder(folder: Path, device: torch.device | str = "cpu") -> Decoder:
    """Load a folder (``config.json`` and safetensors, in one file or in shards) as our decoder, in fp32.

    Raises FromScratchError for a folder that is not whole, for an architecture that is none of ``LAYOUTS``, and for
    quantised weights.
    """
    origin = folder / "config.json"
    config = _read_json(origin)
    kind = str(config.get("model_type", "")).lower()
    layout = LAYOUTS.get(kind)
    if layout is None:
        raise FromScratchError(f"{origin}: `model_type` = {kind!r} is not known", did_you_mean(kind, list(LAYOUTS)))
    if config.get("quantization_config") is not None:
        raise FromScratchError(f"{origin}: its weights are quantised", "use the folder of the unquantised model")
    if not isinstance(config.get("vocab_size"), int):
        raise FromScratchError(f"{origin}: `vocab_size` is missing", "the folder needs the config of its model")
    settings = validate_settings(DecoderSettings, layout.settings(config), str(origin))
    weights = layout.rename(_read_weights(folder))
    if settings.head == "tied":
        weights.pop("head.weight", None)  # a second copy of the embedding, which some writers store
    return build_with_weights(settings, config["vocab_size"], weights, folder, layout.theirs).to(device)


# ---- Llama and what keeps its names: Yi under both of its names, Mistral, Qwen2, Qwen3

SECOND_NAMES = {"ln1.weight": "attention_norm.weight", "ln2.weight": "mlp_norm.weight"}  # the first upload of Yi
THEIRS = {theirs: ours for ours, theirs in IN_LAYER.items()} | SECOND_NAMES
THEIRS |= {
    f"self_attn.{short}_proj.bias": f"attention.{name}.bias"
    for short, name in zip("qkvo", ("query", "key", "value", "output"), strict=True)
}
THEIRS |= {f"mlp.{name}_proj.bias": f"mlp.{name}.bias" for name in ("gate", "up", "down")}
THEIRS |= {
    "self_attn.q_norm.weight": "attention.query_norm.weight",
    "self_attn.k_norm.weight": "attention.key_norm.weight",
}
THEIRS_OUTSIDE = {theirs: ours for ours, theirs in OUTSIDE.items()}


def _llama_rename(weights: Weights) -> Weights:
    renamed = {}
    for name, tensor in weights.items():
        if name.endswith("rotary_emb.inv_freq"):
            continue  # derived from the settings; some writers store it
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
        ours = f"layers.{layer[1]}.{THEIRS.get(layer[2], layer[2])}" if layer else THEIRS_OUTSIDE.get(name, name)
        renamed[ours] = tensor
    return renamed


def _llama_name(name: str) -> str:
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
    if not layer:
        return OUTSIDE.get(name, name)
    inside = {ours: theirs for theirs, ours in THEIRS.items() if theirs not in SECOND_NAMES}
    return f"model.layers.{layer[1]}.{inside.get(layer[2], layer[2])}"


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


# ---- GPT-2: matrices lie the other way round, and one makes queries, keys and values

GPT2_OUTSIDE = {
    "wte.weight": "embedding.weight",
    "wpe.weight": "position_embedding.weight",
    "ln_f.weight": "final_norm.weight",
    "ln_f.bias": "final_norm.bias",
}
GPT2_IN_LAYER = {
    "ln_1": "attention_norm",
    "attn.c_proj": "attention.output",
    "ln_2": "mlp_norm",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}


def _gpt2_rename(weights: Weights) -> Weights:
    renamed: Weights = {}
    for full, tensor in weights.items():
        name = full.removeprefix("transformer.")
        layer = re.fullmatch(r"h\.(\d+)\.(.+)\.(weight|bias)", name)
        if full == "lm_head.weight":
            renamed["head.weight"] = tensor
        elif not layer:
            renamed[GPT2_OUTSIDE.get(name, name)] = tensor
        elif layer[2] == "attn.c_attn":
            for part, each in zip(
                ("query", "key", "value"), tensor.mT.chunk(3, 0) if tensor.dim() == 2 else tensor.chunk(3), strict=True
            ):
                renamed[f"layers.{layer[1]}.attention.{part}.{layer[3]}"] = each
        elif layer[2] not in ("attn", "attn.masked"):  # buffers of the causal mask in old files
            ours = GPT2_IN_LAYER.get(layer[2], layer[2])
            renamed[f"layers.{layer[1]}.{ours}.{layer[3]}"] = tensor.mT if tensor.dim() == 2 else tensor
    return renamed


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


def _gpt2_name(name: str) -> str:
    """The way back, for messages."""
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if not layer:
        return next((theirs for theirs, ours in GPT2_OUTSIDE.items() if ours == name), name)
    inside = {ours: theirs for theirs, ours in GPT2_IN_LAYER.items()}
    return f"h.{layer[1]}.{inside.get(layer[2], 'attn.c_attn')}.{layer[3]}"


LLAMA = Layout(_llama_settings, _llama_rename, _llama_name)
LAYOUTS = {
    "llama": LLAMA,
    "yi": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gpt2": Layout(_gpt2_settings, _gpt2_rename, _gpt2_name),
}


def _read_weights(folder: Path) -> Weights:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read_safetensors(folder / WEIGHTS)
    shards = sorted({*_read_json(index).get("weight_map", {}).values()})
    return {name: tensor for shard in shards for name, tensor in read_safetensors(folder / shard).items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
        raise ValueError("no JSON object")
    except (FileNotFoundError, NotADirectoryError):
        raise FromScratchError(
            f"{path}: no such file", "name a folder with a model as `transformers` writes it"
        ) from None
    except ValueError as error:
        raise FromScratchError(f"{path}: not readable ({error})", "fetch or write the folder again") from None
