"""Model folders of other projects, as `transformers` writes them, read as our decoder."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import WEIGHTS, build_with_weights, read_safetensors
from fromscratch.model.llama_names import IN_LAYER, OUTSIDE
from fromscratch.model.transformers_config import read_config

__all__ = ["LAYOUTS", "Layout", "read_transformers_folder"]

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How one ``model_type`` names its tensors."""

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
    settings, vocabulary = read_config(config, str(origin))
    layout = LAYOUTS[str(config["model_type"]).lower()]
    weights = layout.rename(_read_weights(folder))
    if settings.head == "tied":
        weights.pop("head.weight", None)  # a second copy of the embedding, which some writers store
    return build_with_weights(settings, vocabulary, weights, folder, layout.theirs).to(device)


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


def _gpt2_name(name: str) -> str:
    """The way back, for messages."""
    layer = re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if not layer:
        return next((theirs for theirs, ours in GPT2_OUTSIDE.items() if ours == name), name)
    inside = {ours: theirs for theirs, ours in GPT2_IN_LAYER.items()}
    return f"h.{layer[1]}.{inside.get(layer[2], 'attn.c_attn')}.{layer[3]}"


LLAMA = Layout(_llama_rename, _llama_name)
LAYOUTS = {
    "llama": LLAMA,
    "yi": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gpt2": Layout(_gpt2_rename, _gpt2_name),
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
