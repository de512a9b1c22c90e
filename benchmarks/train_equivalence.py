"""Our trainer and plain `transformers` + torch.optim.AdamW on the same batches, several seeds: do they end alike?

Both start from the same initial weights of a seed and see the same batches of that seed, with the same learning rates,
decay and clipping, in fp32. Only code differs: our model, loss, optimiser and loop on one side; `LlamaForCausalLM`, its
cross-entropy, torch's AdamW over two groups and a loop as anyone writes it on the other. They end alike when the means
over the seeds differ by less than what seeds differ by.

    python benchmarks/train_equivalence.py --tokens runs/demo/tokens --model 6M --steps 2000 --seeds 3

B batch · T position
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional

from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.llama_names import llama_config, to_llama_name
from fromscratch.model.settings import DecoderSettings
from fromscratch.model.transfer import learning_rate_factor
from fromscratch.optim.build import build_optimizer
from fromscratch.optim.schedule import learning_rate_share
from fromscratch.optim.settings import AdamW, WarmupStableDecay
from fromscratch.tokens.batches import BatchPlan
from fromscratch.tokens.shards import read_index
from fromscratch.train.loop import training_steps
from fromscratch.train.settings import LoopSettings
from fromscratch.train.state import TrainState

MODELS = {  # by their parameters without embedding and head
    "1M": {"layers": 5, "width": 128, "heads": 4, "kv_heads": 2, "ffn_width": 352},
    "6M": {"layers": 8, "width": 256, "heads": 4, "kv_heads": 2, "ffn_width": 704},
}
Batches = Callable[[int], tuple[Tensor, Tensor]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    options.add_argument("--model", choices=list(MODELS), default="6M")
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--sequences", type=int, default=8)
    options.add_argument("--sequence-tokens", type=int, default=256)
    asked = options.parse_args()
    if not asked.tokens.is_dir():
        raise SystemExit(f"{asked.tokens}: no token shards; name a folder of them by --tokens")
    torch.set_num_threads(1)
    shape = DecoderSettings(**MODELS[asked.model], context_tokens=asked.sequence_tokens)
    vocabulary = int(read_index(asked.tokens)["vocabulary"])
    loop = LoopSettings(
        steps=asked.steps,
        batch_sequences=asked.sequences,
        optimizer=AdamW(peak_learning_rate=3e-3, weight_decay=0.1),
        schedule=WarmupStableDecay(warmup_steps=max(1, asked.steps // 20), decay_share=0.2),
        precision="fp32",
    )
    versions = f"torch {torch.__version__}, transformers {metadata.version('transformers')}"
    print(f"Python {platform.python_version()}, {versions}, one thread; {asked.model}, vocabulary {vocabulary:,}")
    print(
        f"{asked.steps:,} steps of {asked.sequences} × {asked.sequence_tokens} tokens; the end is the mean of the last"
    )
    print("tenth of the steps, each on tokens not seen before")
    ends: dict[str, list[float]] = {"ours": [], "transformers": []}
    for seed in range(asked.seeds):
        batches = batches_of(asked, seed)
        for name, train in (("ours", ours), ("transformers", transformers_llama)):
            begun = time.process_time()
            losses = train(shape, vocabulary, seed, batches, loop)
            ends[name].append(statistics.fmean(losses[-max(1, asked.steps // 10) :]))
            first = " ".join(f"{loss:.5f}" for loss in losses[:3])
            seconds = time.process_time() - begun
            print(f"seed {seed}  {name:<13} first {first}  end {ends[name][-1]:.4f}  {seconds:,.0f} CPU s", flush=True)
    print_verdict(ends)


def batches_of(asked: argparse.Namespace, seed: int) -> Batches:
    plan = BatchPlan(asked.tokens, None, seed, asked.sequence_tokens, asked.sequences)

    def batch(number: int) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(plan.batch(number))
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    return batch


def ours(shape: DecoderSettings, vocabulary: int, seed: int, batches: Batches, loop: LoopSettings) -> list[float]:
    decoder = Decoder(shape, vocabulary)
    initialise(decoder, seed)
    factor = partial(learning_rate_factor, shape)
    state = TrainState(decoder, build_optimizer(loop.optimizer, decoder.named_parameters(), factor))
    return [report.loss for _, report in training_steps(state, batches, loop)]


def transformers_llama(
    shape: DecoderSettings, vocabulary: int, seed: int, batches: Batches, loop: LoopSettings
) -> list[float]:
    library = import_module("transformers")
    config = llama_config(shape, vocabulary, beginning_id=1, end_ids=[2], padding_id=None)
    model = library.LlamaForCausalLM(library.LlamaConfig(**config))
    start = Decoder(shape, vocabulary)
    initialise(start, seed)
    model.load_state_dict({to_llama_name(name): each.detach() for name, each in start.named_parameters()})
    assert isinstance(loop.optimizer, AdamW)
    plain = [each for name, each in model.named_parameters() if each.ndim == 1 or "embed_tokens" in name]
    decayed = [each for name, each in model.named_parameters() if each.ndim > 1 and "embed_tokens" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": loop.optimizer.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        betas=(loop.optimizer.beta1, loop.optimizer.beta2),
        eps=loop.optimizer.epsilon,
    )
    losses = []
    for step in range(loop.steps):
        tokens_BT, targets_BT = batches(step)
        logits = model(input_ids=tokens_BT, use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), targets_BT.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), loop.clip_norm or float("inf"))
        for group in optimizer.param_groups:
            group["lr"] = loop.optimizer.peak_learning_rate * learning_rate_share(loop.schedule, step, loop.steps)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def print_verdict(ends: dict[str, list[float]]) -> None:
    means = {name: statistics.fmean(each) for name, each in ends.items()}
    spreads = {name: statistics.stdev(each) if len(each) > 1 else float("nan") for name, each in ends.items()}
    for name, mean in means.items():
        print(f"{name:<13} mean {mean:.4f}, standard deviation over seeds {spreads[name]:.4f}")
    difference, spread = means["ours"] - means["transformers"], max(spreads.values())
    pairs = ", ".join(f"{a - b:+.4f}" for a, b in zip(ends["ours"], ends["transformers"], strict=True))
    verdict = "within" if abs(difference) <= spread else "OUTSIDE"
    print(f"difference of the means {difference:+.4f} nats (seed by seed {pairs}): {verdict} the spread over seeds")


if __name__ == "__main__":
    main()
