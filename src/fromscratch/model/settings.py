"""What a decoder is made of, and how a continuation is drawn from it, as settings; torch is not needed to read them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, refuse

__all__ = ["DecoderSettings", "Sampling"]


class DecoderSettings(Settings):
    """A decoder of the Llama layout: grouped-query attention, pre-norm RMSNorm, SwiGLU, rotary positions, no biases."""

    layers: int = Field(gt=0)
    """Blocks of attention and MLP."""

    width: int = Field(gt=0)
    """Numbers per token in the residual stream."""

    heads: int = Field(gt=0)
    """Query heads. Each is `width / heads` wide."""

    kv_heads: int = Field(gt=0)
    """Key/value heads, shared by `heads / kv_heads` query heads: 1 is multi-query, `heads` is multi-head attention."""

    ffn_width: int = Field(gt=0)
    """Inner width of the SwiGLU MLP; 8/3 of `width` costs what a plain MLP of 4 × `width` does."""

    context_tokens: int = Field(gt=0)
    """Positions that the decoder is meant for: training windows and generation stay within them."""

    rope_base: float = Field(default=1e4, gt=1)
    """Base of the rotary frequencies (theta). A larger one reaches further: Yi has 5e6 for 4,096 tokens."""

    norm_epsilon: float = Field(default=1e-5, gt=0)
    """Added to the mean square in RMSNorm."""

    head: Literal["tied", "untied"] = "untied"
    """Whether the output head is the embedding itself or a matrix of its own."""

    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of initial weights; those that write to the residual stream get it over √(2 · layers)."""

    embedding_init_std: float | None = Field(default=None, gt=0)
    """Standard deviation of the initial embedding, where it is not `init_std`. With 1 the residual stream starts at the
    scale that norms give it."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.heads % self.kv_heads:
            refuse(
                f"`@kv_heads` = {self.kv_heads} does not divide `@heads` = {self.heads}",
                f"use {_divisors_in_words(self.heads)}",
            )
        if self.width % self.heads:
            nearest = max(self.heads, round(self.width / self.heads) * self.heads)
            refuse(
                f"`@heads` = {self.heads} does not divide `@width` = {self.width}",
                f"use another number of heads, or a width such as {nearest}",
            )
        if self.head_width % 2:
            refuse(
                f"`@width` / `@heads` = {self.head_width} is odd, and rotary positions turn pairs",
                f"use a width such as {self.width + self.heads}, which makes heads {self.head_width + 1} wide",
            )
        return self

    @property
    def head_width(self) -> int:
        """Numbers per attention head."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Numbers per token in the keys, and as many in the values."""
        return self.kv_heads * self.head_width


def _divisors_in_words(heads: int) -> str:
    words = [str(each) for each in range(1, heads + 1) if heads % each == 0]
    words[0] += " (multi-query)"
    if heads == 1:
        return "1"
    words[-1] += " (multi-head)"
    return f"{', '.join(words[:-1])} or {words[-1]}"


class Sampling(Settings):
    """How the next token is drawn. The steps apply in the order of the fields after `max_tokens`."""

    max_tokens: int = Field(default=256, gt=0)
    """Tokens to generate at most; the end of the context or a stop token may come earlier."""

    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1 makes tokens that were seen before less likely (CTRL, arXiv 1909.05858); 1 changes nothing."""

    temperature: float = Field(default=0.7, ge=0)
    """Divides the logits; 0 takes the likeliest token (greedy)."""

    top_k: int | None = Field(default=None, gt=0)
    """Keep the k likeliest tokens; all when absent."""

    top_p: float | None = Field(default=0.9, gt=0, le=1)
    """Keep the likeliest tokens that hold this share of the probability (nucleus, arXiv 1904.09751)."""
