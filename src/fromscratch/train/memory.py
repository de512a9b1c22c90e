"""Memory that ran out, told with the arithmetic of a step and with what to lower."""

import contextlib
import os
import resource
from collections.abc import Iterator

import torch

from fromscratch.core.errors import FromScratchError
from fromscratch.model.arithmetic import TrainingBytes, training_bytes
from fromscratch.model.settings import DecoderSettings
from fromscratch.optim.settings import Muon
from fromscratch.parallel.layout import Layout
from fromscratch.train.settings import LoopSettings, PretrainSettings

__all__ = ["explained_when_memory_runs_out"]

SIGNS = ("can't allocate memory", "not enough memory", "out of memory")  # of torch's allocators, which say RuntimeError


@contextlib.contextmanager
def explained_when_memory_runs_out(
    label: str, model: DecoderSettings, vocabulary: int, settings: LoopSettings, device: torch.device, layout: Layout
) -> Iterator[None]:
    """Turn memory that runs out in the block, of a GPU or of the machine, into a FromScratchError that says what to
    lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error).lower() for sign in SIGNS):
            raise
        raise _explained(label, model, vocabulary, settings, device, layout) from error


def _explained(
    label: str, model: DecoderSettings, vocabulary: int, settings: LoopSettings, device: torch.device, layout: Layout
) -> FromScratchError:
    stages = [each for _, each in settings.in_stages] if isinstance(settings, PretrainSettings) else [settings]
    sizes = [
        (each.micro_batch_sequences or each.batch_sequences // layout.data, _sequence_tokens(each, model))
        for each in stages
    ]
    sequences, tokens = max(sizes, key=lambda size: size[0] * size[1])
    there = _bytes_there(device, layout)

    def needed(rows: int, recompute: str) -> TrainingBytes:
        whole = training_bytes(
            model,
            vocabulary,
            sequences=rows,
            sequence_tokens=tokens,
            precision="fp32" if settings.precision == "fp32" else "bf16",
            optimizer_bytes_per_parameter=4 if isinstance(settings.optimizer, Muon) else 8,
            recompute=recompute,  # type: ignore[arg-type]
        )
        holders = layout.processes // layout.replicate
        return TrainingBytes(
            weights=whole.weights // holders,
            gradients=whole.gradients // holders,
            optimizer=whole.optimizer // holders,
            activations=whole.activations // (layout.sequence * layout.pipeline),
            logits=whole.logits,
        )

    asked = needed(sequences, settings.recompute)
    parts = {"weights": asked.weights, "gradients": asked.gradients, "optimiser": asked.optimizer}
    parts |= {"activations": asked.activations, "loss": asked.logits}
    told = ", ".join(f"{name} {_gigabytes(size)}" for name, size in parts.items())
    message = (
        f"{label}: memory ran out; a step of {sequences} × {tokens:,} tokens at once takes about "
        f"{_gigabytes(asked.total)} GB in a process ({told}), and there are {_gigabytes(there)}"
    )
    ways = [(rows, settings.recompute) for rows in range(sequences - 1, 0, -1)]
    ways += [(rows, "full") for rows in range(sequences, 0, -1) if settings.recompute != "full"]
    # What is taken beside a step, and what the arithmetic leaves out, is a tenth and more.
    fitting = [(rows, recompute) for rows, recompute in ways if needed(rows, recompute).total < 0.85 * there]
    if not fitting or asked.total < 0.5 * there:  # then it is not a step that filled it
        least = needed(1, "full").total
        return FromScratchError(
            message,
            f"the least that it can do with is {_gigabytes(least)} GB, by `{label}.micro_batch_sequences` = 1 and "
            f'`{label}.recompute` = "full"; beyond that take more processes or a smaller model, or end what else runs',
        )
    rows, recompute = fitting[0]
    changes = [f"`{label}.micro_batch_sequences` = {rows}"] if rows != sequences else []
    changes += [f'`{label}.recompute` = "{recompute}"'] if recompute != settings.recompute else []
    return FromScratchError(
        message, f"set {' and '.join(changes)}, which takes about {_gigabytes(needed(rows, recompute).total)} GB"
    )


def _sequence_tokens(settings: LoopSettings, model: DecoderSettings) -> int:
    tokens: int = getattr(settings, "sequence_tokens", model.context_tokens)
    return tokens


def _bytes_there(device: torch.device, layout: Layout) -> int:
    """Memory that a process can have at most: its GPU's, or its share of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // layout.processes
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    return whole if allowed == resource.RLIM_INFINITY else min(whole, allowed)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.{1 if size >= 1e9 else 3}f}"
