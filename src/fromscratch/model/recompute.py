"""What a layer keeps for the backward pass, and what it computes again there to save memory.

B batch · T position · D model width
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops import flex_attention
from torch.utils.checkpoint import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from fromscratch.model.settings import Recompute

__all__ = ["with_recomputation"]

aten = torch.ops.aten
# Products of weights, and fused attention: most of the time of a forward pass, for some of its memory. Scores of
# attention in blocks (bmm) are most of the memory and are made again.
KEPT = {
    aten.mm.default,
    aten.addmm.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    flex_attention,
}
# FSDP marks its hooks for the profiler, and gathers less when a layer is computed again.
SAC_IGNORED_OPS |= {
    torch.ops.profiler._record_function_enter_new.default,
    torch.ops.profiler._record_function_exit._RecordFunction,
}


def with_recomputation(layer: Callable[[Tensor], Tensor], x_BTD: Tensor, recompute: Recompute) -> Tensor:
    """``layer(x)``, of which the backward pass finds only the input (``full``, arXiv 1604.06174), or also what products
    of weights and fused attention gave (``selective``, arXiv 2205.05198); the rest is computed again, to the same bits.
    """
    if recompute == "none" or not torch.is_grad_enabled():
        return layer(x_BTD)
    output_BTD: Tensor
    if recompute == "full":
        output_BTD = checkpoint(layer, x_BTD, use_reentrant=False, preserve_rng_state=False)
    else:
        keeping = partial(create_selective_checkpoint_contexts, _policy)
        output_BTD = checkpoint(layer, x_BTD, use_reentrant=False, preserve_rng_state=False, context_fn=keeping)
    return output_BTD


def _policy(_context: Any, operation: Any, *_inputs: Any, **_options: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
