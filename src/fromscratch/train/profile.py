"""Where the time of a training goes, over a few steps: as a trace for a viewer, and in words."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, schedule

from fromscratch.core.ledger import Ledger
from fromscratch.core.progress import say

__all__ = ["profiled", "shares_of_time"]

BEFORE = 2  # steps in which caches fill, kernels are chosen, and the profiler starts

# By the first name that an operation or what called it has; the order tells the attention's products from others.
KINDS = {
    "data": ("fromscratch::data",),
    "optimiser": ("Optimizer.", "_foreach_"),
    "loss": ("ChunkedCrossEntropy",),
    "communication": ("c10d::", "gloo:", "nccl:", "FSDP::"),
    "waiting for the device": ("_local_scalar_dense", "Synchronize"),
    "attention": ("scaled_dot_product", "flex_attention", "bmm", "Bmm", "softmax", "Softmax"),
    "matrix products": ("aten::mm", "aten::addmm", "aten::linear", "mkldnn", "MmBackward", "gemm"),
}
REST = "norms, activations and sums"
BETWEEN = "Python and waiting"


@contextlib.contextmanager
def profiled(steps: int | None, folder: Path, label: str, ledger: Ledger) -> Iterator[Callable[[], None]]:
    """Within the block so many steps are profiled, a few after the first; yields what is to be called after each.

    Leaves ``folder``/LABEL.json, in the format of Chrome's tracing, says the shares in one line and puts them in the
    ledger. Nothing at all when ``steps`` is None.
    """
    if steps is None:
        yield lambda: None
        return
    ends: list[float] = []

    def tell(watched: profile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        trace = folder / f"{label}.json"
        watched.export_chrome_trace(str(trace))
        seconds = ends[-1] - ends[BEFORE - 1]
        shares = shares_of_time(watched.events() or (), seconds)  # type: ignore[no-untyped-call]
        told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share >= 0.0005)
        count = len(ends) - BEFORE
        say(f"{label}: {count} steps of {seconds / count * 1e3:,.0f} ms went into {told}; trace in {trace}")
        ledger.append("profile", stage=label, steps=count, seconds=round(seconds, 6), shares=shares, trace=trace.name)

    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    plan = schedule(wait=BEFORE - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=kinds, schedule=plan, on_trace_ready=tell, acc_events=True) as watched:

        def stepped() -> None:
            ends.append(time.perf_counter())
            if len(ends) <= BEFORE + steps:
                watched.step()

        yield stepped


def shares_of_time(events: Iterable[FunctionEvent], seconds: float) -> dict[str, float]:
    """The share of ``seconds`` that went into each kind of work, the largest first: time of the GPU if there is one,
    else of this thread. What is in no operation is Python's, or was spent waiting."""
    called = [each for each in events if each.device_type == DeviceType.CPU and not each.is_async]
    on_device = any(each.self_device_time_total for each in called)
    spent = dict.fromkeys([*KINDS, REST], 0.0)
    for each in called:
        own = each.self_device_time_total if on_device else each.self_cpu_time_total
        if not each.name.startswith("ProfilerStep"):
            spent[_kind(each)] += own / 1e6
    shares = {name: time_spent / seconds for name, time_spent in spent.items()}
    shares[BETWEEN] = max(0.0, 1 - sum(shares.values()))
    return {name: round(share, 4) for name, share in sorted(shares.items(), key=lambda item: -item[1])}


def _kind(event: FunctionEvent) -> str:
    names = []
    up: FunctionEvent | None = event
    while up is not None:
        names.append(up.name)
        up = up.cpu_parent
    path = " ".join([*names, *(kernel.name for kernel in event.kernels)])
    return next((kind for kind, signs in KINDS.items() if any(sign in path for sign in signs)), REST)
