"""What each of the processes in the tests of parallel training does: twenty steps of a tiny decoder, told as losses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fromscratch.core.workplace import Workplace
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import AdamW, Linear, Optimizer
from fromscratch.parallel.lay_out import lay_out
from fromscratch.parallel.layout import Layout
from fromscratch.parallel.mesh import ALONE, Ranks, _local, arranged
from fromscratch.train.loop import IGNORED, Batch, training_steps
from fromscratch.train.recovery import Recovery
from fromscratch.train.run import _fresh_state
from fromscratch.train.settings import LoopSettings

VOCABULARY = 67  # a prime, so that no sharding comes out even
SHAPE: Mapping[str, Any] = {
    "layers": 2, "width": 32, "heads": 8, "kv_heads": 4, "ffn_width": 48, "context_tokens": 24
}  # fmt: skip


WHOLE = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48 + 2 * 32) + 2 * 67 * 32 + 32  # numbers in the weights of SHAPE


ADAMW = AdamW(peak_learning_rate=3e-3)


@dataclass(frozen=True)
class Trial:
    """A training up to step ``end``, which reads and leaves a checkpoint if it is given folders."""

    shape: Mapping[str, Any] = field(default_factory=dict, hash=False)
    optimizer: Optimizer = field(default=ADAMW, hash=False)
    precision: str = "fp32"
    micro_batch_sequences: int | None = None
    document_end: int | None = None
    recompute: str = "none"
    end: int = 20
    read: Path | None = None
    write: Path | None = None


def batch(number: int) -> Batch:
    """Eight sequences that count upwards, some of their targets without a loss."""
    draw = torch.Generator().manual_seed(number)
    start, stride = torch.randint(0, VOCABULARY, (8, 1), generator=draw), torch.randint(1, 4, (8, 1), generator=draw)
    sequence = (start + stride * torch.arange(25)) % VOCABULARY
    targets = sequence[:, 1:].clone()
    targets[0, :20] = IGNORED
    targets[5] = IGNORED
    return sequence[:, :-1], targets


def train(trial: Trial, workplace: Workplace, ranks: Ranks) -> dict[str, Any]:
    """The losses and gradient norms of the steps taken, and how many numbers of the weights this process holds."""
    torch.set_num_threads(1)
    settings = LoopSettings(
        steps=20,
        batch_sequences=8,
        micro_batch_sequences=trial.micro_batch_sequences,
        optimizer=trial.optimizer,
        schedule=Linear(warmup_steps=2),
        precision=trial.precision,
        z_loss=1e-4,
    )
    shape = DecoderSettings(**{**SHAPE, **trial.shape})
    decoder = lay_out(shape, VOCABULARY, ranks, torch.device("cpu"), settings.precision, partial(initialise, seed=0))
    decoder.document_end = trial.document_end
    for layer in decoder.layers:
        layer.recompute = trial.recompute
    state = _fresh_state(decoder, settings, ranks)
    if trial.read is not None:
        Recovery(trial.read, "test", workplace.ledger, 1, lambda _: {}, ranks).resume(state)
    reports = []
    if state.step < trial.end:
        for _, report in training_steps(state, batch, settings, ranks):
            reports.append(report)
            if state.step == trial.end:
                break
    if trial.write is not None:
        recovery = Recovery(trial.write, "test", workplace.ledger, 1, lambda _: {}, ranks)
        recovery.save(state)
        recovery.finish()
    return {
        "losses": [each.loss for each in reports],
        "norms": [each.gradient_norm for each in reports],
        **{f"{part} norms": [each.gradient_norms.get(part, 0.0) for each in reports] for part in ("attention", "head")},
        "tokens": [each.tokens for each in reports],
        "held": sum(_local(each).numel() for each in decoder.parameters()),
    }


def run_all(plan: list[tuple[Layout, Trial]], workplace: Workplace, ranks: Ranks) -> list[dict[str, Any]]:
    """Trials in order, each in a layout of its own, by the same processes: starting them takes seconds."""
    arrangements = {layout: arranged(layout, torch.device("cpu")) for layout, _ in plan} if not ranks.alone else {}
    return [train(trial, workplace, arrangements.get(layout, ALONE)) for layout, trial in plan]
