"""Parameters, operations and bytes of a decoder, counted from its settings alone."""

from dataclasses import asdict, dataclass
from typing import Literal

from fromscratch.model.settings import DecoderSettings
from fromscratch.model.tiling import BLOCKWISE_TOKENS, LOSS_POSITIONS_CPU, keys_per_query

__all__ = [
    "ParameterCounts",
    "TrainingBytes",
    "flops_per_token",
    "key_value_cache_bytes",
    "parameters",
    "training_bytes",
]


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters by part of the decoder. ``head`` is 0 when it is tied to the embedding."""

    embedding: int
    attention: int
    mlp: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    @property
    def without_embedding(self) -> int:
        """What scaling laws count: everything but the embedding and the head."""
        return self.attention + self.mlp + self.norms


def parameters(settings: DecoderSettings, vocabulary: int) -> ParameterCounts:
    """Count the parameters of a decoder over ``vocabulary`` tokens."""
    table = vocabulary * settings.width
    return ParameterCounts(
        embedding=table,
        attention=settings.layers * settings.width * 2 * (settings.width + settings.kv_width),
        mlp=settings.layers * 3 * settings.width * settings.ffn_width,
        norms=(2 * settings.layers + 1) * settings.width,
        head=table if settings.head == "untied" else 0,
    )


def flops_per_token(settings: DecoderSettings, vocabulary: int, sequence_tokens: int) -> int:
    """Floating-point operations that training takes per token, forward and backward (model FLOPs, as MFU counts them).

    6 N for the N weights that multiply (arXiv 2001.08361; the embedding is a look-up, a tied head multiplies), and for
    attention 6 · layers · width · (T + 1): two products of 2 · width per key, with (T + 1) / 2 keys on average since
    attention is causal, three times over for forward and backward. Recomputation is not counted. A third is inference.
    """
    count = parameters(settings, vocabulary)
    multiplying = count.attention + count.mlp + vocabulary * settings.width
    return 6 * multiplying + 6 * settings.layers * settings.width * (sequence_tokens + 1)


def key_value_cache_bytes(settings: DecoderSettings, sequences: int, tokens: int, bytes_per_number: int = 2) -> int:
    """Bytes of the keys and values that generation keeps for ``sequences`` of ``tokens`` each (bf16 by default)."""
    return 2 * settings.layers * sequences * tokens * settings.kv_width * bytes_per_number


@dataclass(frozen=True)
class TrainingBytes:
    """Memory of one process that trains, at its fullest: between the forward and the backward pass."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def training_bytes(
    settings: DecoderSettings,
    vocabulary: int,
    *,
    sequences: int,
    sequence_tokens: int,
    precision: Literal["fp32", "bf16"],
    optimizer_bytes_per_parameter: int = 8,
) -> TrainingBytes:
    """Bytes that a step on the CPU needs, with fp32 parameters and no recomputation.

    Adam keeps two fp32 numbers per parameter, Muon one (4 bytes). Under bf16 the weights are there twice. What
    autograd keeps was counted from its saved tensors, and a test compares the two.
    """
    count = parameters(settings, vocabulary).total
    number = 2 if precision == "bf16" else 4
    width, tokens = settings.width, sequences * sequence_tokens
    norm = 2 * 4 * width  # its input and its quotient, both of the fp32 stream
    inputs_of_products = 4 * width + 2 * settings.kv_width + 4 * settings.ffn_width  # gate, up, and silu(gate) too
    # The fused kernel keeps its output and one statistic per query; its input to the output product is that output.
    shares = settings.heads * keys_per_query(sequence_tokens) if sequence_tokens <= BLOCKWISE_TOKENS else settings.heads
    per_layer = 2 * norm + number * (inputs_of_products + shares)
    per_token = settings.layers * per_layer + norm + number * width
    return TrainingBytes(
        weights=count * (6 if precision == "bf16" else 4),
        gradients=4 * count,
        optimizer=optimizer_bytes_per_parameter * count,
        activations=round(tokens * per_token),
        logits=min(tokens, LOSS_POSITIONS_CPU) * vocabulary * (4 + 2 * number),
    )
