"""Parameters, operations and bytes of a decoder, counted from its settings alone."""

from dataclasses import asdict, dataclass
from typing import Literal

from fromscratch.model.settings import DecoderSettings, Recompute
from fromscratch.model.tiling import BLOCKWISE_TOKENS, keys_per_query, loss_positions

__all__ = [
    "ParameterCounts",
    "TrainingBytes",
    "flops_per_token",
    "key_value_cache_bytes",
    "parameters",
    "part_of",
    "training_bytes",
]


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters by part of the decoder. ``head`` is 0 when it is tied to the embedding."""

    embedding: int
    positions: int
    attention: int
    mlp: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    @property
    def without_embedding(self) -> int:
        """What scaling laws count: everything but the embeddings and the head."""
        return self.attention + self.mlp + self.norms


def parameters(settings: DecoderSettings, vocabulary: int) -> ParameterCounts:
    """Count the parameters of a decoder over ``vocabulary`` tokens."""
    table, norm = vocabulary * settings.width, settings.width * (2 if settings.norm == "layer" else 1)
    norms_per_layer = 4 if settings.norm_placement == "sandwich" else 2
    attention, attention_vectors = _attention_parameters(settings)
    mlp_biases = settings.ffn_width * _mlp_inputs(settings) + settings.width if settings.biases == "all" else 0
    return ParameterCounts(
        embedding=table,
        positions=settings.context_tokens * settings.width if settings.positions.kind == "learned" else 0,
        attention=settings.layers * (attention + attention_vectors),
        mlp=settings.layers * (_mlp_matrices(settings) + mlp_biases),
        norms=norm * (norms_per_layer * settings.layers + (settings.norm_placement != "post")),
        head=table if settings.head == "untied" else 0,
    )


def part_of(name: str) -> str:
    """The part of ``ParameterCounts`` that a parameter of the decoder is counted in, by its name."""
    outer = {"embedding": "embedding", "position_embedding": "positions", "head": "head"}
    within = name.split(".")
    return outer.get(within[0]) or next((each for each in ("attention", "mlp") if each in within), "norms")


def _attention_parameters(settings: DecoderSettings) -> tuple[int, int]:
    """Numbers in the matrices of one layer's attention, and in its vectors."""
    matrices, vectors = settings.width * 2 * (settings.query_width + settings.kv_width), 0
    if settings.positions.kind == "relative":
        matrices += settings.width * settings.query_width
        vectors += 2 * settings.query_width
    if settings.biases != "none":
        vectors += settings.query_width + 2 * settings.kv_width
    if settings.biases == "all":
        vectors += settings.width
    if settings.qk_norm == "head":
        vectors += 2 * settings.key_width
    return matrices, vectors


def _mlp_inputs(settings: DecoderSettings) -> int:
    return 2 if settings.is_gated else 1


def _mlp_matrices(settings: DecoderSettings) -> int:
    return settings.width * settings.ffn_width * (_mlp_inputs(settings) + 1)


def flops_per_token(settings: DecoderSettings, vocabulary: int, sequence_tokens: int) -> int:
    """Floating-point operations that training takes per token, forward and backward (model FLOPs, as MFU counts them).

    6 N for the N weights that multiply (arXiv 2001.08361; embeddings are look-ups, a tied head multiplies), and for
    attention 12 · layers · heads · head width for each key that a query sees, of which there are (T + 1) / 2 on average
    without a window: two products per key, three times over for forward and backward. Recomputation is not counted. A
    third of it is inference.
    """
    matrices = settings.layers * (_attention_parameters(settings)[0] + _mlp_matrices(settings))
    multiplying = matrices + vocabulary * settings.width
    window = min(settings.window_tokens or sequence_tokens, sequence_tokens)
    seen_keys = window * sequence_tokens - window * (window - 1) // 2  # of all queries of a sequence
    products = 3 if settings.positions.kind == "relative" else 2
    return 6 * multiplying + 6 * settings.layers * settings.query_width * products * seen_keys // sequence_tokens


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
    recompute: Recompute = "none",
) -> TrainingBytes:
    """Bytes that a step on the CPU needs, with fp32 parameters.

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
    kept = 4 * width  # the stream before a layer
    if recompute == "selective":
        outputs = settings.query_width + 2 * settings.kv_width + 2 * width + _mlp_inputs(settings) * settings.ffn_width
        kept += number * (outputs + (settings.query_width if sequence_tokens > BLOCKWISE_TOKENS else 0))
    # What is computed again is there for one layer at a time.
    layers = settings.layers * per_layer if recompute == "none" else settings.layers * kept + per_layer
    per_token = layers + norm + number * width
    return TrainingBytes(
        weights=count * (6 if precision == "bf16" else 4),
        gradients=4 * count,
        optimizer=optimizer_bytes_per_parameter * count,
        activations=round(tokens * per_token),
        logits=min(tokens, loss_positions(vocabulary, on_gpu=False)) * vocabulary * (4 + 2 * number),
    )
