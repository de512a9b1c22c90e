"""The training loop, a generator of step reports: state and batches in, the next state and its report out.

B batch · T position · R sequences of this process · r micro-batch of them · S positions of this process
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.loss import IGNORED
from fromscratch.optim.schedule import learning_rate_share
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.parallel.pipeline import Stage
from fromscratch.train.settings import LoopSettings
from fromscratch.train.state import TrainState

__all__ = ["Batch", "StepReport", "training_steps"]


Batch = tuple[Tensor, Tensor]
"""Tokens and targets, both int64 [B, T] on the CPU; a target of -100 has no loss."""


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
    learning_rate: float
    tokens: int
    """Positions with a loss trained on so far."""
    seconds: float
    tokens_per_second: float
    """Positions of this step, those without a loss included, over its seconds."""


def training_steps(
    state: TrainState, batches: Callable[[int], Batch], settings: LoopSettings, ranks: Ranks = ALONE
) -> Iterator[tuple[TrainState, StepReport]]:
    """Train from where ``state`` stands to the last step; ``state`` is changed in place and yielded after each.

    Every one of ``ranks`` is given all of each batch, takes its part, and reports the same of the whole. Raises
    FromScratchError, with ``state`` as after the step before, when the loss or the gradient is not finite.
    """
    begun = time.perf_counter()
    while state.step < settings.steps:
        tokens_BT, targets_BT = batches(state.step)
        scored = int((targets_BT != IGNORED).sum())
        loss = accumulate_gradients(state.model, tokens_BT, targets_BT, scored, settings, ranks)
        norm = clip_gradients(state.model, settings.clip_norm, ranks)
        loss_value, norm_value = torch.stack((loss, norm)).tolist()  # the only wait for the device in a step
        refuse_non_finite(loss_value, norm_value, state.step)
        share = learning_rate_share(settings.schedule, state.step, settings.steps)
        state.updater.step(share)
        state.step += 1
        state.tokens += scored
        ended = time.perf_counter()
        yield (
            state,
            StepReport(
                step=state.step,
                batch=state.step - 1,
                loss=loss_value,
                gradient_norm=norm_value,
                learning_rate=state.updater.peak_learning_rate * share,
                tokens=state.tokens,
                seconds=ended - begun,
                tokens_per_second=tokens_BT.numel() / (ended - begun),
            ),
        )
        begun = time.perf_counter()  # what the caller did in between is not the step's


def accumulate_gradients(
    model: Decoder,
    tokens_BT: Tensor,
    targets_BT: Tensor,
    scored: int,
    settings: LoopSettings,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Add the gradient of the batch's mean loss to ``.grad``, one micro-batch at a time; return that mean.

    Each micro-batch counts by its share of the ``scored`` positions, so its size changes nothing but rounding, and
    neither does the number of processes.
    """
    if not scored:
        raise ValueError("a batch without a single target has no mean loss")
    tokens_RT, targets_RS = ranks.part(tokens_BT, targets_BT)
    bf16 = settings.precision == "bf16"
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
        torch.autograd.backward(loss * share)
        mean += loss.detach() * share
    return ranks.total(mean)


def clip_gradients(model: Decoder, clip_norm: float | None, ranks: Ranks = ALONE) -> Tensor:
    """Scale all gradients to at most ``clip_norm`` in Euclidean norm; return the norm that they had."""
    parameters = [each for each in model.parameters() if each.grad is not None]
    norm = ranks.norm([each.grad for each in parameters if each.grad is not None])
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


def refuse_non_finite(loss: float, norm: float, batch: int) -> None:
    """Stop before an update by numbers that are none would spoil every weight."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
        raise FromScratchError(
            f"step {batch + 1}, batch {batch}: {what}",
            "lower the peak learning rate, warm up longer, or set precision to fp32",
        )
