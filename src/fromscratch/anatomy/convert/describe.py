"""What lies beside the weights in each project's folder, or at the head of a GGUF file, so that they can be loaded."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fromscratch.anatomy.convert.gguf_file import GGML_NUMBERS, Typed
from fromscratch.anatomy.convert.plan import Plan
from fromscratch.anatomy.convert.planning import Decided, gguf_architecture
from fromscratch.anatomy.convert.settings_of import LITGPT_CONFIG
from fromscratch.anatomy.convert.tokenizing import Tokenizing
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, write_json
from fromscratch.model.llama_names import llama_config
from fromscratch.model.settings import (
    DecoderSettings,
    LinearScaling,
    Llama3Scaling,
    NtkScaling,
    RotaryPositions,
    YarnScaling,
)

__all__ = ["describe_generation", "describe_litgpt", "describe_llama", "gguf_table", "refuse_what_target_has_not"]

TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32}
"""llama.cpp's number for what most numbers of a file are stored as."""


def refuse_what_target_has_not(settings: DecoderSettings, target: str, place: str) -> None:
    """Raise FromScratchError where the target's code cannot compute this decoder."""
    if target == "native":
        return
    beyond = dict(settings.beyond_llama)
    beyond.pop("biases", None)
    if target == "litgpt":
        beyond.pop("qk_norm", None)
        if settings.biases == "all" or (
            isinstance(settings.positions, RotaryPositions) and isinstance(settings.positions.scaling, YarnScaling)
        ):
            beyond["biases" if settings.biases == "all" else "positions.scaling"] = "none"
    if target == "gguf":
        beyond.pop("qk_norm", None)
        if gguf_architecture(settings) == "gpt2":
            beyond = _beyond_gpt2(settings)
    if settings.window_tokens is not None and settings.window_tokens >= settings.context_tokens:
        beyond.pop("window_tokens", None)  # never narrower than what a position sees anyway
    for name, theirs in beyond.items():
        hint = "use --to native, which keeps it"
        if name == "window_tokens":
            hint += f"; within {settings.window_tokens:,} tokens it is the same without: --set context_tokens="
            hint += f"{settings.window_tokens}"
        raise FromScratchError(f"{place}: `{name}` is not what {target} computes, which has {theirs}", hint)


def _beyond_gpt2(settings: DecoderSettings) -> dict[str, str]:
    plain: dict[str, Any] = {"norm": "layer", "norm_placement": "pre", "biases": "all", "activation": "gelu_tanh"}
    plain |= {"block": "sequential", "qk_norm": "none", "kv_heads": settings.heads}
    return {name: f'"{has}"' for name, has in plain.items() if getattr(settings, name) != has}


def describe_llama(folder: Path, plan: Plan, decided: Decided, tokenizing: Tokenizing | None) -> None:
    """Write `config.json` and `generation_config.json`, which transformers 4 and 5 read alike."""
    ids = {name: tokenizing.id_of(f"{name}_token") if tokenizing else None for name in ("bos", "pad")}
    ends = tokenizing.ends if tokenizing else ()
    config = llama_config(
        decided.settings,
        decided.vocabulary,
        beginning_id=ids["bos"],
        end_ids=ends,
        padding_id=ids["pad"],
        dtype=TORCH_NAMES.get(_most_common_kind(plan), "float32"),
    )
    if plan.target == "yi":
        config |= {"model_type": "Yi", "architectures": ["YiForCausalLM"]}
    write_json(folder / "config.json", config)
    describe_generation(folder, tokenizing)


def describe_generation(folder: Path, tokenizing: Tokenizing | None) -> None:
    """Write `generation_config.json`: which tokens begin and end a text, and what the source says of sampling."""
    if tokenizing is None:
        return
    named: dict[str, Any] = {
        f"{name}_token_id": number
        for name in ("bos", "pad")
        if (number := tokenizing.id_of(f"{name}_token")) is not None
    }
    if tokenizing.ends:
        named["eos_token_id"] = tokenizing.ends[0] if len(tokenizing.ends) == 1 else list(tokenizing.ends)
    told = {key: value for key, value in tokenizing.generation.items() if key not in ("transformers_version", *named)}
    write_json(folder / "generation_config.json", {**named, **told})


