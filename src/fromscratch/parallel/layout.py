"""How many processes share what, from the settings and the number of processes; what cannot be is refused."""

import math
import os
from dataclasses import dataclass
from typing import NoReturn

from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Machine, Parallel
from fromscratch.model.settings import DecoderSettings

__all__ = ["Layout", "choose_layout", "micro_batches", "process_count", "refuse_what_does_not_divide"]


@dataclass(frozen=True)
class Layout:
    """Processes along each dimension of the mesh, the outermost first; ``parallel.mesh`` has their meaning."""

    pipeline: int = 1
    replicate: int = 1
    shard: int = 1
    context: int = 1
    tensor: int = 1

    @property
    def processes(self) -> int:
        return self.pipeline * self.data * self.sequence

    @property
    def data(self) -> int:
        """Parts that the sequences of a batch are cut into."""
        return self.replicate * self.shard

    @property
    def sequence(self) -> int:
        """Parts that the positions of a sequence are cut into between attentions, and its heads within them."""
        return self.context * self.tensor


def process_count(machine: Machine) -> int:
    """Processes that pretraining has: torchrun's under torchrun, else those that the machine settings ask for."""
    return int(os.environ.get("WORLD_SIZE", machine.processes))


def choose_layout(settings: Parallel, processes: int) -> Layout:
    """The layout of so many processes. Raises FromScratchError when the settings do not multiply to their number."""
    fixed = settings.replicate * settings.context * settings.tensor * settings.pipeline
    asked = " × ".join(
        f"{name} {size}"
        for name, size in settings.model_dump().items()
        if size is not None and (size > 1 or name == "shard")
    )
    if settings.shard is None and processes % fixed:
        _refuse(
            f"`machine.parallel` asks for {asked} = {fixed} processes or a multiple, and there are {processes}",
            f"use {math.ceil(processes / fixed) * fixed} processes, or sizes whose product divides {processes}",
        )
    shard = settings.shard or processes // fixed
    if shard * fixed != processes:
        _refuse(
            f"`machine.parallel` asks for {asked} = {shard * fixed} processes, and there are {processes}",
            f"set `machine.processes` = {shard * fixed} (under torchrun, its number), or leave `shard` out",
        )
    return Layout(settings.pipeline, settings.replicate, shard, settings.context, settings.tensor)


def refuse_what_does_not_divide(
    layout: Layout,
    model: DecoderSettings,
    batch_sequences: int,
    sequence_tokens: int,
    micro_batch_sequences: int | None,
) -> None:
    """Raise FromScratchError, with the number to change and to what, unless everything can be shared out evenly."""
    _divides("`pretrain.batch_sequences`", batch_sequences, layout.data, "replicate × shard")
    _divides("`model.layers`", model.layers, layout.pipeline, "pipeline")
    _divides("`pretrain.sequence_tokens`", sequence_tokens, layout.sequence, "context × tensor")
    _divides("`model.kv_heads`", model.kv_heads, layout.sequence, "context × tensor")  # and so do the heads
    _divides("`model.ffn_width`", model.ffn_width, layout.tensor, "tensor")
    if layout.sequence > 1 and model.positions.kind == "relative":
        _refuse(
            '`model.positions.kind` = "relative" has vectors of each head, which cannot be shared out',
            "set `machine.parallel.context` = 1 and `machine.parallel.tensor` = 1, or use other positions",
        )
    if layout.pipeline > 1 and model.head == "tied":
        _refuse(
            '`model.head` = "tied" is in the first and the last stage at once',
            'set `machine.parallel.pipeline` = 1, or `model.head` = "untied"',
        )
    if layout.pipeline > 1:
        micro_batches(layout, batch_sequences // layout.data, micro_batch_sequences)


def micro_batches(layout: Layout, rows: int, micro_batch_sequences: int | None) -> int:
    """Micro-batches that the ``rows`` of one data rank go through a pipeline in: all of one size.

    When the settings leave their size open, at most four times as many as there are stages, which are then idle for a
    fifth of the time. Raises FromScratchError when there are fewer than stages.
    """
    stages = layout.pipeline
    if micro_batch_sequences is not None and rows % micro_batch_sequences:
        _refuse(
            f"`pretrain.micro_batch_sequences` = {micro_batch_sequences} does not divide the {rows} sequences of a "
            "process, and a pipeline takes micro-batches of one size",
            f"use {_divisors(rows // stages, rows)}",
        )
    size = micro_batch_sequences or next(
        each for each in range(1, rows + 1) if rows % each == 0 and rows // each <= 4 * stages
    )
    if rows // size < stages:
        _refuse(
            f"{rows} sequences of a process in micro-batches of {size} do not keep {stages} stages of a pipeline busy",
            f"set `pretrain.micro_batch_sequences` = {max(1, rows // stages)}, or raise `pretrain.batch_sequences` to "
            f"{layout.data * stages} or more",
        )
    return rows // size


def _divides(name: str, value: int, parts: int, dimension: str) -> None:
    if value % parts:
        _refuse(
            f"{name} = {value} cannot be shared out by `machine.parallel`: {dimension} = {parts} does not divide it",
            f"use {math.ceil(value / parts) * parts}, or let {dimension} be {_divisors(parts, value)}",
        )


def _divisors(most: int, of: int) -> str:
    return " or ".join(str(each) for each in range(1, max(most, 1) + 1) if of % each == 0)


def _refuse(message: str, hint: str) -> NoReturn:
    raise FromScratchError(message, hint)
