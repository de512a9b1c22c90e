"""muP at work: activations of one size at every width, and a learning rate that is best at all of them; and without it.

The coordinate check (arXiv 2203.03466, appendix D.1) trains decoders of several widths for a few steps and measures how
large their activations become. The transfer trains each width at a grid of learning rates, on the same real tokens,
with a warm-up and a straight line down, and compares the mean loss of the last tenth of the steps.

    python benchmarks/mup.py --tokens runs/demo/tokens --pictures benchmarks/reports/DATE-mup

B batch · T position · D model width · V vocabulary
"""

import argparse
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder
from fromscratch.model.initial import initialise
from fromscratch.model.initialisation import FanIn, MuP, Parametrisation, Standard
from fromscratch.model.settings import DecoderSettings
from fromscratch.model.transfer import learning_rate_factor
from fromscratch.optim.build import build_optimizer
from fromscratch.optim.settings import AdamW, Constant, Linear
from fromscratch.release.charts import log_ticks, round_ticks
from fromscratch.tokens.batches import BatchPlan
from fromscratch.tokens.shards import read_index
from fromscratch.train.loop import training_steps
from fromscratch.train.settings import LoopSettings
from fromscratch.train.state import TrainState

BASE_WIDTH, HEAD_WIDTH = 64, 32
KINDS: dict[str, Parametrisation] = {"standard": Standard(), "muP": MuP(base_width=BASE_WIDTH)}
COLOURS = ("#7fb2e5", "#3f7fc4", "#2b4f9e", "#5b2a86", "#a3195b")


@dataclass(frozen=True)
class Data:
    """Real tokens, the same for every run; all but the commonest count as one, which small models learn from sooner."""

    plan: BatchPlan
    sequences: int
    tokens: int
    classes: Tensor
    """What each token counts as."""
    vocabulary: int

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        rows = self.classes[torch.from_numpy(self.plan.batch(number))]
        return rows[:, :-1], rows[:, 1:]


