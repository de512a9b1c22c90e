"""Our tensor names and settings in the terms of `LlamaForCausalLM`, which every serving engine knows."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import WEIGHTS, build_with_weights, read_safetensors
from fromscratch.model.settings import DecoderSettings

__all__ = ["from_llama", "from_llama_name", "llama_config", "tensor_names", "to_llama_name"]

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
    beginning_id: int,
    end_ids: Iterable[int],
    padding_id: int | None,
    dtype: str = "float32",
) -> dict[str, Any]:
    """The content of ``config.json`` for these settings, for transformers 4 and 5 alike and without remote code.

    Version 5 reads ``rope_parameters`` and ``dtype`` where version 4 reads ``rope_theta``, ``rope_scaling`` and
    ``torch_dtype``; each passes over what it does not know. ``end_ids`` are the tokens that end a generation.
    """
    ends = list(end_ids)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": settings.width,
        "intermediate_size": settings.ffn_width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.kv_heads,
        "head_dim": settings.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": settings.context_tokens,
        "rms_norm_eps": settings.norm_epsilon,
        "rope_theta": settings.rope_base,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_base},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "pretraining_tp": 1,
        "initializer_range": settings.init_std,
        "tie_word_embeddings": settings.head == "tied",
        "bos_token_id": beginning_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
        "pad_token_id": padding_id,
        "torch_dtype": dtype,
        "dtype": dtype,
        "use_cache": True,
    }


def from_llama(folder: Path, device: torch.device | str = "cpu") -> Decoder:
    """Load a folder of the Llama layout (``config.json`` and safetensors, in one file or in shards) as our decoder.

    Raises FromScratchError for a folder that is not whole, and for what is not plain Llama: another architecture,
    biases, scaled rotary positions, quantised weights.
    """
    config = _read_json(folder / "config.json")
    settings = _settings_of(config, folder / "config.json")
    weights = {}
    for name, tensor in _read_weights(folder).items():
        if name.endswith("rotary_emb.inv_freq") or (name == OUTSIDE["head.weight"] and settings.head == "tied"):
            continue  # derived from the settings, and a second copy of the embedding: some writers store them
        try:
            weights[from_llama_name(name)] = tensor
        except KeyError:
            raise FromScratchError(
                f"{folder}: tensor `{name}` is none of LlamaForCausalLM's", "only plain Llama weights can be loaded"
            ) from None
    return build_with_weights(settings, int(config["vocab_size"]), weights, folder, to_llama_name).to(device)


def _settings_of(config: dict[str, Any], origin: Path) -> DecoderSettings:
    _refuse_other_architectures(config, origin)
    rope = config.get("rope_parameters") or {}
    data = {
        "layers": config.get("num_hidden_layers"),
        "width": config.get("hidden_size"),
        "heads": config.get("num_attention_heads"),
        "kv_heads": config.get("num_key_value_heads") or config.get("num_attention_heads"),
        "ffn_width": config.get("intermediate_size"),
        "context_tokens": config.get("max_position_embeddings", 2048),
        "rope_base": rope.get("rope_theta") or config.get("rope_theta") or 1e4,
        "norm_epsilon": config.get("rms_norm_eps", 1e-6),
        "head": "tied" if config.get("tie_word_embeddings", False) else "untied",
        "init_std": config.get("initializer_range", 0.02),
    }
    if not isinstance(config.get("vocab_size"), int):
        raise FromScratchError(f"{origin}: `vocab_size` is missing", "the folder needs the config of its model")
    settings = validate_settings(DecoderSettings, data, str(origin))
    if config.get("head_dim") not in (None, settings.head_width):
        raise FromScratchError(
            f"{origin}: `head_dim` = {config['head_dim']}, where hidden_size / heads = {settings.head_width}",
            "heads of their own width are not supported",
        )
    return settings


def _refuse_other_architectures(config: dict[str, Any], origin: Path) -> None:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    plain = {
        "model_type": (config.get("model_type"), "llama"),
        "hidden_act": (config.get("hidden_act", "silu"), "silu"),
        "attention_bias": (config.get("attention_bias", False), False),
        "mlp_bias": (config.get("mlp_bias", False), False),
        "rope_type": (scaling.get("rope_type", scaling.get("type", "default")), "default"),
        "quantization_config": (config.get("quantization_config"), None),
    }
    for name, (found, needed) in plain.items():
        if found != needed:
            raise FromScratchError(
                f"{origin}: `{name}` = {json.dumps(found)} is not plain Llama, which has {json.dumps(needed)}",
                "only folders that LlamaForCausalLM reads, unscaled and unquantised, can be loaded",
            )


def _read_weights(folder: Path) -> dict[str, Tensor]:
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
        raise FromScratchError(f"{path}: no such file", "name a folder with a model of the Llama layout") from None
    except ValueError as error:
        raise FromScratchError(f"{path}: not readable ({error})", "fetch or write the folder again") from None
