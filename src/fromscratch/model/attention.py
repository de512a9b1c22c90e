"""Causal attention with grouped key/value heads, the fast way on each device, and attention with terms of the score.

B batch · T position · S position of a key · P = B, or 1 where all rows stand at the same positions
H query head · G key/value head · K head width · A = H, or 1 where all heads have the same term
X = B·G keys and values · R = H / G query heads that share them · Q query of a block · M = R·Q · N = B·T
"""

from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn import functional

from fromscratch.model.documents import Documents
from fromscratch.model.tiling import BLOCKWISE_TOKENS, QUERIES_PER_BLOCK

__all__ = ["attention_within", "biased_attention", "causal_attention"]


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


def attention_within(documents: Documents, query_BTHK: Tensor, key_BTGK: Tensor, value_BTGK: Tensor) -> Tensor:
    """Causal attention of each document to itself, one after another: exact, and only the products that it takes."""
    query_NHK, key_NGK, value_NGK = query_BTHK.flatten(0, 1), key_BTGK.flatten(0, 1), value_BTGK.flatten(0, 1)
    mixed = []
    for start, end in pairwise(accumulate(documents.lengths(), initial=0)):
        here = slice(start, end)
        mixed.append(causal_attention(query_NHK[None, here], key_NGK[None, here], value_NGK[None, here])[0])
    return torch.cat(mixed).view(query_BTHK.shape)


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


def biased_attention(query_BTHK: Tensor, key_BSGK: Tensor, value_BSGK: Tensor, bias_PATS: Tensor) -> Tensor:
    """Attention whose scores, divided by √K, get a term: -inf hides a key. Returns [B, T, H, K].

    The bias is [P, A, T, S].
    """
    y_BHTK = functional.scaled_dot_product_attention(
        query_BTHK.transpose(1, 2),
        key_BSGK.transpose(1, 2),
        value_BSGK.transpose(1, 2),
        attn_mask=bias_PATS.to(query_BTHK.dtype),
        enable_gqa=True,
    )
    return y_BHTK.transpose(1, 2)
