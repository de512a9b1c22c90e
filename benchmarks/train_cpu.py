"""Training steps of ours, `transformers` and LitGPT on one batch, in turn: tokens per CPU second, and as ratios.

    python benchmarks/train_cpu.py [--sizes 1M 6M 25M] [--steps 9] [--threads 1] [--eager]

Forward, backward, clipping and fused AdamW of 8 × 256 tokens at a vocabulary of 8,000; the same layers for everybody,
checked by their number of parameters. Every variant takes one step after the other, so that the machine is the same for
all; a ratio is the median of those of each round. A peer that is not installed is said and left out:
`pip install -r benchmarks/requirements-train-peers.txt` in an environment of its own.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module, metadata

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional

from fromscratch.model.arithmetic import flops_per_token
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.llama_names import llama_config
from fromscratch.model.settings import DecoderSettings
from fromscratch.train.compile import compile_loss, keep_what_is_compiled
from fromscratch.train.matmul_rate import measured_flops_per_second

VOCABULARY, SEQUENCES, TOKENS = 8_000, 8, 256
SIZES = {  # by their parameters without embedding and head
    "1M": DecoderSettings(layers=5, width=128, heads=4, kv_heads=2, ffn_width=352, context_tokens=TOKENS),
    "6M": DecoderSettings(layers=8, width=256, heads=4, kv_heads=2, ffn_width=704, context_tokens=TOKENS),
    "25M": DecoderSettings(layers=8, width=512, heads=8, kv_heads=4, ffn_width=1408, context_tokens=TOKENS),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Loss = Callable[[Tensor, Tensor], Tensor]
Build = Callable[[DecoderSettings], tuple[nn.Module, Loss]]


@dataclass
class Variant:
    """One way to train; its ``seconds`` are CPU seconds of a step, by round."""

    name: str
    precision: str
    step: Callable[[], None]
    seconds: list[float] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        return SEQUENCES * TOKENS / statistics.median(self.seconds)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    options.add_argument("--steps", type=int, default=9)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--eager", action="store_true", help="leave the compiled variant out")
    asked = options.parse_args()
    keep_what_is_compiled()
    torch.set_num_threads(asked.threads)
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}; threads: {asked.threads}; medians of", end=" "
    )
    print(f"{asked.steps} steps in turn, tokens per CPU second of {SEQUENCES} × {TOKENS} tokens")
    peaks = {name: measured_flops_per_second(torch.device("cpu"), dtype) for name, dtype in DTYPES.items()}
    print("matmul peak: " + ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in peaks.items()))
    peers = {name: build for name, build in (("transformers", transformers_llama), ("litgpt", litgpt)) if there(name)}
    for size in asked.sizes:
        compare(size, peers, asked.steps, peaks["bf16"], compiled=not asked.eager)


def there(peer: str) -> bool:
    try:
        import_module(peer)
    except ImportError as error:
        print(f"{peer}: left out, {error}")
        return False
    print(f"{peer} {metadata.version(peer)}")
    return True


def compare(size: str, peers: dict[str, Build], steps: int, bf16_peak: float, compiled: bool) -> None:
    variants = [variant("ours", ours, size, precision) for precision in DTYPES]
    if compiled:
        begun, spent = time.perf_counter(), os.times()
        variants.append(variant("ours, compiled", ours_compiled, size, "bf16"))
        variants[-1].step()
        now = os.times()
        workers = now.children_user + now.children_system - spent.children_user - spent.children_system
        own = now.user + now.system - spent.user - spent.system
        print(
            f"{size}: compiled in {time.perf_counter() - begun:.0f} s, {own + workers:.0f} s of CPU time; kept", end=" "
        )
        print(f"for the next run in {os.environ['TORCHINDUCTOR_CACHE_DIR']}")
    theirs = [variant(name, build, size, precision) for name, build in peers.items() for precision in DTYPES]
    for round_number in range(steps + 1):
        for each in [*variants, *theirs]:
            begun = time.process_time()
            each.step()
            if round_number:  # the first warms up
                each.seconds.append(time.process_time() - begun)
    flops = flops_per_token(SIZES[size], VOCABULARY, TOKENS)
    for each in [*variants, *theirs]:
        share = each.tokens_per_second * flops / bf16_peak
        print(
            f"{size:>4}  {each.name:<14} {each.precision} {each.tokens_per_second:>8,.0f}  {share:>4.0%} of bf16 peak"
        )
    if theirs:
        print_ratios(size, variants, theirs)


def print_ratios(size: str, variants: list[Variant], theirs: list[Variant]) -> None:
    fastest = max(variants, key=lambda each: each.tokens_per_second)
    default = max((each for each in theirs if each.precision == "fp32"), key=lambda each: each.tokens_per_second)
    alike = max((each for each in theirs if each.precision == "bf16"), key=lambda each: each.tokens_per_second)
    eager = next(each for each in variants if each.precision == "bf16")
    for mine, other in ((fastest, default), (fastest, alike), (eager, alike)):
        ratios = sorted(b / a for a, b in zip(mine.seconds, other.seconds, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{size:>4}  {mine.name} {mine.precision} over {other.name} {other.precision}: {spread}")


def variant(name: str, build: Build, size: str, precision: str) -> Variant:
    model, loss = build(SIZES[size])
    number = sum(each.numel() for each in model.parameters())
    needed = sum(each.numel() for each in Decoder(SIZES[size], VOCABULARY).parameters())
    assert number == needed, f"{name} has {number:,} parameters where ours has {needed:,}"
    drawn = torch.randint(0, VOCABULARY, (SEQUENCES, TOKENS + 1), generator=torch.Generator().manual_seed(0))
    tokens, targets = drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value = loss(tokens, targets)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return Variant(name, precision, step)


def ours(shape: DecoderSettings) -> tuple[nn.Module, Loss]:
    decoder = Decoder(shape, VOCABULARY)
    initialise(decoder, seed=0)
    return decoder, decoder.loss


def ours_compiled(shape: DecoderSettings) -> tuple[nn.Module, Loss]:
    decoder, _ = ours(shape)
    compile_loss(decoder)
    return decoder, decoder.loss


def transformers_llama(shape: DecoderSettings) -> tuple[nn.Module, Loss]:
    library = import_module("transformers")
    config = llama_config(shape, VOCABULARY, beginning_id=1, end_ids=[2], padding_id=None)
    model = library.LlamaForCausalLM(library.LlamaConfig(**config))

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        logits = model(input_ids=tokens, use_cache=False).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return model, loss


def litgpt(shape: DecoderSettings) -> tuple[nn.Module, Loss]:
    config = import_module("litgpt.config").Config(
        block_size=shape.context_tokens,
        n_layer=shape.layers,
        n_embd=shape.width,
        n_head=shape.heads,
        n_query_groups=shape.kv_heads,
        intermediate_size=shape.ffn_width,
        vocab_size=VOCABULARY,
        padded_vocab_size=VOCABULARY,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    model = import_module("litgpt.model").GPT(config)
    chunked_cross_entropy = import_module("litgpt.utils").chunked_cross_entropy  # what its own pretraining calls
    return model, lambda tokens, targets: chunked_cross_entropy(model(tokens), targets)


if __name__ == "__main__":
    main()
