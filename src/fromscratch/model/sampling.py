"""The next token, drawn from logits: repetition penalty, temperature, top-k, top-p and min-p, in that order.

B row · V vocabulary
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fromscratch.model.settings import Sampling

__all__ = ["adjusted", "draw"]


def draw(logits_BV: Tensor, seen_BV: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> Tensor:
    """One token [B] for each row, by its own (CPU) generator, so that no row depends on which others are beside it.

    ``seen_BV`` marks the tokens that a row has read or written. Temperature 0 takes the likeliest.
    """
    adjusted_BV = adjusted(logits_BV.float(), seen_BV, sampling)
    if sampling.temperature == 0:
        return adjusted_BV.argmax(-1)
    share_BV = adjusted_BV.softmax(-1).cpu()
    rows = [torch.multinomial(share_V, 1, generator=each) for share_V, each in zip(share_BV, generators, strict=True)]
    return torch.cat(rows).to(logits_BV.device)


def adjusted(logits_BV: Tensor, seen_BV: Tensor, sampling: Sampling) -> Tensor:
    """Logits whose softmax is the distribution to draw from; what is cut off is at -inf."""
    if sampling.repetition_penalty != 1:
        less_BV = torch.where(
            logits_BV > 0, logits_BV / sampling.repetition_penalty, logits_BV * sampling.repetition_penalty
        )
        logits_BV = torch.where(seen_BV, less_BV, logits_BV)
    if sampling.temperature == 0:
        return logits_BV
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits_BV.shape[-1]:
        lowest_B1 = logits_BV.topk(sampling.top_k, -1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < lowest_B1, float("-inf"))
    if sampling.top_p is not None and sampling.top_p < 1:
        falling_BV, order_BV = logits_BV.sort(-1, descending=True)
        share_BV = falling_BV.softmax(-1)
        above_BV = share_BV.cumsum(-1) - share_BV  # what likelier tokens hold together; 0 for the likeliest
        cut_BV = torch.zeros_like(seen_BV).scatter(-1, order_BV, above_BV >= sampling.top_p)
        logits_BV = logits_BV.masked_fill(cut_BV, float("-inf"))
    if sampling.min_p is not None:
        likeliest_B1 = logits_BV.amax(-1, keepdim=True)
        logits_BV = logits_BV.masked_fill(logits_BV < likeliest_B1 + math.log(sampling.min_p), float("-inf"))
    return logits_BV
