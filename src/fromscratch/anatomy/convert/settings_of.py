"""The settings of a checkpoint's decoder: from what describes it, from its tensors, and from what the user says."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fromscratch.anatomy.convert.rotary_factors import known_llama3_scaling
from fromscratch.anatomy.structure.roles import Role, Structure
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError
from fromscratch.core.recipe_file import assign
from fromscratch.core.settings import validate_settings
from fromscratch.model.settings import DecoderSettings
from fromscratch.model.transformers_config import read_config

__all__ = ["LITGPT_CONFIG", "read_settings"]

LITGPT_CONFIG = "model_config.yaml"
NOT_IN_WEIGHTS = {
    "positions.base": "positions.base=10000",
    "norm_epsilon": "norm_epsilon=1e-5",
    "context_tokens": "context_tokens=4096",
}


def read_settings(
    checkpoint: Checkpoint, structure: Structure, overrides: Mapping[str, Any] | None = None
) -> tuple[DecoderSettings, int]:
    """Settings and vocabulary. ``overrides`` (dotted path → value) come last.

    Raises FromScratchError for an unknown architecture, and for a checkpoint that nothing describes, unless what
    weights cannot tell is among the overrides.
    """
    config, overrides = checkpoint.config, overrides or {}
    vocabulary = structure.vocabulary
    if checkpoint.format == "gguf":
        tree = _of_gguf(checkpoint, structure)
    elif isinstance(config.get("settings"), Mapping):  # our own model.json
        tree = dict(config["settings"])
    elif LITGPT_CONFIG in checkpoint.other_files and "model_type" not in config:
        tree = _of_litgpt(checkpoint.read_file(LITGPT_CONFIG).decode())
    elif config.get("model_type"):
        settings, _ = read_config({**config, "vocab_size": vocabulary}, f"{checkpoint.place}/config.json")
        tree = settings.model_dump(mode="json")
    else:
        tree = _of_shapes(checkpoint, structure, overrides)
    tree["head"] = _head(checkpoint, structure, tree, overrides)
    for dotted, value in overrides.items():
        assign(tree, dotted, value)
    return validate_settings(DecoderSettings, tree, checkpoint.place, overrides), vocabulary


def _head(checkpoint: Checkpoint, structure: Structure, tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> str:
    """Tensors decide: a head that is not stored is tied, one that differs from the embedding is not."""
    if structure.name_of(Role.HEAD) is None:
        return "tied"
    if tree.get("head") == "tied" and not structure.tied and "head" not in overrides:
        raise FromScratchError(
            f"{checkpoint.place}: its config says that the head is the embedding, and its file has another head, "
            f"`{structure.name_of(Role.HEAD)}`",
            "--set head=untied keeps it, --set head=tied leaves it out",
        )
    return str(tree.get("head", "tied" if structure.tied else "untied"))


def _of_gguf(checkpoint: Checkpoint, structure: Structure) -> dict[str, Any]:
    """The table of a GGUF file; its keys are described in ggml's docs/gguf.md."""
    table = checkpoint.config
    architecture = str(table.get("general.architecture"))
    if architecture not in ("llama", "qwen2", "qwen3", "gpt2"):
        raise FromScratchError(
            f"{checkpoint.place}: its architecture {architecture!r} is not one that is converted",
            "known: llama, which is Yi's and Mistral's too, qwen2, qwen3, gpt2",
        )

    def value(key: str, default: Any = None) -> Any:
        found = table.get(f"{architecture}.{key}", default)
        return _shortest(found) if isinstance(found, float) else found

    heads, layer_norm = value("attention.head_count"), architecture == "gpt2"
    width, head_width = value("embedding_length"), value("attention.key_length")
    epsilon = value(f"attention.layer_norm_{'' if layer_norm else 'rms_'}epsilon", 1e-5)
    tree = {
        "layers": value("block_count"),
        "width": width,
        "heads": heads,
        "kv_heads": value("attention.head_count_kv", heads),
        "head_width": head_width if head_width and head_width * heads != width else None,
        "window_tokens": value("attention.sliding_window"),
        "qk_norm": "head" if structure.of_role(Role.QUERY_NORM) else "none",
        "biases": _biases(structure),
        "activation": "gelu_tanh" if layer_norm else "swiglu",
        "ffn_width": value("feed_forward_length"),
        "norm": "layer" if layer_norm else "rms",
        "norm_epsilon": epsilon,
        "context_tokens": value("context_length"),
        "positions": {"kind": "learned"},
    }
    if not layer_norm:
        base = value("rope.freq_base", 1e4)
        tree["positions"] = {"kind": "rotary", "base": base, "scaling": _gguf_scaling(checkpoint, value, base, tree)}
    return tree


