"""The training loop, a generator of step reports: state and batches in, the next state and its report out.

B batch · T position · R sequences of this process · r micro-batch of them · S positions of this process
N 1 + parts of the decoder
"""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from fromscratch.core.errors import FromScratchError
from fromscratch.model.arithmetic import ParameterCounts, flops_per_token, part_of
from fromscratch.model.decoder import Decoder
from fromscratch.model.documents import documents_in, ended_by
from fromscratch.model.loss import IGNORED
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.parallel.pipeline import Stage
from fromscratch.train.settings import LoopSettings
from fromscratch.train.stages import Stretch, stretches
from fromscratch.train.state import TrainState

__all__ = ["Batch", "NonFinite", "Position", "StepReport", "training_steps"]

PARTS = tuple(each.name for each in fields(ParameterCounts))

Batch = tuple[Tensor, Tensor]
"""Tokens and targets, both int64 [B, T] on the CPU; a target of -100 has no loss."""

Position = Callable[[int], Mapping[str, Any]]
"""Batch number → where in the data that batch begins, as plain JSON."""


def _number(batch: int) -> Mapping[str, Any]:
    return {"batch": batch}


@dataclass(frozen=True)
class StepReport:
    """What one step did."""

    step: int
    """Steps finished with this one, so the first step reports 1."""
    batch: int
    """Number of the batch it trained on."""
    loss: float
    """Mean over the positions with a target, in nats per token, before the update; any z-loss is included."""
    gradient_norm: float
    """Euclidean norm over all parameters, before clipping."""
    gradient_norms: Mapping[str, float]
    """The same of each part of the decoder: embedding, attention, mlp, norms, head."""
    learning_rate: float
    tokens: int
    """Positions with a loss trained on so far."""
    seconds: float
    """Of the slowest process."""
    tokens_per_second: float
    """Positions of this step, those without a loss included, over its seconds."""
    mfu: float | None
    """Share of the peak that the model's own operations reach (``arithmetic.flops_per_token``); None without a peak."""
    peak_memory_bytes: int
    """The most that the fullest process has held so far: of its GPU, or resident where there is none."""
    position: Mapping[str, Any]
    """Where in the data the batch begins."""


def training_steps(
    state: TrainState,
    batches: Callable[[int], Batch],
    settings: LoopSettings,
    ranks: Ranks = ALONE,
    position: Position = _number,
    peak_flops_per_second: float | None = None,
) -> Iterator[tuple[TrainState, StepReport]]:
    """Train from where ``state`` stands to the last step; ``state`` is changed in place and yielded after each.

    Every one of ``ranks`` is given all of each batch, takes its part, and reports the same of the whole.
    ``peak_flops_per_second`` is that of all of them together. Raises FromScratchError, with ``state`` as after the step
    before, when the loss or the gradient is not finite.
    """
    begun = time.perf_counter()
    for here in stretches(settings):
        here.enter(state.model)
        while state.step < here.end:
            report = _take_step(state, batches, here, ranks, position, begun, peak_flops_per_second)
            yield state, report
            begun = time.perf_counter()  # what the caller did in between is not the step's


def _take_step(
    state: TrainState,
    batches: Callable[[int], Batch],
    here: Stretch,
    ranks: Ranks,
    position: Position,
    begun: float,
    peak_flops_per_second: float | None,
) -> StepReport:
    batch = state.step
    with record_function("fromscratch::data"):
        tokens_BT, targets_BT = batches(batch)
    scored = int((targets_BT != IGNORED).sum())
    loss = accumulate_gradients(state.model, tokens_BT, targets_BT, scored, here.settings, ranks)
    norms_N = clip_gradients(state.model, here.settings.clip_norm, ranks)
    loss_value, norm, *part_norms = torch.cat((loss[None], norms_N)).tolist()  # the only wait for the device in a step
    refuse_non_finite(loss_value, norm, batch)
    share = here.learning_rate_share(batch)
    state.updater.step(share)
    state.step += 1
    state.tokens += scored
    seconds, held = ranks.highest(time.perf_counter() - begun, peak_memory_bytes(loss.device))
    return StepReport(
        step=state.step,
        batch=batch,
        loss=loss_value,
        gradient_norm=norm,
        gradient_norms={name: each for name, each in zip(PARTS, part_norms, strict=True) if each},
        learning_rate=state.updater.peak_learning_rate * share,
        tokens=state.tokens,
        seconds=seconds,
        tokens_per_second=tokens_BT.numel() / seconds,
        mfu=peak_flops_per_second and batch_flops(state.model, tokens_BT) / seconds / peak_flops_per_second,
        peak_memory_bytes=int(held),
        position=position(batch),
    )


