"""Memory and time of the loss over a vocabulary of 64,000: ours in chunks beside plain cross-entropy.

    python benchmarks/loss_memory.py [--widths 256 512 1024] [--tokens 2048] [--rounds 5] [--device cpu]

Forward and backward over 2,048 positions. Memory is the most that was held beyond what was there before: the hidden
states, the head, and the gradients of both, which either way has to have. On a CPU it is resident memory of a process
of its own, as the kernel counts it; on a GPU it is what the allocator handed out. Time is CPU time of
one thread, or time of the GPU; both variants in turn, medians.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fromscratch.model.loss import cross_entropy

VOCABULARY = 64_000
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(hidden, head).float(), targets)


VARIANTS: dict[str, Loss] = {"plain": plain, "ours": cross_entropy}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--widths", nargs="+", type=int, default=[256, 512, 1024])
    options.add_argument("--tokens", type=int, default=2048)
    options.add_argument("--vocabulary", type=int, default=VOCABULARY)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.add_argument("--one", nargs=2, metavar=("VARIANT", "PRECISION"), help="measure the memory of one, as JSON")
    asked = options.parse_args()
    torch.set_num_threads(1)
    if asked.one:
        print(json.dumps(peak_extra_bytes(*asked.one, asked.widths[0], asked.tokens, asked.vocabulary, asked.device)))
        return
    print(f"Python {platform.python_version()}, torch {torch.__version__}; {asked.device}, one thread;", end=" ")
    print(f"{asked.tokens:,} positions, vocabulary {asked.vocabulary:,}, medians of {asked.rounds} rounds in turn")
    for width in asked.widths:
        for precision in ("fp32", "bf16"):
            compare(width, precision, asked)


def compare(width: int, precision: str, asked: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--widths", str(width), "--tokens", str(asked.tokens)]
    command += ["--vocabulary", str(asked.vocabulary), "--device", asked.device, "--one"]
    held = {
        name: json.loads(subprocess.run([*command, name, precision], check=True, capture_output=True, text=True).stdout)
        for name in VARIANTS
    }
    inputs = tensors(width, asked.tokens, asked.vocabulary, asked.device)
    spent: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for round_number in range(asked.rounds + 1):
        for name, loss in VARIANTS.items():
            seconds = timed(loss, inputs, precision, asked.device)
            if round_number:  # the first warms up
                spent[name].append(seconds)
    times = {name: statistics.median(each) for name, each in spent.items()}
    ratios = sorted(ours / theirs for ours, theirs in zip(spent["ours"], spent["plain"], strict=True))
    print(f"width {width:>5} {precision}  memory: plain {held['plain'] / 1e6:,.0f} MB, ours", end=" ")
    print(f"{held['ours'] / 1e6:,.0f} MB, {held['ours'] / held['plain']:.3f} of it;  time: plain", end=" ")
    print(f"{times['plain'] * 1e3:,.0f} ms, ours {times['ours'] * 1e3:,.0f} ms, ratio", end=" ")
    print(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def tensors(width: int, tokens: int, vocabulary: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator(device).manual_seed(0)
    hidden = torch.randn(tokens, width, device=device, generator=draw).requires_grad_()
    head = (torch.randn(vocabulary, width, device=device, generator=draw) * 0.02).requires_grad_()
    hidden.grad, head.grad = torch.ones_like(hidden), torch.ones_like(head)
    return hidden, head, torch.randint(vocabulary, (tokens,), device=device, generator=draw)


def forward_and_backward(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor], precision: str, device: str) -> None:
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        value = loss(*inputs)
    value.backward()


def timed(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor], precision: str, device: str) -> float:
    if device == "cuda":
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        forward_and_backward(loss, inputs, precision, device)
        ended.record()
        torch.cuda.synchronize()
        return begun.elapsed_time(ended) / 1e3
    spent = time.process_time()
    forward_and_backward(loss, inputs, precision, device)
    return time.process_time() - spent


def peak_extra_bytes(name: str, precision: str, width: int, tokens: int, vocabulary: int, device: str) -> int:
    small = tensors(64, 32, 128, device)
    forward_and_backward(VARIANTS[name], small, precision, device)  # code that is loaded at first use is not the loss's
    inputs = tensors(width, tokens, vocabulary, device)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        forward_and_backward(VARIANTS[name], inputs, precision, device)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    forward_and_backward(VARIANTS[name], inputs, precision, device)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith(field)) * 1024


if __name__ == "__main__":
    main()
