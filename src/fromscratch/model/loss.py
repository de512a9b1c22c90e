"""Cross-entropy over a large vocabulary, in chunks of positions, so that the logits are never held whole.

N position · D width · V vocabulary · C positions of one chunk
"""

from typing import Any

import torch
from torch import Tensor

from fromscratch.model.precision import compute_dtype
from fromscratch.model.tiling import loss_positions

__all__ = ["IGNORED", "cross_entropy"]

ROWS = 1 << 14  # of the head whose gradient is made at once, beside the sum that it goes into
IGNORED = -100  # the target of a position without loss, as in torch.nn.functional.cross_entropy


def cross_entropy(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, z_loss: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats of the targets under softmax(hidden @ head.T), over targets that are not ``IGNORED``.

    ``z_loss`` adds its multiple of the mean squared log of the softmax's denominator (PaLM, arXiv 2204.02311).
    The loss of no target at all is 0. Under autocast products run in its dtype; everything else is fp32.
    """
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden_ND, head_VD, targets_N, z_loss)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Both gradients are made along with the loss, while a chunk's logits are at hand; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, z_loss: float) -> Tensor:
        dtype = compute_dtype(hidden_ND)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            total, grad_hidden_ND, grad_head_VD = _summed_loss_and_gradients(
                hidden_ND.to(dtype), head_VD.to(dtype), targets_N, z_loss, ctx.needs_input_grad[:2]
            )
            per_target = 1.0 / (targets_N != IGNORED).sum().clamp(min=1)
        ctx.save_for_backward(grad_hidden_ND, grad_head_VD, per_target)
        ctx.dtypes = hidden_ND.dtype, head_VD.dtype
        return total * per_target

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden_ND, grad_head_VD, per_target = ctx.saved_tensors
        scale = grad_loss * per_target
        # In place, since a second copy of the head's gradient would be most of what the loss takes.
        return (
            None if grad_hidden_ND is None else grad_hidden_ND.mul_(scale).to(ctx.dtypes[0]),
            None if grad_head_VD is None else grad_head_VD.mul_(scale).to(ctx.dtypes[1]),
            None,
            None,
        )


def _summed_loss_and_gradients(
    hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, z_loss: float, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss summed over the targets, and its gradients, which stay near 1 and so keep their digits in bf16."""
    counted_N1 = (targets_N != IGNORED).float().unsqueeze(1)
    index_N1 = targets_N.clamp(min=0).unsqueeze(1)
    total = torch.zeros((), device=hidden_ND.device)
    grad_hidden_ND = torch.empty_like(hidden_ND) if wanted[0] else None
    grad_head_VD = torch.zeros_like(head_VD, dtype=torch.float32) if wanted[1] else None
    length = loss_positions(len(head_VD), hidden_ND.is_cuda)
    for start in range(0, len(hidden_ND), length):
        chunk = slice(start, start + length)
        hidden_CD, counted_C1, index_C1 = hidden_ND[chunk], counted_N1[chunk], index_N1[chunk]
        logit_CV = hidden_CD @ head_VD.T
        share_CV = _shares(logit_CV)
        # The likeliest token's share cannot underflow, so it gives the log of the softmax's denominator exactly.
        normaliser_C1 = logit_CV.amax(1, keepdim=True) - share_CV.amax(1, keepdim=True).log()
        loss_C1 = normaliser_C1 - logit_CV.gather(1, index_C1) + z_loss * normaliser_C1.square()
        total += (loss_C1 * counted_C1).sum()
        if not any(wanted):
            continue
        share_CV *= counted_C1 * (1 + 2 * z_loss * normaliser_C1)
        share_CV.scatter_add_(1, index_C1, -counted_C1)
        grad_CV = share_CV.to(hidden_ND.dtype)
        if grad_hidden_ND is not None:
            grad_hidden_ND[chunk] = grad_CV @ head_VD
        if grad_head_VD is not None:
            for rows in (slice(first, first + ROWS) for first in range(0, len(head_VD), ROWS)):
                grad_head_VD[rows] += grad_CV[:, rows].T @ hidden_CD
    return total, grad_hidden_ND, grad_head_VD


def _shares(logit_CV: Tensor) -> Tensor:
    """The softmax in fp32. A CPU that converts within it, as a GPU does well, takes four times as long in bf16."""
    if logit_CV.is_cuda or logit_CV.dtype == torch.float32:
        return torch.softmax(logit_CV, 1, dtype=torch.float32)
    wide_CV = logit_CV.float()
    return torch.softmax(wide_CV, 1, out=wide_CV)