def describe_litgpt(folder: Path, decided: Decided, tokenizing: Tokenizing | None, name: str) -> None:
    """Write LitGPT's ``model_config.yaml`` (fields of ``litgpt.config.Config``)."""
    settings = decided.settings
    rotary = settings.positions
    assert isinstance(rotary, RotaryPositions)
    config: dict[str, Any] = {
        "name": name,
        "block_size": settings.context_tokens,
        "vocab_size": decided.vocabulary,
        "padded_vocab_size": decided.vocabulary,
        "n_layer": settings.layers,
        "n_head": settings.heads,
        "n_query_groups": settings.kv_heads,
        "n_embd": settings.width,
        "head_size": settings.key_width,
        "intermediate_size": settings.ffn_width,
        "norm_class_name": "RMSNorm",
        "norm_eps": settings.norm_epsilon,
        "norm_qk": settings.qk_norm == "head",
        "mlp_class_name": "LLaMAMLP",
        "parallel_residual": False,
        "bias": False,
        "attn_bias": settings.biases == "query_key_value",
        "rotary_percentage": 1.0,
        "rope_base": int(rotary.raised_base(settings.key_width)),
    }
    lines = [f"{key}: {_yaml(value)}" for key, value in config.items()]
    if isinstance(rotary.scaling, LinearScaling | Llama3Scaling):
        lines += ["rope_adjustments:", f"  factor: {_yaml(rotary.scaling.factor)}"]
    if isinstance(rotary.scaling, Llama3Scaling):
        lines += [f"  low_freq_factor: {_yaml(rotary.scaling.low_frequency_factor)}"]
        lines += [f"  high_freq_factor: {_yaml(rotary.scaling.high_frequency_factor)}"]
        lines += [f"  original_max_seq_len: {rotary.scaling.original_context_tokens}"]
    with atomic_write(folder / LITGPT_CONFIG) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    describe_generation(folder, tokenizing)


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}{e}{exponent}"  # 1e-05 would be a text in YAML 1.1
    return str(value)


def gguf_table(plan: Plan, decided: Decided, name: str) -> dict[str, Typed]:
    """The keys that llama.cpp builds the model from, without those of the tokenizer."""
    settings = decided.settings
    architecture = gguf_architecture(settings)
    kind = _most_common_kind(plan)
    layer_norm = "" if settings.norm == "layer" else "rms_"
    table = {
        "general.architecture": Typed("string", architecture),
        "general.type": Typed("string", "model"),
        "general.name": Typed("string", name),
        "general.file_type": Typed("u32", FILE_TYPES[kind]),
        f"{architecture}.vocab_size": Typed("u32", decided.vocabulary),
        f"{architecture}.context_length": Typed("u32", settings.context_tokens),
        f"{architecture}.embedding_length": Typed("u32", settings.width),
        f"{architecture}.block_count": Typed("u32", settings.layers),
        f"{architecture}.feed_forward_length": Typed("u32", settings.ffn_width),
        f"{architecture}.attention.head_count": Typed("u32", settings.heads),
        f"{architecture}.attention.head_count_kv": Typed("u32", settings.kv_heads),
        f"{architecture}.attention.layer_norm_{layer_norm}epsilon": Typed("f32", settings.norm_epsilon),
    }
    if kind.startswith("Q"):
        table["general.quantization_version"] = Typed("u32", 2)
    if settings.key_width * settings.heads != settings.width:
        for each in ("key", "value"):
            table[f"{architecture}.attention.{each}_length"] = Typed("u32", settings.key_width)
    rotary = settings.positions
    if isinstance(rotary, RotaryPositions):
        table[f"{architecture}.rope.dimension_count"] = Typed("u32", settings.key_width)
        table[f"{architecture}.rope.freq_base"] = Typed("f32", rotary.raised_base(settings.key_width))
        table |= {f"{architecture}.rope.scaling.{key}": each for key, each in _gguf_scaling(rotary).items()}
    return table


def _gguf_scaling(rotary: RotaryPositions) -> Mapping[str, Typed]:
    match rotary.scaling:
        case LinearScaling(factor=factor):
            return {"type": Typed("string", "linear"), "factor": Typed("f32", factor)}
        case YarnScaling() as yarn:
            return {
                "type": Typed("string", "yarn"),
                "factor": Typed("f32", yarn.factor),
                "original_context_length": Typed("u32", yarn.original_context_tokens),
            }
        case NtkScaling() | Llama3Scaling() | None:  # in the base; in a tensor of factors
            return {}


def _most_common_kind(plan: Plan) -> str:
    """What most numbers are stored as."""
    counts: Counter[str] = Counter()
    for output in plan.outputs:
        if len(output.shape) > 1 and output.kind in {*TORCH_NAMES, *GGML_NUMBERS}:
            counts[output.kind] += output.shape[0] * output.shape[-1]
    return counts.most_common(1)[0][0]
