"""Causal attention with grouped key/value heads and rotary positions, the fast way on each device.

B batch · T position · S position of a key · P = B, or 1 where all rows stand at the same positions
H query head · G key/value head · K head width
X = B·G keys and values · R = H / G query heads that share them · Q query of a block · M = R·Q
"""

import torch
from torch import Tensor
from torch.nn import functional

from fromscratch.model.tiling import BLOCKWISE_TOKENS, QUERIES_PER_BLOCK

__all__ = ["Rotation", "cached_attention", "causal_attention", "rotation", "turned"]

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine [P, T, 1, K] of the angle of each pair at each position, as ``turned`` takes them."""


def rotation(positions_PT: Tensor, head_width: int, base: float, dtype: torch.dtype) -> Rotation:
    """Rotary embedding (RoPE, arXiv 2104.09864): pair i turns by position · base^(-2i / head_width).

    Dimension i is paired with i + head_width / 2, as in ``LlamaForCausalLM`` (the paper pairs neighbours). Angles are
    fp32, as in every implementation that has to agree with ours.
    """
    exponent_K = torch.arange(0, head_width, 2, device=positions_PT.device).float() / head_width
    exponent_K = exponent_K.repeat(2)
    angle_PT1K = (positions_PT.unsqueeze(-1) * (1.0 / base**exponent_K)).unsqueeze(-2)
    sign_K = torch.ones_like(exponent_K)
    sign_K[: head_width // 2] = -1
    return angle_PT1K.cos().to(dtype), (angle_PT1K.sin() * sign_K).to(dtype)


def turned(x_BTHK: Tensor, turn: Rotation) -> Tensor:
    """Queries or keys turned by their position: (a, b) → (a cos - b sin, b cos + a sin) for each pair."""
    cos_PT1K, sin_PT1K = turn
    swapped_BTHK = x_BTHK.roll(x_BTHK.shape[-1] // 2, -1)
    return torch.addcmul(x_BTHK * cos_PT1K, swapped_BTHK, sin_PT1K)


def causal_attention(query_BTHK: Tensor, key_BTGK: Tensor, value_BTGK: Tensor) -> Tensor:
    """Each position attends to itself and to what came before it. Returns [B, T, H, K]."""
    if query_BTHK.device.type == "cpu" and query_BTHK.shape[1] <= BLOCKWISE_TOKENS:
        return _blockwise(query_BTHK, key_BTGK, value_BTGK)
    y_BHTK = functional.scaled_dot_product_attention(
        query_BTHK.transpose(1, 2),
        key_BTGK.transpose(1, 2),
        value_BTGK.transpose(1, 2),
        is_causal=True,
        enable_gqa=True,
    )
    return y_BHTK.transpose(1, 2)


def _blockwise(query_BTHK: Tensor, key_BTGK: Tensor, value_BTGK: Tensor) -> Tensor:
    B, T, H, K = query_BTHK.shape
    G = key_BTGK.shape[2]
    query_XRTK = (query_BTHK * K**-0.5).transpose(1, 2).reshape(B * G, H // G, T, K)
    key_XTK = key_BTGK.transpose(1, 2).reshape(B * G, T, K)
    value_XTK = value_BTGK.transpose(1, 2).reshape(B * G, T, K)
    ahead_TT = torch.full((T, T), float("-inf"), dtype=query_BTHK.dtype, device=query_BTHK.device).triu(1)
    blocks = []
    for start in range(0, T, QUERIES_PER_BLOCK):
        end = min(start + QUERIES_PER_BLOCK, T)
        blocks.append(
            _block(query_XRTK[:, :, start:end], key_XTK[:, :end], value_XTK[:, :end], ahead_TT[start:end, :end])
        )
    return torch.cat(blocks, 2).view(B, H, T, K).transpose(1, 2)


def _block(query_XRQK: Tensor, key_XSK: Tensor, value_XSK: Tensor, ahead_QS: Tensor) -> Tensor:
    X, R, Q, K = query_XRQK.shape
    score_XMS = torch.bmm(query_XRQK.reshape(X, R * Q, K), key_XSK.mT)
    share_XRQS = torch.softmax(score_XMS.view(X, R, Q, -1) + ahead_QS, -1)
    mixed_XMK = torch.bmm(share_XRQS.view(X, R * Q, -1), value_XSK)
    return mixed_XMK.view(X, R, Q, K)


def cached_attention(query_BTHK: Tensor, key_BSGK: Tensor, value_BSGK: Tensor, positions_BT: Tensor) -> Tensor:
    """Each query attends to the keys up to its own position, wherever each row stands. Returns [B, T, H, K]."""
    seen_BTS = torch.arange(key_BSGK.shape[1], device=positions_BT.device) <= positions_BT.unsqueeze(-1)
    y_BHTK = functional.scaled_dot_product_attention(
        query_BTHK.transpose(1, 2),
        key_BSGK.transpose(1, 2),
        value_BSGK.transpose(1, 2),
        attn_mask=seen_BTS.unsqueeze(1),
        enable_gqa=True,
    )
    return y_BHTK.transpose(1, 2)
