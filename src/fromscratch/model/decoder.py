"""The decoder: tokens in, logits or a loss out, in the layout of Llama with grouped-query attention.

B batch · T position · S position of a key · P = B, or 1 where all rows stand at the same positions · N = B·T tokens
D model width · F inner width of the MLP · H query head · G key/value head · K head width · V vocabulary
"""

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fromscratch.model.attention import Rotation, cached_attention, causal_attention, rotation, turned
from fromscratch.model.cache import KeyValueCache, LayerCache
from fromscratch.model.loss import cross_entropy
from fromscratch.model.precision import compute_dtype
from fromscratch.model.settings import DecoderSettings

__all__ = ["Decoder", "initialise"]


class Decoder(nn.Module):
    """A decoder over ``vocabulary`` tokens. Its weights mean nothing before ``initialise`` or a load.

    Parameters are fp32. Under ``torch.autocast`` products run in its type, while the residual stream, the
    statistics of norm and softmax, and the loss stay fp32.
    """

    def __init__(self, settings: DecoderSettings, vocabulary: int) -> None:
        super().__init__()
        self.settings = settings
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.layers = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        self.final_norm = RMSNorm(settings.width, settings.norm_epsilon)
        self.head = nn.Linear(settings.width, vocabulary, bias=False) if settings.head == "untied" else None

    @property
    def head_weight(self) -> Tensor:
        """The output matrix [V, D], which is the embedding itself when the head is tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(self, tokens_BT: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each position."""
        return functional.linear(self.hidden(tokens_BT, cache), self.head_weight)

    def hidden(self, tokens_BT: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """What the head multiplies: the normalised hidden states [B, T, D] of tokens [B, T].

        With a cache the tokens follow what each of its rows has read, and it is extended by them; without one they
        start at position 0.
        """
        T = tokens_BT.shape[1]
        x_BTD: Tensor = self.embedding(tokens_BT)
        positions_PT = torch.arange(T, device=x_BTD.device).unsqueeze(0) if cache is None else cache.next_positions(T)
        turn = rotation(positions_PT, self.settings.head_width, self.settings.rope_base, compute_dtype(x_BTD))
        for index, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, turn, None if cache is None else cache.layer(index, positions_PT))
        if cache is not None:
            cache.advance(T)
        normed_BTD: Tensor = self.final_norm(x_BTD)
        return normed_BTD

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor, *, z_loss: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats over the targets that are not ``loss.IGNORED``, without holding all logits.

        ``z_loss`` is added to it as in ``loss.cross_entropy``; the loss of no target at all is 0.
        """
        hidden_ND = self.hidden(tokens_BT).flatten(0, 1)
        return cross_entropy(hidden_ND, self.head_weight, targets_BT.flatten(), z_loss)


class Layer(nn.Module):
    """Attention, then the MLP, each on the normalised stream and added back to it (pre-norm)."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(settings.width, settings.norm_epsilon)
        self.attention = Attention(settings)
        self.mlp_norm = RMSNorm(settings.width, settings.norm_epsilon)
        self.mlp = SwiGLU(settings)

    def forward(self, x_BTD: Tensor, turn: Rotation, cache: LayerCache | None) -> Tensor:
        mixed_BTD: Tensor = x_BTD + self.attention(self.attention_norm(x_BTD), turn, cache)
        output_BTD: Tensor = mixed_BTD + self.mlp(self.mlp_norm(mixed_BTD))
        return output_BTD


class RMSNorm(nn.Module):
    """x / rms(x) · weight (arXiv 1910.07467), computed in the stream's type and handed on in that of the products."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return functional.rms_norm(x_BTD, self.weight.shape, self.weight, self.epsilon).to(compute_dtype(x_BTD))


class Attention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) with rotary positions."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.head_width = settings.head_width
        self.query = nn.Linear(settings.width, settings.width, bias=False)
        self.key = nn.Linear(settings.width, settings.kv_width, bias=False)
        self.value = nn.Linear(settings.width, settings.kv_width, bias=False)
        self.output = nn.Linear(settings.width, settings.width, bias=False)

    def forward(self, x_BTD: Tensor, turn: Rotation, cache: LayerCache | None) -> Tensor:
        query_BTHK = turned(self.query(x_BTD).unflatten(-1, (-1, self.head_width)), turn)
        key_BTGK = turned(self.key(x_BTD).unflatten(-1, (-1, self.head_width)), turn)
        value_BTGK = self.value(x_BTD).unflatten(-1, (-1, self.head_width))
        if cache is None:
            mixed_BTHK = causal_attention(query_BTHK, key_BTGK, value_BTGK)
        else:
            key_BSGK, value_BSGK = cache.extended(key_BTGK, value_BTGK)
            mixed_BTHK = cached_attention(query_BTHK, key_BSGK, value_BSGK, cache.positions_BT)
        output_BTD: Tensor = self.output(mixed_BTHK.flatten(2))
        return output_BTD


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (arXiv 2002.05202)."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.gate = nn.Linear(settings.width, settings.ffn_width, bias=False)
        self.up = nn.Linear(settings.width, settings.ffn_width, bias=False)
        self.down = nn.Linear(settings.ffn_width, settings.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        inner_BTF = functional.silu(self.gate(x_BTD)) * self.up(x_BTD)
        output_BTD: Tensor = self.down(inner_BTF)
        return output_BTD


@torch.no_grad()
def initialise(decoder: Decoder, seed: int) -> None:
    """Draw the initial weights: each a function of the seed and its parameter's name and shape, nothing else.

    Matrices are normal with ``init_std``, over √(2 · layers) where they write to the residual stream (GPT-2); norms
    are 1. They are drawn on the CPU, so that every device and every sharding starts from the same weights.
    """
    settings = decoder.settings
    for name, parameter in decoder.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1.0)
            continue
        std = settings.init_std
        if name.endswith((".attention.output.weight", ".mlp.down.weight")):
            std /= math.sqrt(2 * settings.layers)
        elif name == "embedding.weight":
            std = settings.embedding_init_std or std
        key = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
        parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))
