"""The stage from token shards to a base model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.device import choose_device
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.parallel.launch import work_together
from fromscratch.parallel.lay_out import lay_out
from fromscratch.parallel.layout import choose_layout, process_count, refuse_what_does_not_divide
from fromscratch.parallel.mesh import ALONE, Ranks
from fromscratch.tokens.batches import BatchPlan
from fromscratch.tokens.shards import read_index
from fromscratch.train.compile import compile_where_it_pays
from fromscratch.train.loop import Batch
from fromscratch.train.run import train_to_end
from fromscratch.train.settings import PretrainSettings
from fromscratch.train.validate import open_validation

__all__ = ["pretrain"]


def pretrain(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    seed: int,
    model: DecoderSettings,
    pretrain: PretrainSettings,
) -> Mapping[str, Any]:
    """Train a decoder from nothing on the shards of ``tokens``; going on is the same call.

    Raises FromScratchError for sequences longer than the decoder's context, for a mixture that names what is not
    there, and for a loss that is not finite; Stopped when asked to stop.
    """
    if pretrain.sequence_tokens > model.context_tokens:
        raise FromScratchError(
            f"`pretrain.sequence_tokens` = {pretrain.sequence_tokens:,} is longer than `model.context_tokens` = "
            f"{model.context_tokens:,}",
            f"use at most {model.context_tokens:,}, or give the model a longer context",
        )
    processes = process_count(workplace.machine)
    layout = choose_layout(workplace.machine.parallel, processes)
    refuse_what_does_not_divide(
        layout, model, pretrain.batch_sequences, pretrain.sequence_tokens, pretrain.micro_batch_sequences
    )
    if layout.pipeline > 1 and pretrain.attend == "document":
        raise FromScratchError(
            '`pretrain.attend` = "document" needs the tokens, which only the first stage of a pipeline has',
            'set `machine.parallel.pipeline` = 1, or `pretrain.attend` = "window"',
        )
    job = Pretraining(draft.folder, inputs["tokens"].path, seed, model, pretrain)
    if layout.pipeline > 1 and pretrain.validate_every_steps is not None:
        raise FromScratchError(
            "`pretrain.validate_every_steps`: the schedule of a pipeline has no pass without gradients",
            "leave it out, or set `machine.parallel.pipeline` = 1",
        )
    facts = work_together(_train_together, job, workplace, layout)
    plan = job.plan()
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Decoder(model, job.vocabulary).parameters())
    epochs = plan.position(pretrain.steps)["epochs"]
    summary = f"{facts['tokens']:,} tokens, loss {facts['final_loss']:.3f}, {facts['tokens_per_second']:,.0f} tokens/s"
    return {"summary": summary, **facts, "parameters": parameters, "mixture": plan.weights, "epochs": epochs}


@dataclass(frozen=True)
class Pretraining:
    """What every process of a pretraining has to know."""

    folder: Path
    tokens: Path
    seed: int
    model: DecoderSettings
    settings: PretrainSettings

    @property
    def vocabulary(self) -> int:
        return int(read_index(self.tokens)["vocabulary"])

    def plan(self) -> BatchPlan:
        settings = self.settings
        return BatchPlan(self.tokens, settings.mixture, self.seed, settings.sequence_tokens, settings.batch_sequences)


def _train_together(job: Pretraining, workplace: Workplace, ranks: Ranks) -> dict[str, Any]:
    """What one process of them does."""
    plan = job.plan()
    device = choose_device(workplace.machine)
    decoder = lay_out(
        job.model, job.vocabulary, ranks, device, job.settings.precision, partial(initialise, seed=job.seed)
    )
    settings = job.settings
    if settings.attend == "document":
        decoder.document_end = read_index(job.tokens)["end_of_document"]
    if ranks is ALONE or device.type == "cuda":
        tokens_per_step = settings.sequence_tokens * settings.batch_sequences
        compile_where_it_pays(decoder, settings.compile, tokens_per_step, settings.steps)

    def batches(number: int) -> Batch:
        sequences = torch.from_numpy(plan.batch(number))
        return sequences[:, :-1], sequences[:, 1:]

    validation = open_validation(job.tokens, settings)
    return train_to_end(job.folder, decoder, batches, settings, workplace, "pretrain", plan.position, ranks, validation)
