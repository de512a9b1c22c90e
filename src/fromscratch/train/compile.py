"""Whether a run is compiled: only where the steps that it takes repay the seconds that compiling costs."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from fromscratch.core.progress import say
from fromscratch.model.arithmetic import flops_per_token
from fromscratch.model.decoder import Decoder

__all__ = ["compile_loss", "compile_where_it_pays", "compiling_pays", "keep_what_is_compiled"]

# Seconds to compile once, the rate of an eager step, and the share of a step that compiling takes off. Constants and
# not a measurement of the moment, since a run that goes on has to choose as it did before: the last digits depend on
# it. The CPU's are measured (docs/decisions/compile-where-it-pays.md); a GPU's share is that of torchtitan
# (arXiv 2410.06511, table 1).
COMPILE_SECONDS = {"cpu": 100.0, "cuda": 120.0}
EAGER_FLOPS_PER_SECOND = {"cpu": 1e11, "cuda": 2e14}
GPU_SHARE_SAVED = 0.06
CPU_FLOPS_SAVED_PER_TOKEN = 1.2e6  # 12 µs of passes over memory at the rate above, at 1M as at 6M parameters


def compiling_pays(device: str, flops_per_token: float, tokens: int) -> bool:
    """Whether a run over so many tokens wins back at least twice what compiling costs, on a "cpu" or on "cuda"."""
    saved = CPU_FLOPS_SAVED_PER_TOKEN if device == "cpu" else GPU_SHARE_SAVED * flops_per_token
    return saved * tokens / EAGER_FLOPS_PER_SECOND[device] > 2 * COMPILE_SECONDS[device]


def compile_where_it_pays(decoder: Decoder, asked: Literal["auto", "always", "never"], tokens: int) -> None:
    """Have the decoder's steps compiled if that is asked for or pays over so many tokens; say so where it cannot be.

    On a CPU the whole loss is one graph; on a GPU each layer is one, which sharding leaves alone. The choice is a
    function of the settings and the device, so that a run that goes on chooses as it did before.
    """
    device = next(decoder.parameters()).device.type
    flops = flops_per_token(decoder.settings, decoder.vocabulary, decoder.settings.context_tokens)
    if asked == "never" or (asked == "auto" and not compiling_pays(device, flops, tokens)):
        return
    if (reason := _reason_against(decoder, device)) is not None:
        say(f"steps are not compiled: {reason}")
    elif device == "cpu":
        compile_loss(decoder)
    else:
        keep_what_is_compiled()
        for layer in decoder.layers:
            layer.compile(dynamic=False)


def compile_loss(decoder: Decoder) -> None:
    """Compile forward and backward of ``decoder.loss`` at its first call with a shape; results are kept on disk.

    Each shape has a graph of its own (``dynamic=False``): what a graph computes must not depend on which shapes came
    before it.
    """
    keep_what_is_compiled()
    decoder.loss = torch.compile(decoder.loss, dynamic=False)  # type: ignore[method-assign]


def _reason_against(decoder: Decoder, device: str) -> str | None:
    if decoder.document_end is not None and device == "cpu":
        return "attention within documents has other shapes in every batch"
    if device == "cuda":
        return None if find_spec("triton") else "triton is not installed"
    named = os.environ.get("CXX")
    found = any(shutil.which(each) for each in ([named] if named else ["g++", "clang++"]))
    return None if found else "this machine has no C++ compiler"


def keep_what_is_compiled() -> None:
    """Have compiled code go to the user's cache folder, where the next run finds it, unless torch is told otherwise.

    To be called before the compiler is loaded, which settles where it goes.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(caches / "fromscratch" / "compiled"))
