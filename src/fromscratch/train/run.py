"""One training run from wherever it stands to its final weights, whatever kills it on the way."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fromscratch.core.files import digest_file
from fromscratch.core.history import read_trainings
from fromscratch.core.ledger import read_ledger
from fromscratch.core.progress import progress
from fromscratch.core.stopping import StopRequest, stop_at_safe_point
from fromscratch.core.workplace import Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.device import choose_device
from fromscratch.model.files import WEIGHTS, save_model
from fromscratch.optim.build import build_optimizer
from fromscratch.train.loop import Batch, training_steps
from fromscratch.train.recovery import Position, Recovery
from fromscratch.train.settings import LoopSettings
from fromscratch.train.state import TrainState

__all__ = ["train_to_end"]


def train_to_end(
    folder: Path,
    decoder: Decoder,
    batches: Callable[[int], Batch],
    settings: LoopSettings,
    workplace: Workplace,
    label: str,
    position: Position = lambda batch: {"batch": batch},
) -> dict[str, Any]:
    """Train ``decoder`` and leave its weights in ``folder``; return the facts of the run.

    ``batches`` is a pure function of the batch number; ``decoder`` holds the initial weights. Checkpoints lie in
    ``folder``/checkpoints while training, and a call with the same arguments goes on from the newest. ``label``
    names the run in the ledger and on the bar. The weights are the same to the bit however often it was stopped
    or killed, for the same number of threads. Raises Stopped after SIGINT or SIGTERM, with the step finished and
    saved, and FromScratchError when the loss is not finite.
    """
    torch.set_num_threads(workplace.machine.thread_count)
    checkpoints = folder / "checkpoints"
    with stop_at_safe_point() as stop:
        if (facts := _finished_before(folder, workplace, label)) is None:
            decoder.to(choose_device(workplace.machine)).train()
            state = TrainState(decoder, build_optimizer(settings.optimizer, decoder.named_parameters()))
            recovery = Recovery(checkpoints, label, workplace.ledger, settings.keep_checkpoints, position)
            recovery.resume(state)
            _train(state, batches, settings, recovery, stop)
            facts = _facts(state, settings, workplace, label)
            save_model(folder, decoder)
            workplace.ledger.append("trained", stage=label, weights=digest_file(folder / WEIGHTS), facts=facts)
            workplace.ledger.sync()
        if checkpoints.exists():
            shutil.rmtree(checkpoints)  # only now: from here on the ledger vouches for the weights
    stop.raise_if_asked()
    return facts


def _train(
    state: TrainState,
    batches: Callable[[int], Batch],
    settings: LoopSettings,
    recovery: Recovery,
    stop: StopRequest,
) -> None:
    with progress(recovery.stage, settings.steps, state.step) as advance:
        for _, report in training_steps(state, batches, settings):
            recovery.ledger.append("step", stage=recovery.stage, **asdict(report))
            advance(1, f"loss {report.loss:.3f} · {report.tokens_per_second:,.0f} tokens/s")
            if stop or (state.step % settings.checkpoint_every_steps == 0 and state.step < settings.steps):
                recovery.save(state)
            stop.raise_if_asked()


def _finished_before(folder: Path, workplace: Workplace, label: str) -> dict[str, Any] | None:
    """The facts of a run that had ended when its process was killed, if the ledger vouches for the weights."""
    if not (folder / WEIGHTS).is_file():
        return None
    ended = [
        line for line in read_ledger(workplace.ledger.path) if line["kind"] == "trained" and line["stage"] == label
    ]
    if not ended or ended[-1]["weights"] != digest_file(folder / WEIGHTS):
        return None
    return dict(ended[-1]["facts"])


def _facts(state: TrainState, settings: LoopSettings, workplace: Workplace, label: str) -> dict[str, Any]:
    training = read_trainings(workplace.ledger.path)[label]
    return {
        "steps": state.step,
        "tokens": state.tokens,
        "final_loss": training.steps[-1].loss,
        "seconds": round(training.seconds, 3),
        "tokens_per_second": round(state.tokens / training.seconds, 1),
        "threads": workplace.machine.thread_count,
        "device": str(next(state.model.parameters()).device),
        "precision": settings.precision,
    }
