"""The architecture card: what a decoder is on the four axes, and what it takes to train and to run it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fromscratch.model.arithmetic import flops_per_token, key_value_cache_bytes, parameters
from fromscratch.model.settings import DecoderSettings, Llama3Scaling, RotaryPositions, YarnScaling

__all__ = ["architecture_card", "card_page", "in_bytes", "in_power", "rows"]

MIXED_PRECISION_BYTES = {"weights, bf16": 2, "fp32 masters": 4, "gradients, fp32": 4, "Adam's moments, fp32": 8}


def architecture_card(settings: DecoderSettings, vocabulary: int) -> dict[str, Any]:
    """Everything that is known of a decoder before it is built, as plain JSON. Nothing is allocated.

    ``flops_per_token`` is of training, forward and backward, in a full context; a third of it is inference.
    ``bytes_to_train`` is the state of one copy in mixed precision, without activations, which depend on the batch.
    """
    counts = parameters(settings, vocabulary)
    return {
        "axes": {
            "attention": _attention(settings),
            "activation": _activation(settings),
            "normalisation": _normalisation(settings),
            "positions": _positions(settings),
        },
        "layers": settings.layers,
        "width": settings.width,
        "ffn_width": settings.ffn_width,
        "vocabulary": vocabulary,
        "context_tokens": settings.context_tokens,
        "head": settings.head,
        "block": settings.block,
        "parameters": {**asdict(counts), "total": counts.total},
        "flops_per_token": flops_per_token(settings, vocabulary, settings.context_tokens),
        "key_value_cache_bytes_per_token": key_value_cache_bytes(settings, 1, 1),
        "bytes_to_train": {name: each * counts.total for name, each in MIXED_PRECISION_BYTES.items()},
    }


def card_page(name: str, card: Mapping[str, Any], remarks: Mapping[str, str]) -> str:
    """The card for a terminal, a fact a line; ``remarks`` come last."""
    counts = card["parameters"]
    train, cache = card["bytes_to_train"], card["key_value_cache_bytes_per_token"]
    shares = [(part, each) for part, each in counts.items() if part != "total" and each]
    widest = max(len(f"{each:,}") for _, each in shares)
    lines = [
        name,
        *rows(card["axes"]),
        "",
        *rows(
            {
                "shape": f"{card['layers']} {card['block']} blocks × {card['width']:,}, MLP {card['ffn_width']:,}",
                "vocabulary": f"{card['vocabulary']:,}, {card['head']} head",
                "context": f"{card['context_tokens']:,} tokens",
                "parameters": f"{counts['total']:,}",
            }
        ),
        *(f"  {'':<14}  {each:>{widest},}  {each / counts['total']:>4.0%}  {part}" for part, each in shares),
        *rows(
            {
                "training": f"{in_power(card['flops_per_token'])}FLOP per token in a full context, "
                "a third of it to run",
                "cache": f"{cache / 1024:,.1f} KiB per token of keys and values in bf16, "
                f"{in_bytes(cache * card['context_tokens'])} for a full context",
                "memory": f"{in_bytes(sum(train.values()))} to train, without activations",
            }
        ),
        *(f"  {'':<14}  {in_bytes(each):>{widest}}        {part}" for part, each in train.items()),
        *rows(remarks),
    ]
    return "\n".join(lines)


def rows(facts: Mapping[str, str]) -> list[str]:
    """Lines of a card: what, and what is known of it."""
    return [f"  {name:<14}  {told}" for name, told in facts.items()]


def _attention(settings: DecoderSettings) -> str:
    heads, kv_heads = settings.heads, settings.kv_heads
    kind = "multi-head" if kv_heads == heads else "multi-query" if kv_heads == 1 else "grouped-query"
    told = [f"{kind}, {heads} heads of {settings.key_width}" + (f" over {kv_heads}" if kv_heads != heads else "")]
    told += {"none": ["no biases"], "query_key_value": ["biases of queries, keys and values"], "all": ["biases"]}[
        settings.biases
    ]
    if settings.qk_norm == "head":
        told.append("queries and keys normalised")
    if settings.window_tokens is not None:
        told.append(f"a window of {settings.window_tokens:,} tokens")
    return ", ".join(told)


def _activation(settings: DecoderSettings) -> str:
    names = {"relu": "ReLU", "gelu": "GELU", "gelu_tanh": "GELU (tanh)"}
    names |= {"swiglu": "SwiGLU", "geglu": "GeGLU", "geglu_tanh": "GeGLU (tanh)"}
    return names[settings.activation]


def _normalisation(settings: DecoderSettings) -> str:
    kind = "RMSNorm" if settings.norm == "rms" else "LayerNorm"
    return f"{kind}, {settings.norm_placement}, epsilon {settings.norm_epsilon:g}"


def _positions(settings: DecoderSettings) -> str:
    positions = settings.positions
    if not isinstance(positions, RotaryPositions):
        names = {"learned": "learned vectors", "sinusoidal": "sinusoids, added", "alibi": "ALiBi"}
        names |= {"relative": "relative, as in Transformer-XL", "none": "none"}
        return names[positions.kind]
    told, scaling = f"rotary, base {positions.base:,.0f}", positions.scaling
    if scaling is not None:
        name = {"ntk": "NTK-aware", "yarn": "YaRN", "llama3": "Llama 3.1"}.get(scaling.kind, scaling.kind)
        told += f", {name} scaling by {scaling.factor:g}"
    if isinstance(scaling, YarnScaling | Llama3Scaling):
        told += f" from {scaling.original_context_tokens:,} tokens"
    return told


def in_bytes(size: float) -> str:
    """1.5 GB; 3.0 MB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def in_power(value: float) -> str:
    """``1.50 G``, to be followed by a unit."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:,.2f} {prefix}"
    return f"{value:,.0f} "