def accumulate_gradients(
    model: Decoder,
    tokens_BT: Tensor,
    targets_BT: Tensor,
    scored: int,
    settings: LoopSettings,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Add the gradient of the batch's mean loss to ``.grad``, one micro-batch at a time; return that mean.

    Under ``torch.no_grad`` only the latter. Each micro-batch counts by its share of the ``scored`` positions, so its
    size changes nothing but rounding, and neither does the number of processes.
    """
    if not scored:
        raise ValueError("a batch without a single target has no mean loss")
    tokens_RT, targets_RS = ranks.part(tokens_BT, targets_BT)
    bf16 = settings.precision != "fp32"
    if isinstance(model, Stage):
        size = settings.micro_batch_sequences
        return ranks.total(model.accumulate_gradients(tokens_RT, targets_RS, scored, settings.z_loss, size, bf16))
    device = next(model.parameters()).device
    size = settings.micro_batch_sequences or len(tokens_RT)
    mean = torch.zeros((), device=device)
    for tokens_rT, targets_rS in zip(torch.split(tokens_RT, size), torch.split(targets_RS, size), strict=True):
        share = int((targets_rS != IGNORED).sum()) / scored
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            there = tokens_rT.to(device, non_blocking=True), targets_rS.to(device, non_blocking=True)
            loss = model.loss(*there, z_loss=settings.z_loss)
        if loss.requires_grad:
            torch.autograd.backward(loss * share)
        mean += loss.detach() * share
    return ranks.total(mean)


def clip_gradients(model: Decoder, clip_norm: float | None, ranks: Ranks = ALONE) -> Tensor:
    """Scale all gradients to at most ``clip_norm`` in Euclidean norm; return the norms [N] that they had: that of all,
    and that of each of ``PARTS``."""
    named = [(name, each, each.grad) for name, each in model.named_parameters() if each.grad is not None]
    parts = [PARTS.index(part_of(name)) for name, _, _ in named]
    norms_N = ranks.norms([gradient for _, _, gradient in named], parts, len(PARTS))
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_([each for _, each, _ in named], clip_norm, norms_N[0])
    return norms_N


def batch_flops(model: Decoder, tokens_BT: Tensor) -> int:
    """Operations that training on a batch takes; where attention stays within documents, it counts only there."""
    lengths = [tokens_BT.shape[1]] * len(tokens_BT)
    if model.document_end is not None:
        lengths = documents_in(ended_by(tokens_BT, model.document_end)).lengths()
    return sum(each * flops_per_token(model.settings, model.vocabulary, each) for each in lengths)


def peak_memory_bytes(device: torch.device) -> int:
    """The most that this process has held: of the GPU, or resident in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class NonFinite(FromScratchError):
    """A loss or a gradient that is no number, in the step on ``batch``."""

    def __init__(self, message: str, hint: str, batch: int = 0) -> None:
        super().__init__(message, hint)
        self.batch = batch


def refuse_non_finite(loss: float, norm: float, batch: int) -> None:
    """Stop before an update by numbers that are none would spoil every weight."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
        hint = "lower the peak learning rate, warm up longer, or set precision to fp32"
        raise NonFinite(f"step {batch + 1}, batch {batch}: {what}", hint, batch)
