"""The decoder: tokens in, logits or a loss out; each of its four axes is a choice of the settings.

B batch · T position · S position of a key · P = B, or 1 where all rows stand at the same positions · N = B·T tokens
D model width · F inner width of the MLP · H query head · G key/value head · K head width · V vocabulary · R distance
A = H, or 1 where all heads have the same term of the score
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fromscratch.model.attention import attention_within, biased_attention, causal_attention
from fromscratch.model.cache import KeyValueCache, LayerCache
from fromscratch.model.documents import Documents, documents_in, ended_by
from fromscratch.model.loss import cross_entropy
from fromscratch.model.positions import (
    Rotation,
    alibi_slopes,
    at_distances,
    rotation,
    sinusoids,
    turned,
    unseen,
)
from fromscratch.model.precision import compute_dtype
from fromscratch.model.recompute import with_recomputation
from fromscratch.model.settings import DecoderSettings, Recompute, RotaryPositions

__all__ = ["Decoder", "Place"]

# Devices on which packed documents are attended to one after another; a mask parts them elsewhere.
ONE_BY_ONE = ("cpu",)


@dataclass
class Place:
    """Where the tokens at hand stand, as every layer needs it; computed once for all of them."""

    positions: Tensor
    """[P, T], counted from the beginning of the row."""
    turn: Rotation | None
    """Of queries and keys, with rotary positions."""
    bias: Tensor | None
    """What is added to scores [P, H or 1, T, S]; None where each position sees all before it, and nothing is added."""
    distances: Tensor | None
    """Sinusoids [R, D] of the distances 0, 1, …, with relative positions."""
    documents: Documents | None
    """The documents that attention stays within, where there are any and ``bias`` does not hide them."""


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
        learned = settings.positions.kind == "learned"
        self.position_embedding = nn.Embedding(settings.context_tokens, settings.width) if learned else None
        self.layers = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        # The last of post-placed norms has normalised the stream already.
        self.final_norm = _norm(settings) if settings.norm_placement != "post" else None
        self.head = nn.Linear(settings.width, vocabulary, bias=False) if settings.head == "untied" else None
        self.document_end: int | None = None
        """The token that ends a document, where ``loss`` is to keep attention within documents."""

    @property
    def head_weight(self) -> Tensor:
        """The output matrix [V, D], which is the embedding itself when the head is tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(self, tokens_BT: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each position."""
        return functional.linear(self.hidden(tokens_BT, cache), self.head_weight)

    def hidden(
        self, tokens_BT: Tensor, cache: KeyValueCache | None = None, documents_BT: Tensor | None = None
    ) -> Tensor:
        """What the head multiplies: the normalised hidden states [B, T, D] of tokens [B, T].

        With a cache the tokens follow what each of its rows has read, and it is extended by them; without one they
        start at position 0. ``documents_BT`` numbers the documents that stand one after another in a row: each is then
        read as if it stood alone, with positions of its own (arXiv 2107.02027, section 3.2).
        """
        assert cache is None or documents_BT is None, "what a cache holds is one document"
        T = tokens_BT.shape[1]
        x_BTD: Tensor = self.embedding(tokens_BT)
        positions_PT = torch.arange(T, device=x_BTD.device).unsqueeze(0) if cache is None else cache.next_positions(T)
        documents = None if documents_BT is None else documents_in(documents_BT)
        if documents is not None:
            positions_PT = positions_PT.expand(documents.positions.shape)
        own_positions_PT = positions_PT if documents is None else documents.positions
        if self.position_embedding is not None:
            x_BTD = x_BTD + self.position_embedding(own_positions_PT)
        elif self.settings.positions.kind == "sinusoidal":
            x_BTD = x_BTD + sinusoids(own_positions_PT, self.settings.width)
        place = self._place(positions_PT, cache, documents, compute_dtype(x_BTD))
        for index, layer in enumerate(self.layers):
            x_BTD = layer(x_BTD, place, None if cache is None else cache.layer(index, positions_PT))
        if cache is not None:
            cache.advance(T)
        if self.final_norm is None:
            return x_BTD.to(compute_dtype(x_BTD))
        normed_BTD: Tensor = self.final_norm(x_BTD)
        return normed_BTD

    def _place(
        self, positions_PT: Tensor, cache: KeyValueCache | None, documents: Documents | None, dtype: torch.dtype
    ) -> Place:
        settings = self.settings
        S = positions_PT.shape[1] if cache is None else cache.end_after(positions_PT.shape[1])
        place = Place(positions_PT, None, None, None, documents)
        if isinstance(settings.positions, RotaryPositions):
            own_positions_PT = positions_PT if documents is None else documents.positions
            place.turn = rotation(own_positions_PT, settings.key_width, settings.positions, dtype)
        elif settings.positions.kind == "relative":
            # No key is further away than the first one is from the last query.
            place.distances = sinusoids(torch.arange(S, device=positions_PT.device), settings.width).to(dtype)
        narrow = settings.window_tokens is not None and settings.window_tokens < S
        one_by_one = documents is None or positions_PT.device.type in ONE_BY_ONE
        if cache is not None or narrow or settings.positions.kind in ("alibi", "relative") or not one_by_one:
            place.bias = unseen(positions_PT, S, settings.window_tokens)
        if place.bias is not None and documents is not None:
            place.bias = place.bias.masked_fill(documents.apart.unsqueeze(1), -torch.inf)
        if settings.positions.kind == "alibi" and place.bias is not None:
            distance_PTS = positions_PT.unsqueeze(-1) - torch.arange(S, device=positions_PT.device)
            slope_H11 = alibi_slopes(settings.heads, positions_PT.device).view(-1, 1, 1)
            place.bias = place.bias - slope_H11 * distance_PTS.unsqueeze(1)
        return place

    def loss(
        self, tokens_BT: Tensor, targets_BT: Tensor, *, z_loss: float = 0.0, documents_BT: Tensor | None = None
    ) -> Tensor:
        """Mean cross-entropy in nats over the targets that are not ``loss.IGNORED``, without holding all logits.

        ``z_loss`` is added to it as in ``loss.cross_entropy``; the loss of no target at all is 0. Attention stays
        within ``documents_BT``, or within those that end with ``document_end`` where that is set.
        """
        if documents_BT is None and self.document_end is not None:
            documents_BT = ended_by(tokens_BT, self.document_end)
        hidden_ND = self.hidden(tokens_BT, documents_BT=documents_BT).flatten(0, 1)
        return cross_entropy(hidden_ND, self.head_weight, targets_BT.flatten(), z_loss)


class Layer(nn.Module):
    """Attention and the MLP, each added to the residual stream, with norms where the settings place them."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.recompute: Recompute = "none"
        """What of this layer the backward pass of a training computes again."""
        self.placement = settings.norm_placement
        self.block = settings.block
        self.attention_norm = _norm(settings)
        self.attention = Attention(settings)
        self.mlp_norm = _norm(settings)
        self.mlp = MLP(settings)
        sandwich = settings.norm_placement == "sandwich"
        self.attention_output_norm = _norm(settings, of_stream=True) if sandwich else None
        self.mlp_output_norm = _norm(settings, of_stream=True) if sandwich else None

    def forward(self, x_BTD: Tensor, place: Place, cache: LayerCache | None) -> Tensor:
        return with_recomputation(lambda x_BTD: self._added(x_BTD, place, cache), x_BTD, self.recompute)

    def _added(self, x_BTD: Tensor, place: Place, cache: LayerCache | None) -> Tensor:
        if self.placement == "post":
            mixed_BTD = self.attention_norm(x_BTD + self.attention(_for_products(x_BTD), place, cache))
            output_BTD: Tensor = self.mlp_norm(mixed_BTD + self.mlp(_for_products(mixed_BTD)))
            return output_BTD
        attended_BTD = self.attention(self.attention_norm(x_BTD), place, cache)
        if self.attention_output_norm is not None:
            attended_BTD = self.attention_output_norm(attended_BTD)
        mixed_BTD = x_BTD + attended_BTD
        thought_BTD = self.mlp(self.mlp_norm(x_BTD if self.block == "parallel" else mixed_BTD))
        if self.mlp_output_norm is not None:
            thought_BTD = self.mlp_output_norm(thought_BTD)
        output_BTD = mixed_BTD + thought_BTD
        return output_BTD  # noqa: RET504 (its name says its shape)


class RMSNorm(nn.Module):
    """x / rms(x) · weight (arXiv 1910.07467), computed in fp32 and handed on in the type of the products.

    With ``of_stream`` its output goes to the residual stream, and stays as it is computed.
    """

    def __init__(self, width: int, epsilon: float, of_stream: bool = False) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.of_stream = of_stream
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        normed_BTD = functional.rms_norm(x_BTD.to(self.weight.dtype), self.weight.shape, self.weight, self.epsilon)
        return normed_BTD if self.of_stream else _for_products(normed_BTD)


class LayerNorm(nn.Module):
    """(x - mean(x)) / deviation(x) · weight + bias (arXiv 1607.06450), in the types of ``RMSNorm``."""

    def __init__(self, width: int, epsilon: float, of_stream: bool = False) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.of_stream = of_stream
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD.to(self.weight.dtype)
        normed_BTD = functional.layer_norm(x_BTD, self.weight.shape, self.weight, self.bias, self.epsilon)
        return normed_BTD if self.of_stream else _for_products(normed_BTD)


def _norm(settings: DecoderSettings, of_stream: bool | None = None) -> RMSNorm | LayerNorm:
    kind = RMSNorm if settings.norm == "rms" else LayerNorm
    to_stream = settings.norm_placement == "post" if of_stream is None else of_stream
    return kind(settings.width, settings.norm_epsilon, to_stream)


def _for_products(x_BTD: Tensor) -> Tensor:
    return x_BTD.to(compute_dtype(x_BTD))


class Attention(nn.Module):
    """Multi-head, grouped-query (arXiv 2305.13245) or multi-query attention (arXiv 1911.02150)."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        D, K, biased = settings.width, settings.key_width, settings.biases != "none"
        self.key_width = K
        self.query = nn.Linear(D, settings.query_width, bias=biased)
        self.key = nn.Linear(D, settings.kv_width, bias=biased)
        self.value = nn.Linear(D, settings.kv_width, bias=biased)
        self.output = nn.Linear(settings.query_width, D, bias=settings.biases == "all")
        normed = settings.qk_norm == "head"
        self.query_norm = RMSNorm(K, settings.norm_epsilon) if normed else None
        self.key_norm = RMSNorm(K, settings.norm_epsilon) if normed else None
        self.distance = DistanceScores(settings) if settings.positions.kind == "relative" else None

    def forward(self, x_BTD: Tensor, place: Place, cache: LayerCache | None) -> Tensor:
        query_BTHK = self.query(x_BTD).unflatten(-1, (-1, self.key_width))
        key_BTGK = self.key(x_BTD).unflatten(-1, (-1, self.key_width))
        value_BTGK = self.value(x_BTD).unflatten(-1, (-1, self.key_width))
        if self.query_norm is not None and self.key_norm is not None:
            query_BTHK, key_BTGK = self.query_norm(query_BTHK), self.key_norm(key_BTGK)
        if place.turn is not None:
            query_BTHK, key_BTGK = turned(query_BTHK, place.turn), turned(key_BTGK, place.turn)
        bias_PATS = place.bias
        if self.distance is not None and bias_PATS is not None:
            query_BTHK, score_BHTS = self.distance(query_BTHK, place)
            bias_PATS = bias_PATS + score_BHTS
        if bias_PATS is None and place.documents is not None:
            mixed_BTHK = attention_within(place.documents, query_BTHK, key_BTGK, value_BTGK)
        elif bias_PATS is None:
            mixed_BTHK = causal_attention(query_BTHK, key_BTGK, value_BTGK)
        else:
            key_BSGK, value_BSGK = (key_BTGK, value_BTGK) if cache is None else cache.extended(key_BTGK, value_BTGK)
            mixed_BTHK = biased_attention(query_BTHK, key_BSGK, value_BSGK, bias_PATS)
        output_BTD: Tensor = self.output(mixed_BTHK.flatten(2))
        return output_BTD


class DistanceScores(nn.Module):
    """Transformer-XL's terms of the score (arXiv 1901.02860, section 3.3).

    A query q and a key k at distance r score (q + u) · k + (q + v) · W s(r), over √K: s are sinusoids, W is ``map``,
    and the vectors u and v of each head are ``content`` and ``position``.
    """

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.map = nn.Linear(settings.width, settings.query_width, bias=False)
        self.content = nn.Parameter(torch.zeros(settings.heads, settings.key_width))
        self.position = nn.Parameter(torch.zeros(settings.heads, settings.key_width))

    def forward(self, query_BTHK: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """The queries q + u, and the terms of the distances [B, H, T, S]."""
        assert place.distances is not None
        distance_RHK = self.map(place.distances).unflatten(-1, self.position.shape)
        asking_BHTK = (query_BTHK + self.position.to(query_BTHK.dtype)).transpose(1, 2)
        score_BHTR = asking_BHTK @ distance_RHK.permute(1, 2, 0) / query_BTHK.shape[-1] ** 0.5
        score_BHTS = at_distances(score_BHTR, place.positions, distance_RHK.shape[0])
        return query_BTHK + self.content.to(query_BTHK.dtype), score_BHTS


class MLP(nn.Module):
    """down(f(up(x))), or down(f(gate(x)) · up(x)) where the activation is gated (arXiv 2002.05202)."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        biased = settings.biases == "all"
        self.activation = settings.activation
        self.gate = nn.Linear(settings.width, settings.ffn_width, bias=biased) if settings.is_gated else None
        self.up = nn.Linear(settings.width, settings.ffn_width, bias=biased)
        self.down = nn.Linear(settings.ffn_width, settings.width, bias=biased)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if self.gate is None:
            inner_BTF = self._activated(self.up(x_BTD))
        else:
            inner_BTF = self._activated(self.gate(x_BTD)) * self.up(x_BTD)
        output_BTD: Tensor = self.down(inner_BTF)
        return output_BTD

    def _activated(self, x_BTF: Tensor) -> Tensor:
        match self.activation:
            case "swiglu":
                return functional.silu(x_BTF)
            case "relu":
                return functional.relu(x_BTF)
            case "gelu" | "geglu":
                return functional.gelu(x_BTF)
            case _:
                return functional.gelu(x_BTF, approximate="tanh")
