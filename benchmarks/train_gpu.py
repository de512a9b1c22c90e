"""Training steps of a 1B model of Yi's shape on one GPU, beside `transformers` on the same card.

    python benchmarks/train_gpu.py [--sequences 4] [--micro 1] [--steps 10] [--recompute none|selective|full] [--tiny]

bf16 with fp32 weights and fused AdamW, 4,096 tokens a sequence. Prints tokens/s, MFU against the measured peak of
matrix products (model FLOPs: 6N plus causal attention, recomputation not counted) and the peak of memory. Ours is
compiled layer by layer; `transformers` runs eager and compiled, each with SDPA. One variant after the other, each in a
process of its own, so that none finds the memory of another. Without a GPU, or with --tiny, a tiny model runs the same
path.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from importlib import import_module

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional

from fromscratch.model.arithmetic import flops_per_token, parameters
from fromscratch.model.decoder import Decoder, Layer
from fromscratch.model.initial import initialise
from fromscratch.model.llama_names import llama_config
from fromscratch.model.settings import DecoderSettings, RotaryPositions
from fromscratch.optim.settings import AdamW, Constant
from fromscratch.train.compile import keep_what_is_compiled
from fromscratch.train.loop import accumulate_gradients, clip_gradients, peak_memory_bytes
from fromscratch.train.matmul_rate import measured_flops_per_second
from fromscratch.train.settings import LoopSettings

SHAPES = {
    "1B": (
        64_000,
        {"layers": 16, "width": 2048, "heads": 16, "kv_heads": 4, "ffn_width": 5504, "context_tokens": 4096},
    ),
    "tiny": (512, {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "ffn_width": 176, "context_tokens": 128}),
}
VARIANTS = ("ours", "transformers", "transformers, compiled")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sequences", type=int, default=4)
    options.add_argument("--micro", type=int, default=1, help="sequences per forward and backward pass")
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--recompute", choices=["none", "selective", "full"], default="none")
    options.add_argument("--tiny", action="store_true")
    options.add_argument("--eager", action="store_true", help="compile nothing")
    options.add_argument("--one", choices=VARIANTS, help="measure one, as JSON")
    asked = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = "tiny" if asked.tiny or device.type == "cpu" else "1B"
    if asked.one:
        print(json.dumps(measure(asked.one, size, device, asked)))
        return
    vocabulary, shape = SHAPES[size]
    settings = DecoderSettings(**shape, positions=RotaryPositions(base=5e6))
    tokens = settings.context_tokens
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = measured_flops_per_second(device, torch.bfloat16)
    print(f"torch {torch.__version__}, {name}; matrix products reach {peak / 1e12:,.2f} TFLOP/s in bf16")
    print(
        f"{size}: {parameters(settings, vocabulary).total:,} parameters; {asked.sequences} × {tokens:,} tokens a step,"
    )
    print(f"{asked.micro} sequences at once, recompute {asked.recompute}, medians of {asked.steps} steps")
    for variant in VARIANTS:
        if asked.eager and "compiled" in variant:
            continue
        done = subprocess.run(
            [sys.executable, *sys.argv, "--one", variant], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{variant:<24} left out: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        rate = asked.sequences * tokens / found["seconds"]
        share = rate * flops_per_token(settings, vocabulary, tokens) / peak
        print(f"{variant:<24} {rate:>9,.0f} tokens/s  MFU {share:>5.1%}  {found['bytes'] / 1e9:>6.1f} GB", end="  ")
        print(f"loss {found['losses'][0]:.3f} to {found['losses'][-1]:.3f}")


def measure(variant: str, size: str, device: torch.device, asked: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
    vocabulary, shape = SHAPES[size]
    settings = DecoderSettings(**shape, positions=RotaryPositions(base=5e6))
    training = LoopSettings(
        steps=1,
        batch_sequences=asked.sequences,
        micro_batch_sequences=asked.micro,
        optimizer=AdamW(),
        schedule=Constant(),
        precision="bf16",
    )
    keep_what_is_compiled()
    compiled = not asked.eager and device.type == "cuda" and variant != "transformers"
    if variant == "ours":
        model: Decoder = ours(settings, vocabulary, asked.recompute, device, compiled)
    else:
        model = transformers_llama(settings, vocabulary, device, compiled)  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, vocabulary, (asked.sequences, settings.context_tokens + 1), generator=draw)
    tokens, targets = drawn[:, :-1], drawn[:, 1:]
    seconds, losses = [], []
    for step in range(asked.steps + 3):
        begun = time.perf_counter()
        loss = accumulate_gradients(model, tokens, targets, targets.numel(), training)
        clip_gradients(model, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step >= 3:  # the first ones compile and warm up
            seconds.append(time.perf_counter() - begun)
    return {"seconds": statistics.median(seconds), "losses": losses, "bytes": peak_memory_bytes(device)}


def ours(settings: DecoderSettings, vocabulary: int, recompute: str, device: torch.device, compiled: bool) -> Decoder:
    decoder = Decoder(settings, vocabulary)
    initialise(decoder, seed=0)
    for layer in decoder.to(device).layers:
        assert isinstance(layer, Layer)
        layer.recompute = recompute  # type: ignore[assignment]
        if compiled:
            layer.compile(dynamic=False)
    return decoder


class Peer(nn.Module):
    """The model of `transformers` with the loss that its users write, as our loop calls it."""

    document_end = None

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, tokens: Tensor, targets: Tensor, z_loss: float = 0.0) -> Tensor:
        assert not z_loss
        logits = self.model(input_ids=tokens, use_cache=False).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def transformers_llama(settings: DecoderSettings, vocabulary: int, device: torch.device, compiled: bool) -> Peer:
    library = import_module("transformers")
    config = llama_config(settings, vocabulary, beginning_id=1, end_ids=[2], padding_id=None)
    model = library.LlamaForCausalLM(library.LlamaConfig(**config)).to(device)
    if compiled:
        model.compile(dynamic=False)
    return Peer(model)


if __name__ == "__main__":
    main()