def _gguf_scaling(checkpoint: Checkpoint, value: Any, base: float, tree: Mapping[str, Any]) -> dict[str, Any] | None:
    if "rope_freqs.weight" in checkpoint.tensors:
        factors = checkpoint.tensors["rope_freqs.weight"].read().astype(np.float64).tolist()
        known = known_llama3_scaling(base, tree["head_width"] or tree["width"] // tree["heads"], factors)
        if known is None:
            raise FromScratchError(
                f"{checkpoint.place}: `rope_freqs.weight` is of no published scaling of rotary positions",
                "convert the folder that this file was made from",
            )
        return known.model_dump(mode="json")
    kind = value("rope.scaling.type", "none")
    factor = value("rope.scaling.factor", 0.0)
    if kind == "none" or not factor:
        return None
    scaling = {"kind": kind, "factor": factor}
    if kind == "yarn":
        scaling["original_context_tokens"] = value("rope.scaling.original_context_length", tree["context_tokens"])
    return scaling


def _shortest(stored: float) -> float:
    """The decimal that a number of 32 bits was written from: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(stored)))


def _biases(structure: Structure) -> str:
    if structure.of_role(Role.ATTENTION_OUTPUT_BIAS):
        return "all"
    fused = structure.of_role(Role.QUERY_KEY_VALUE_BIAS)
    return "query_key_value" if fused or structure.of_role(Role.QUERY_BIAS) else "none"


def _of_litgpt(text: str) -> dict[str, Any]:
    """LitGPT's ``model_config.yaml``: flat but for ``rope_adjustments`` and what is of no concern here."""
    config = _flat_yaml(text)
    if config.get("norm_class_name") != "RMSNorm" or config.get("mlp_class_name") != "LLaMAMLP":
        raise FromScratchError(
            f"{LITGPT_CONFIG}: {config.get('norm_class_name')} and {config.get('mlp_class_name')} are not converted",
            "known: RMSNorm with LLaMAMLP, which is Llama, Yi, Mistral and Qwen",
        )
    heads, width = config["n_head"], config["n_embd"]
    head_width = config.get("head_size")
    scaling = None
    if adjusted := config.get("rope_adjustments"):
        scaling = {"kind": "linear", "factor": float(adjusted["factor"])}
        if "low_freq_factor" in adjusted:
            scaling |= {"kind": "llama3", "original_context_tokens": adjusted["original_max_seq_len"]}
            scaling |= {"low_frequency_factor": float(adjusted["low_freq_factor"])}
            scaling |= {"high_frequency_factor": float(adjusted["high_freq_factor"])}
    return {
        "layers": config["n_layer"],
        "width": width,
        "heads": heads,
        "kv_heads": config.get("n_query_groups") or heads,
        "head_width": head_width if head_width and head_width * heads != width else None,
        "window_tokens": config.get("sliding_window_size"),
        "qk_norm": "head" if config.get("norm_qk") else "none",
        "biases": "all" if config.get("bias") else "query_key_value" if config.get("attn_bias") else "none",
        "ffn_width": config["intermediate_size"],
        "norm_epsilon": float(config["norm_eps"]),
        "positions": {"kind": "rotary", "base": float(config["rope_base"]), "scaling": scaling},
        "context_tokens": config["block_size"],
        "head": "untied",
    }


def _flat_yaml(text: str) -> dict[str, Any]:
    """``key: value`` lines and one level of tables below them, which is all that LitGPT writes."""
    tree: dict[str, Any] = {}
    for line in text.splitlines():
        key, colon, told = line.partition(":")
        if not colon or line.lstrip().startswith(("#", "-")):
            continue
        value = _scalar(told.strip())
        if line[0] == " " and tree:
            last = next(reversed(tree))
            tree[last] = {**(tree[last] if isinstance(tree[last], dict) else {}), key.strip(): value}
        else:
            tree[key.strip()] = value
    return tree


def _scalar(told: str) -> Any:
    plain = {"": None, "null": None, "~": None, "true": True, "false": False}
    if told in plain:
        return plain[told]
    try:
        return json.loads(told)
    except ValueError:
        return told.strip("'\"")


def _of_shapes(checkpoint: Checkpoint, structure: Structure, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing describes the model: sizes and roles are in the tensors, three numbers are not."""
    table = structure.name_of(Role.POSITION_EMBEDDING)
    rotary = table is None
    known = {} if table is None else {"context_tokens": checkpoint.tensors[table].shape[0]}
    for dotted in NOT_IN_WEIGHTS:
        within = dotted.partition(".")[0]
        if dotted not in {*overrides, *known} and within not in overrides and (rotary or within != "positions"):
            asked = " ".join(f"--set {each}" for each in NOT_IN_WEIGHTS.values())
            raise FromScratchError(
                f"{checkpoint.place}: {_without_config(checkpoint)}, and weights do not tell `{dotted}`",
                f"say what you know of it, for example {asked}",
            )
    heads = overrides.get("heads", structure.query_heads)
    kv_heads = overrides.get("kv_heads", structure.kv_heads)
    if heads is None or kv_heads is None:
        raise FromScratchError(
            f"{checkpoint.place}: {_without_config(checkpoint)}, and its weights do not show how many heads it has",
            "say it, for example --set heads=32 --set kv_heads=8",
        )
    layer_norm = bool(structure.of_role(Role.FINAL_NORM_BIAS))
    gated = bool(structure.of_role(Role.GATE) or structure.of_role(Role.GATE_UP))
    head_width = structure.head_width
    return {
        "layers": structure.layers,
        "width": structure.width,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_width": head_width if head_width and head_width * heads != structure.width else None,
        "qk_norm": "head" if structure.of_role(Role.QUERY_NORM) else "none",
        "biases": _biases(structure),
        "activation": "swiglu" if gated else "gelu_tanh",
        "ffn_width": structure.mlp_width,
        "norm": "layer" if layer_norm else "rms",
        "positions": {"kind": "rotary" if rotary else "learned"},
        **known,
    }


def _without_config(checkpoint: Checkpoint) -> str:
    odd = next((remark for remark in checkpoint.remarks if "config.json" in remark), None)
    return f"its config could not be read ({odd})" if odd else "no config beside it"
