"""What a decoder is made of, and how a continuation is drawn from it, as settings; torch is not needed to read them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, refuse
from fromscratch.model.initialisation import DepthScaled, Initialisation, Parametrisation, Standard

__all__ = [
    "AlibiPositions",
    "DecoderSettings",
    "LearnedPositions",
    "LinearScaling",
    "Llama3Scaling",
    "NoPositions",
    "NtkScaling",
    "Positions",
    "Recompute",
    "RelativePositions",
    "RopeScaling",
    "RotaryPositions",
    "Sampling",
    "SinusoidalPositions",
    "YarnScaling",
]


class LinearScaling(Settings):
    """Positions divided by the factor (position interpolation, arXiv 2306.15595)."""

    kind: Literal["linear"] = "linear"

    factor: float = Field(gt=1)
    """How many times longer the context becomes."""


class NtkScaling(Settings):
    """The base raised so that the slowest pair turns 1/factor as far, the fastest as far as before ("NTK-aware")."""

    kind: Literal["ntk"] = "ntk"

    factor: float = Field(gt=1)
    """How many times longer the context becomes."""


class YarnScaling(Settings):
    """Fast pairs as before, slow ones interpolated, a ramp between them; scores sharpened (YaRN, arXiv 2309.00071)."""

    kind: Literal["yarn"] = "yarn"

    factor: float = Field(gt=1)
    """How many times longer the context becomes."""

    original_context_tokens: int = Field(gt=0)
    """Positions that the model was trained on before."""

    fast_turns: float = Field(default=32, gt=0)
    """Pairs that turn at least so often within the original context stay as they are (beta of the paper)."""

    slow_turns: float = Field(default=1, gt=0)
    """Pairs that turn at most so often are interpolated in full (alpha of the paper)."""


class Llama3Scaling(Settings):
    """Llama 3.1's: as YaRN's by wave length, without the sharpening (arXiv 2407.21783, section 3.4.2)."""

    kind: Literal["llama3"] = "llama3"

    factor: float = Field(gt=1)
    """How many times longer the context becomes."""

    original_context_tokens: int = Field(gt=0)
    """Positions that the model was trained on before."""

    low_frequency_factor: float = Field(default=1, gt=0)
    """Pairs whose wave is longer than the original context over this are interpolated in full."""

    high_frequency_factor: float = Field(default=4, gt=0)
    """Pairs whose wave is shorter than the original context over this stay as they are."""


RopeScaling = Annotated[LinearScaling | NtkScaling | YarnScaling | Llama3Scaling, Field(discriminator="kind")]


class RotaryPositions(Settings):
    """Queries and keys are turned by their position (RoPE, arXiv 2104.09864)."""

    kind: Literal["rotary"] = "rotary"

    base: float = Field(default=1e4, gt=1)
    """Base of the frequencies (theta). A larger one reaches further: Yi has 5e6 for 4,096 tokens."""

    scaling: RopeScaling | None = None
    """How positions beyond those of training are reached."""

    def raised_base(self, head_width: int) -> float:
        """The base as NTK-aware scaling raises it: the slowest pair then turns 1 / factor as far."""
        factor = self.scaling.factor if isinstance(self.scaling, NtkScaling) else 1.0
        return float(self.base * factor ** (head_width / max(head_width - 2, 1)))


class LearnedPositions(Settings):
    """A learnt vector for each position is added to the embedding (GPT-2)."""

    kind: Literal["learned"] = "learned"


class SinusoidalPositions(Settings):
    """Sines and cosines of the position are added to the embedding (arXiv 1706.03762, section 3.5)."""

    kind: Literal["sinusoidal"] = "sinusoidal"


class AlibiPositions(Settings):
    """Scores fall with the distance, at a slope of its own for each head (ALiBi, arXiv 2108.12409)."""

    kind: Literal["alibi"] = "alibi"


class RelativePositions(Settings):
    """Scores have a learnt term of the distance (Transformer-XL, arXiv 1901.02860, section 3.3), as in Gopher."""

    kind: Literal["relative"] = "relative"


class NoPositions(Settings):
    """Causality alone tells positions apart (NoPE, arXiv 2305.19466)."""

    kind: Literal["none"] = "none"


Positions = Annotated[
    RotaryPositions | LearnedPositions | SinusoidalPositions | AlibiPositions | RelativePositions | NoPositions,
    Field(discriminator="kind"),
]

GATED = ("swiglu", "geglu")
MOVED_TO_INIT = {"init_std": "std", "embedding_init_std": "embedding_std"}

Recompute = Literal["none", "selective", "full"]


class DecoderSettings(Settings):
    """A decoder, as a point on the four axes on which the open families differ: attention, activation, normalisation,
    positions. The defaults are Llama's and Yi's."""

    layers: int = Field(gt=0)
    """Blocks of attention and MLP."""

    width: int = Field(gt=0)
    """Numbers per token in the residual stream."""

    heads: int = Field(gt=0)
    """Query heads."""

    kv_heads: int = Field(gt=0)
    """Key/value heads, shared by `heads / kv_heads` query heads: 1 is multi-query, `heads` is multi-head attention."""

    head_width: int | None = Field(default=None, gt=0)
    """Numbers per head; `width / heads` when absent."""

    window_tokens: int | None = Field(default=None, gt=0)
    """A position attends to so many before and including itself (sliding window, as in Mistral 7B); all when absent."""

    qk_norm: Literal["none", "head"] = "none"
    """Whether queries and keys are normalised (RMSNorm over each head, arXiv 2302.05442), before they are turned."""

    biases: Literal["none", "query_key_value", "all"] = "none"
    """Which linear maps add a bias: none (Llama), those that make queries, keys and values (Qwen2), all (GPT-2)."""

    activation: Literal["relu", "gelu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh"] = "swiglu"
    """Of the MLP; `…glu` multiply a gate with a second product (arXiv 2002.05202), `tanh` approximates GELU."""

    ffn_width: int = Field(gt=0)
    """Inner width of the MLP; 8/3 of `width` makes a gated one cost what a plain one of 4 × `width` does."""

    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm (arXiv 1910.07467), or LayerNorm (arXiv 1607.06450) with its bias."""

    norm_placement: Literal["pre", "post", "sandwich"] = "pre"
    """Norm of each sub-layer's input (arXiv 2002.04745), of the sum with its output (the first Transformer), or of
    input and output both (arXiv 2105.13290)."""

    norm_epsilon: float = Field(default=1e-5, gt=0)
    """Added to the mean square, or to the variance."""

    positions: Positions = RotaryPositions()
    """How the model tells positions apart."""

    block: Literal["sequential", "parallel"] = "sequential"
    """Whether the MLP reads what attention has added, or both read the same stream (GPT-J, arXiv 2204.02311)."""

    context_tokens: int = Field(gt=0)
    """Positions that the decoder is meant for: training windows and generation stay within them."""

    head: Literal["tied", "untied"] = "untied"
    """Whether the output head is the embedding itself or a matrix of its own."""

    init: Initialisation = DepthScaled()
    """How initial weights are drawn."""

    parametrisation: Parametrisation = Standard()
    """How initial weights and learning rates follow the width."""

    @model_validator(mode="before")
    @classmethod
    def _say_where_settings_went(cls, data: Any) -> Any:
        for name, now in MOVED_TO_INIT.items():
            if isinstance(data, Mapping) and name in data:
                refuse(f"`@{name}` is not a setting", f'did you mean `init = {{ kind = "depth_scaled", {now} = … }}`?')
        return data

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.heads % self.kv_heads:
            refuse(
                f"`@kv_heads` = {self.kv_heads} does not divide `@heads` = {self.heads}",
                f"use {_divisors_in_words(self.heads)}",
            )
        if self.block == "parallel" and self.norm_placement == "post":
            refuse('`@block` = "parallel" has no sum to normalise after attention', 'use `norm_placement` = "pre"')
        if self.head_width is None and self.width % self.heads:
            nearest = max(self.heads, round(self.width / self.heads) * self.heads)
            refuse(
                f"`@heads` = {self.heads} does not divide `@width` = {self.width}",
                f"use another number of heads, a width such as {nearest}, or say `head_width`",
            )
        if self.key_width % 2 and self.positions.kind == "rotary":
            told, mended = f"`@head_width` = {self.head_width}", f"{self.key_width + 1}"
            if self.head_width is None:
                told = f"`@width` / `@heads` = {self.key_width}"
                mended = f"a width such as {self.width + self.heads}, which makes heads {self.key_width + 1} wide"
            refuse(f"{told} is odd, and rotary positions turn pairs", f"use {mended}")
        if self.head == "tied" and "head" in self.init.zero:
            refuse('`@head` = "tied" has no head of its own to begin at 0', "leave `head` out of `init.zero`")
        if self.width % 2 and self.positions.kind in ("sinusoidal", "relative"):
            refuse(f"`@width` = {self.width} is odd, and sines come in pairs with cosines", f"use {self.width + 1}")
        return self

    @property
    def key_width(self) -> int:
        """Numbers per attention head."""
        return self.head_width or self.width // self.heads

    @property
    def query_width(self) -> int:
        """Numbers per token in the queries of all heads."""
        return self.heads * self.key_width

    @property
    def kv_width(self) -> int:
        """Numbers per token in the keys, and as many in the values."""
        return self.kv_heads * self.key_width

    @property
    def is_gated(self) -> bool:
        """Whether the MLP multiplies a gate with a second product."""
        return self.activation.startswith(GATED)

    @property
    def beyond_llama(self) -> dict[str, str]:
        """What plain Llama code cannot run, by setting, with what it has instead; its config chooses all the rest."""
        plain = {"window_tokens": None, "qk_norm": "none", "biases": "none", "activation": "swiglu", "norm": "rms"}
        plain |= {"norm_placement": "pre", "block": "sequential"}
        beyond = {name: f'"{has}"' if has else "none" for name, has in plain.items() if getattr(self, name) != has}
        return beyond if self.positions.kind == "rotary" else {**beyond, "positions.kind": '"rotary"'}


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

    min_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the tokens that have at least this share of the likeliest one's probability (arXiv 2407.01082)."""
