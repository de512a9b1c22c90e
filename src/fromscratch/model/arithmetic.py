"""Parameters, operations and bytes of a decoder, counted from its settings alone."""

from dataclasses import asdict, dataclass

from fromscratch.model.settings import DecoderSettings

__all__ = [
    "ParameterCounts",
    "flops_per_token",
    "key_value_cache_bytes",
    "parameters",
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
