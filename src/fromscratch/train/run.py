"""One training run from wherever it stands to its final weights, whatever kills it on the way."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fromscratch.checkpoint.store import save_checkpoint
from fromscratch.core.files import digest_file
from fromscratch.core.history import read_trainings
from fromscratch.core.ledger import read_ledger
from fromscratch.core.progress import progress, say
from fromscratch.core.stopping import StopRequest, stop_at_safe_point
from fromscratch.core.workplace import Workplace
from fromscratch.model.decoder import Decoder, Layer
from fromscratch.model.device import choose_device
from fromscratch.model.files import WEIGHTS, save_model
from fromscratch.model.transfer import learning_rate_factor
from fromscratch.optim.build import build_optimizer
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.parallel.pipeline import optimizer_of_stage
from fromscratch.train.loop import Batch, Position, training_steps
from fromscratch.train.matmul_rate import measured_flops_per_second
from fromscratch.train.memory import explained_when_memory_runs_out
from fromscratch.train.profile import profiled
from fromscratch.train.recovery import Recovery
from fromscratch.train.settings import LoopSettings
from fromscratch.train.state import MODEL, TrainState
from fromscratch.train.validate import Validation

__all__ = ["train_to_end"]


def train_to_end(
    folder: Path,
    decoder: Decoder,
    batches: Callable[[int], Batch],
    settings: LoopSettings,
    workplace: Workplace,
    label: str,
    position: Position = lambda batch: {"batch": batch},
    ranks: Ranks = ALONE,
    validation: Validation | None = None,
) -> dict[str, Any]:
    """Train ``decoder`` and leave its weights in ``folder``; return the facts of the run.

    ``batches`` is a pure function of the batch number; ``decoder`` holds the initial weights. Checkpoints lie in
    ``folder``/checkpoints while training, and a call with the same arguments goes on from the newest. ``label``
    names the run in the ledger and on the bar. The weights are the same to the bit however often it was stopped
    or killed, for the same number of threads. All of ``ranks`` call this together, each with what it holds of the
    decoder and a ledger of its own; any others, however many, can go on with their checkpoints. ``validation`` puts
    losses by group on record and changes nothing else. Raises Stopped after
    SIGINT or SIGTERM, with the step finished and saved, and FromScratchError when the loss is not finite.
    """
    torch.set_num_threads(workplace.machine.thread_count)
    checkpoints = folder / "checkpoints"
    with stop_at_safe_point() as stop:
        facts = ranks.told(_finished_before(folder, workplace, label) if ranks.number == 0 else None)
        if facts is None:
            device = choose_device(workplace.machine)
            decoder.to(device).train()
            steps_to_profile = workplace.machine.profile_steps if ranks.number == 0 else None
            for layer in decoder.layers:
                assert isinstance(layer, Layer)
                layer.recompute = settings.recompute
            state = _fresh_state(decoder, settings, ranks)
            recovery = Recovery(checkpoints, label, workplace.ledger, settings.keep_checkpoints, position, ranks)
            recovery.resume(state)
            peak = _measured_peak(state, settings, workplace, label, ranks)
            with (
                explained_when_memory_runs_out(
                    label, decoder.settings, decoder.vocabulary, settings, device, ranks.layout
                ),
                profiled(
                    steps_to_profile, workplace.ledger.path.parent.parent / "profile", label, workplace.ledger
                ) as stepped,
            ):
                _train(state, batches, settings, recovery, stop, peak, validation, stepped)
            _write_model(folder, checkpoints, state, ranks)
            facts = ranks.told(_facts(state, settings, workplace, label, ranks) if ranks.number == 0 else {})
            workplace.ledger.append("trained", stage=label, weights=digest_file(folder / WEIGHTS), facts=facts)
            workplace.ledger.sync()
        if ranks.number == 0 and checkpoints.exists():
            shutil.rmtree(checkpoints)  # only now: from here on the ledger vouches for the weights
    stop.raise_if_asked()
    return facts


def _fresh_state(decoder: Decoder, settings: LoopSettings, ranks: Ranks) -> TrainState:
    optimizer, factor = settings.optimizer, partial(learning_rate_factor, decoder.settings)
    if ranks.layout.pipeline > 1:
        with torch.device("meta"):  # what names no parameter of any stage is refused as ever
            build_optimizer(optimizer, Decoder(decoder.settings, decoder.vocabulary).named_parameters(), factor)
        optimizer = optimizer_of_stage(optimizer, decoder)
    return TrainState(decoder, build_optimizer(optimizer, decoder.named_parameters(), factor))


def _write_model(folder: Path, checkpoints: Path, state: TrainState, ranks: Ranks) -> None:
    """Process 0 writes all weights; it finds those of others in a last checkpoint."""
    if ranks.alone:
        save_model(folder, state.model)
        return
    last = save_checkpoint(checkpoints, state.step, state.tensors(), state.facts(), ranks.control)
    if ranks.number == 0:
        found = last.read_tensors(lambda name, shape, dtype: torch.empty(shape, dtype=dtype) if MODEL in name else None)
        whole = Decoder(state.model.settings, state.model.vocabulary)
        whole.load_state_dict({name.removeprefix(MODEL): each for name, each in found.items()})
        save_model(folder, whole)


def _train(
    state: TrainState,
    batches: Callable[[int], Batch],
    settings: LoopSettings,
    recovery: Recovery,
    stop: StopRequest,
    peak_flops_per_second: float,
    validation: Validation | None,
    stepped: Callable[[], None],
) -> None:
    ranks, held_out = recovery.ranks, ""
    with _finishing(recovery), progress(recovery.stage, settings.steps, state.step, shown=ranks.number == 0) as advance:
        ranks.beat("step", state.step)
        reports = training_steps(state, batches, settings, ranks, recovery.position, peak_flops_per_second)
        for _, report in reports:
            stepped()
            recovery.ledger.append("step", stage=recovery.stage, **asdict(report))
            recovery.look()
            if validation is not None and validation.is_due(state.step, settings.steps):
                ranks.beat("validating", state.step)
                losses = validation.losses(state.model, settings, ranks)
                recovery.ledger.append("validation", stage=recovery.stage, step=state.step, losses=losses)
                held_out = f" · held out {sum(losses.values()) / len(losses):.3f}"
            advance(1, f"loss {report.loss:.3f}{held_out} · {report.tokens_per_second:,.0f} tokens/s")
            (signal_number,) = ranks.highest(stop.signal_number or 0)
            stop.signal_number = int(signal_number) or None  # all at the same step
            if stop or (state.step % settings.checkpoint_every_steps == 0 and state.step < settings.steps):
                ranks.beat("saving", state.step)
                recovery.save(state)
            if stop:
                recovery.finish()
            stop.raise_if_asked()
            ranks.beat("step", state.step)
        ranks.beat("ending", state.step)


@contextmanager
def _finishing(recovery: Recovery) -> Iterator[None]:
    """A checkpoint under way is waited for, also where a step has failed; but not for one with others, as it may be
    them who have."""
    try:
        yield
    except Exception:
        if recovery.ranks.alone:
            recovery.finish()
        raise
    recovery.finish()


def _measured_peak(state: TrainState, settings: LoopSettings, workplace: Workplace, label: str, ranks: Ranks) -> float:
    """What matrix products reach here, in all processes together, measured by the first; told once."""
    device, dtype = next(state.model.parameters()).device, torch.float32
    if settings.precision != "fp32":
        dtype = torch.bfloat16
    peak: float = ranks.told(measured_flops_per_second(device, dtype) if ranks.number == 0 else 0.0)
    peak *= ranks.layout.processes
    workplace.ledger.append("peak", stage=label, flops_per_second=round(peak), precision=settings.precision)
    if ranks.number == 0:
        say(f"matrix products reach {peak / 1e9:,.0f} GFLOP/s in {settings.precision} here: MFU is the share of that")
    return peak


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


def _facts(state: TrainState, settings: LoopSettings, workplace: Workplace, label: str, ranks: Ranks) -> dict[str, Any]:
    training = read_trainings(workplace.ledger.path)[label]
    return {
        "steps": state.step,
        "tokens": state.tokens,
        "final_loss": training.steps[-1].loss,
        "seconds": round(training.seconds, 3),
        "tokens_per_second": round(state.tokens / training.seconds, 1),
        "threads": workplace.machine.thread_count,
        **({} if ranks.alone else {"processes": asdict(ranks.layout)}),
        "device": str(next(state.model.parameters()).device),
        "precision": settings.precision,
    }