def real_tokens(asked: argparse.Namespace) -> Data:
    mixture = {asked.group: 1.0} if asked.group else None
    plan = BatchPlan(asked.tokens, mixture, 0, asked.sequence_tokens, asked.sequences)
    seen = torch.cat([torch.from_numpy(plan.batch(number)).flatten() for number in range(asked.steps)])
    counts = torch.bincount(seen, minlength=read_index(asked.tokens)["vocabulary"])
    common = counts.topk(asked.vocabulary - 1).indices
    classes = torch.zeros_like(counts)
    classes[common] = torch.arange(1, asked.vocabulary)
    share = counts[common].sum() / len(seen)
    print(f"{asked.vocabulary - 1:,} of {len(counts):,} tokens are told apart, {share:.0%} of the text")
    return Data(plan, asked.sequences, asked.sequence_tokens, classes, asked.vocabulary)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokens", type=Path, default=Path("runs/demo/tokens"))
    options.add_argument("--pictures", help="beginning of the names of the pictures to write")
    options.add_argument("--check-widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    options.add_argument("--check-steps", type=int, default=10)
    options.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    options.add_argument("--rates", type=int, nargs="+", default=list(range(-10, -3)), help="as powers of 2")
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--layers", type=int, default=2)
    options.add_argument("--group", default="en", help="language or group of the tokens; all when empty")
    options.add_argument("--vocabulary", type=int, default=1024)
    options.add_argument("--sequences", type=int, default=8)
    options.add_argument("--sequence-tokens", type=int, default=64)
    asked = options.parse_args()
    if not asked.tokens.is_dir():
        raise SystemExit(f"{asked.tokens}: no token shards; name a folder of them by --tokens")
    torch.set_num_threads(1)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, one thread; {asked.layers} layers, AdamW,")
    print(
        f"heads {HEAD_WIDTH} wide; {asked.sequences} × {asked.sequence_tokens} tokens a step of {asked.group or 'all'}"
    )
    data = real_tokens(asked)
    checked = {kind: check(each, data, asked) for kind, each in KINDS.items()}
    print_check(checked, asked)
    losses = {kind: transfer(kind, each, data, asked) for kind, each in KINDS.items()}
    print_transfer(losses, asked)
    if asked.pictures:
        Path(f"{asked.pictures}-coordinates.svg").write_text(picture_of_check(checked, asked), encoding="utf-8")
        Path(f"{asked.pictures}-transfer.svg").write_text(picture_of_transfer(losses, asked), encoding="utf-8")
    print(f"{time.process_time():,.0f} CPU seconds")


def shape(
    width: int, layers: int, kind: Parametrisation, context: int, zero: tuple[Literal["head"], ...] = ()
) -> DecoderSettings:
    """Llama's, with heads of one width, and an initialisation that the standard parametrisation shares."""
    heads = width // HEAD_WIDTH
    return DecoderSettings(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        ffn_width=width * 11 // 4,
        context_tokens=context,
        init=FanIn(depth="model", zero=zero),
        parametrisation=kind,
    )


def training(
    settings: DecoderSettings, data: Data, loop: LoopSettings, watch: Callable[[Decoder], None] = lambda _: None
) -> Iterator[float]:
    """The loss of each step; ``watch`` sees the decoder before the first."""
    decoder = Decoder(settings, data.vocabulary)
    initialise(decoder, 0)
    watch(decoder)
    factor = partial(learning_rate_factor, settings)
    state = TrainState(decoder, build_optimizer(loop.optimizer, decoder.named_parameters(), factor))
    for _, report in training_steps(state, data.batch, loop):
        yield report.loss


# ---- the coordinate check

Sizes = dict[str, list[float]]
"""The root mean square of each activation by name, at the first step, the second, …"""


def check(kind: Parametrisation, data: Data, asked: argparse.Namespace) -> dict[int, Sizes]:
    """By width; at a learning rate in the middle of the grid."""
    rate = 2.0 ** asked.rates[len(asked.rates) // 2]
    loop = LoopSettings(
        steps=asked.check_steps,
        batch_sequences=data.sequences,
        optimizer=AdamW(peak_learning_rate=rate, weight_decay=0.0),
        schedule=Constant(),
        precision="fp32",
    )
    found: dict[int, Sizes] = {}
    for width in asked.check_widths:
        sizes: Sizes = {}
        # A head that begins at 0 leaves logits to what is learnt; random ones fall with the width at first.
        settings = shape(width, asked.layers, kind, data.tokens, zero=("head",))
        for _ in training(settings, data, loop, partial(measure, sizes=sizes)):
            pass
        found[width] = sizes
    return found


def measure(decoder: Decoder, sizes: Sizes) -> None:
    """Have every forward pass note how large each activation is."""

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: sizes.setdefault(name, []).append(rms(output))

    decoder.embedding.register_forward_hook(note("embedding"))
    for number, layer in enumerate(decoder.layers, start=1):
        for part in ("attention", "mlp"):
            layer.get_submodule(part).register_forward_hook(note(f"{part} {number}"))
        layer.register_forward_hook(note(f"stream {number}"))
    assert decoder.final_norm is not None
    # The loss never has all logits at once, so they are made here of what the head multiplies.
    decoder.final_norm.register_forward_hook(
        lambda _module, _inputs, hidden_BTD: sizes.setdefault("logits", []).append(
            rms(hidden_BTD.detach() @ decoder.head_weight.detach().mT)
        )
    )


def rms(activations: Tensor) -> float:
    return float(activations.detach().square().mean().sqrt())


def slope(sizes: dict[int, Sizes], name: str, step: int) -> float:
    """The power of the width that an activation grows with, by least squares over the logarithms; 0 for zeros."""
    points = [(math.log2(width), math.log2(each[name][step] or 1.0)) for width, each in sizes.items()]
    middle = fmean(x for x, _ in points)
    return sum((x - middle) * y for x, y in points) / sum((x - middle) ** 2 for x, _ in points)


def print_check(checked: dict[str, dict[int, Sizes]], asked: argparse.Namespace) -> None:
    widths = asked.check_widths
    print(
        f"\nCoordinate check: root mean squares of activations in step {asked.check_steps}, by width; the power of the"
    )
    print("width that they grow with, at initialisation and then")
    for kind, sizes in checked.items():
        print(f"{kind:<12}" + "".join(f"{width:>9}" for width in widths) + "   power: first  last")
        for name in sizes[widths[0]]:
            row = "".join(f"{sizes[width][name][-1]:>9.4g}" for width in widths)
            print(f"  {name:<10}{row}{slope(sizes, name, 0):>15.2f}{slope(sizes, name, -1):>6.2f}")


# ---- the transfer of the learning rate

Losses = dict[int, dict[int, float]]
"""By width, then by the learning rate's power of 2."""


def transfer(kind: str, parametrisation: Parametrisation, data: Data, asked: argparse.Namespace) -> Losses:
    found: Losses = {width: {} for width in asked.widths}
    for width in asked.widths:
        for power in asked.rates:
            begun = time.process_time()
            found[width][power] = final_loss(
                shape(width, asked.layers, parametrisation, data.tokens), power, data, asked
            )
            print(
                f"{kind} {width} 2^{power}: {found[width][power]:.4f}, {time.process_time() - begun:.0f} s",
                file=sys.stderr,
            )
    return found


def final_loss(settings: DecoderSettings, power: int, data: Data, asked: argparse.Namespace) -> float:
    """The mean of the last tenth of the steps; infinite where training diverges."""
    loop = LoopSettings(
        steps=asked.steps,
        batch_sequences=data.sequences,
        optimizer=AdamW(peak_learning_rate=2.0**power, weight_decay=0.0),
        schedule=Linear(warmup_steps=asked.steps // 10),
        precision="bf16",
    )
    try:
        return fmean(list(training(settings, data, loop))[-max(1, asked.steps // 10) :])
    except FromScratchError:
        return math.inf


def best(losses: dict[int, float]) -> int:
    return min(losses, key=losses.__getitem__)


def print_transfer(losses: dict[str, Losses], asked: argparse.Namespace) -> None:
    print(f"\nTransfer: mean loss of the last tenth of {asked.steps} steps, by learning rate; * the best")
    for kind, by_width in losses.items():
        print(f"{kind:<12}" + "".join(f"{f'2^{power}':>9}" for power in asked.rates))
        for width, found in by_width.items():
            row = "".join(f"{loss:>8.3f}{'*' if power == best(found) else ' '}" for power, loss in found.items())
            print(f"  {width:<10}{row}")
    narrow, wide = asked.widths[0], asked.widths[-1]
    for kind, by_width in losses.items():
        found, wanted = best(by_width[narrow]), best(by_width[wide])
        lost = by_width[wide][found] - by_width[wide][wanted]
        print(
            f"{kind}: the best rate moves by {wanted - found:+d} steps of the grid from width {narrow} to {wide}; "
            f"that of {narrow} costs {lost:.3f} nats at {wide}"
        )


# ---- pictures

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP = 250, 200, 56, 64, 64
Series = tuple[str, str, Sequence[tuple[float, float]]]
"""Label, colour and points."""


def picture_of_check(checked: dict[str, dict[int, Sizes]], asked: argparse.Namespace) -> str:
    last = f"{asked.layers}"
    names = ["embedding", f"attention {last}", f"mlp {last}", f"stream {last}", "logits"]
    shown = sorted({0, 1, 3, asked.check_steps - 1} & set(range(asked.check_steps)))
    rows = []
    for kind, sizes in checked.items():
        rows.append([(f"{kind}: {name}", size_by_width(sizes, name, shown)) for name in names])
    values = [y for row in rows for _, lines in row for _, _, points in lines for _, y in points]
    return drawing(
        "Coordinate check: root mean square of activations over the width; flat is right",
        rows,
        (asked.check_widths, lambda width: f"{width:g}"),
        (log_ticks(min(values), max(values)), lambda value: f"{value:g}"),
        (min(values) / 1.2, max(values) * 1.2),
        math.log,
    )


def size_by_width(sizes: dict[int, Sizes], name: str, steps: Sequence[int]) -> list[Series]:
    return [
        (f"step {step + 1}", colour, [(width, each[name][step]) for width, each in sizes.items() if each[name][step]])
        for step, colour in zip(steps, COLOURS, strict=False)
    ]


def picture_of_transfer(losses: dict[str, Losses], asked: argparse.Namespace) -> str:
    known = [loss for by_width in losses.values() for found in by_width.values() for loss in found.values()]
    low = min(known)
    top = min(low + 2.5, max(loss for loss in known if math.isfinite(loss)))
    panels = [
        (
            kind,
            [
                (f"width {width}", colour, [(2.0**power, loss) for power, loss in found.items() if loss <= top])
                for (width, found), colour in zip(by_width.items(), COLOURS, strict=False)
            ],
        )
        for kind, by_width in losses.items()
    ]
    return drawing(
        f"Loss after {asked.steps} steps over the learning rate; dots are the best",
        [panels],
        ([2.0**power for power in asked.rates], lambda rate: f"2^{math.log2(rate):.0f}"),
        (round_ticks(low, top), lambda loss: f"{loss:g}"),
        (low - 0.05, top + 0.05),
        lambda loss: loss,
        dots=True,
    )


def drawing(
    title: str,
    rows: Sequence[Sequence[tuple[str, Sequence[Series]]]],
    x_axis: tuple[Sequence[float], Callable[[float], str]],
    y_axis: tuple[Sequence[float], Callable[[float], str]],
    y_range: tuple[float, float],
    y_scale: Callable[[float], float],
    dots: bool = False,
) -> str:
    """Panels in rows on the same axes, the x axis logarithmic; ``dots`` mark the lowest point of each line."""
    wide = max(map(len, rows)) * (PANEL_WIDTH + GAP) + LEFT
    high = len(rows) * (PANEL_HEIGHT + GAP) + TOP
    parts = [text(LEFT, 24, title, size=15, anchor="start")]
    for place, (label, colour, _) in enumerate(rows[0][0][1]):
        parts.append(text(LEFT + 90 * place, 44, f"● {label}", colour=colour, anchor="start"))
    for down, row in enumerate(rows):
        for across, (name, series) in enumerate(row):
            left, top = LEFT + across * (PANEL_WIDTH + GAP), TOP + 14 + down * (PANEL_HEIGHT + GAP)
            parts += panel(name, series, x_axis, y_axis, y_range, y_scale, left, top, dots)
    page = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="system-ui, sans-serif">'
    return "\n".join([page, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def panel(
    name: str,
    series: Sequence[Series],
    x_axis: tuple[Sequence[float], Callable[[float], str]],
    y_axis: tuple[Sequence[float], Callable[[float], str]],
    y_range: tuple[float, float],
    y_scale: Callable[[float], float],
    left: float,
    top: float,
    dots: bool,
) -> list[str]:
    x_low, x_high = math.log(x_axis[0][0]), math.log(x_axis[0][-1])
    y_low, y_high = map(y_scale, y_range)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - x_low) / (x_high - x_low)
        return left + across * PANEL_WIDTH, top + (y_high - y_scale(y)) / (y_high - y_low) * PANEL_HEIGHT

    parts = [text(left, top - 8, name, anchor="start")]
    for value in y_axis[0]:
        _, y = place(x_axis[0][0], value)
        parts.append(f'<path d="M{left} {y:.1f}h{PANEL_WIDTH}" stroke="#ddd"/>')
        parts.append(text(left - 6, y + 4, y_axis[1](value), anchor="end", size=10))
    for value in x_axis[0]:
        x, _ = place(value, y_range[0])
        parts.append(text(x, top + PANEL_HEIGHT + 16, x_axis[1](value), size=10))
    for _, colour, points in series:
        if not points:
            continue
        places = [place(x, y) for x, y in points]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marked = [max(places, key=lambda each: each[1])] if dots else places
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if dots else 2}" fill="{colour}"/>' for x, y in marked]
    return parts


def text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "middle", colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


if __name__ == "__main__":
    main()
