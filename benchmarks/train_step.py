"""Training steps of our decoder and of transformers' Llama on one batch, interleaved, as a ratio of CPU time.

    python benchmarks/train_step.py [--steps 9] [--threads 1]

Forward, backward, clipping and fused AdamW of 8 × 256 tokens at a vocabulary of 8,000.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from fromscratch.model.decoder import Decoder, initialise
from fromscratch.model.llama_names import llama_config
from fromscratch.model.settings import DecoderSettings

VOCABULARY, SEQUENCES, TOKENS = 8_000, 8, 256
SHAPES = (
    DecoderSettings(layers=4, width=192, heads=6, kv_heads=2, ffn_width=512, context_tokens=TOKENS),
    DecoderSettings(layers=6, width=256, heads=4, kv_heads=2, ffn_width=704, context_tokens=TOKENS),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=9)
    options.add_argument("--threads", type=int, default=1)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    print(f"{versions}; threads: {asked.threads}; medians of {asked.steps} interleaved steps")
    print(f"{'size':>10} {'precision':>9} {'ours':>8} {'peer':>8}  tokens per CPU second; ratio (range)")
    for shape in SHAPES:
        for precision in ("bf16", "fp32"):
            compare(shape, precision, asked.steps)


def compare(shape: DecoderSettings, precision: str, steps: int) -> None:
    drawn = torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS + 1), generator=torch.Generator().manual_seed(0))
    tokens, targets = drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
    ours = Decoder(shape, VOCABULARY)
    initialise(ours, seed=0)
    config = llama_config(shape, VOCABULARY, beginning_id=1, end_ids=[2], padding_id=None)
    peer = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))

    def peer_loss() -> Tensor:
        logits = peer(input_ids=tokens, use_cache=False).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    steppers = (stepper(ours, lambda: ours.loss(tokens, targets), precision), stepper(peer, peer_loss, precision))
    seconds: tuple[list[float], list[float]] = ([], [])
    for round_number in range(steps + 1):
        for own, step in zip(seconds, steppers, strict=True):
            begun = time.process_time()
            step()
            if round_number:  # the first warms up
                own.append(time.process_time() - begun)
    ratios = sorted(theirs / mine for mine, theirs in zip(*seconds, strict=True))
    rates = [SEQUENCES * TOKENS / statistics.median(own) for own in seconds]
    size = f"{shape.layers} × {shape.width}"
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{size:>10} {precision:>9} {rates[0]:>8,.0f} {rates[1]:>8,.0f}  {spread}")


def stepper(model: nn.Module, loss: Callable[[], Tensor], precision: str) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
