"""The stage from token shards to a base model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.device import choose_device
from fromscratch.model.files import copy_weights
from fromscratch.model.fp8 import refuse_fp8_where_it_cannot_run
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.parallel.launch import work_together
from fromscratch.parallel.lay_out import lay_out
from fromscratch.parallel.layout import Layout, choose_layout, process_count, refuse_what_does_not_divide
from fromscratch.parallel.mesh import Ranks
from fromscratch.tokens.batches import RunPlan, Source
from fromscratch.tokens.shards import read_index
from fromscratch.train.compile import compile_where_it_pays
from fromscratch.train.loop import Batch, NonFinite
from fromscratch.train.memory import explained_when_memory_runs_out
from fromscratch.train.run import train_to_end
from fromscratch.train.settings import PretrainSettings
from fromscratch.train.start import refuse_other_tokenizer
from fromscratch.train.validate import open_validation

__all__ = ["pretrain"]


def begin(decoder: Decoder, seed: int, init_from: str | None, tokens: Path) -> None:
    """Give the decoder its first weights: drawn, or those of a model that was trained on the same ``tokens``' ids."""
    if init_from is None:
        initialise(decoder, seed)
        return
    refuse_other_tokenizer(init_from, tokens.parent / "tokenizer" / "tokenizer.json")
    copy_weights(decoder, Path(init_from))


def pretrain(
    draft: Draft,
    inputs: Mapping[str, Artifact],
    workplace: Workplace,
    *,
    seed: int,
    model: DecoderSettings,
    pretrain: PretrainSettings,
) -> Mapping[str, Any]:
    """Train a decoder on the shards of ``tokens``, from nothing or from a model; going on is the same call.

    Raises FromScratchError for sequences longer than the decoder's context, for a mixture that names what is not
    there, and for a loss that is not finite; Stopped when asked to stop.
    """
    layout = choose_layout(workplace.machine.parallel, process_count(workplace.machine))
    _refuse_stages(model, pretrain, layout)
    if pretrain.precision == "fp8":
        refuse_fp8_where_it_cannot_run(choose_device(workplace.machine))
        if layout.tensor > 1:
            raise FromScratchError(
                '`pretrain.precision` = "fp8" does not go with matrices that are shared out',
                'set `machine.parallel.tensor` = 1, or `pretrain.precision` = "bf16"',
            )
    if layout.pipeline > 1 and pretrain.attend == "document":
        raise FromScratchError(
            '`pretrain.attend` = "document" needs the tokens, which only the first stage of a pipeline has',
            'set `machine.parallel.pipeline` = 1, or `pretrain.attend` = "window"',
        )
    job = Pretraining(draft.folder, inputs["tokens"].path, seed, model, pretrain)
    if layout.pipeline > 1 and pretrain.recompute == "selective":
        raise FromScratchError(
            '`pretrain.recompute` = "selective" does not go with the schedule of a pipeline',
            'use "full" or "none", or set `machine.parallel.pipeline` = 1',
        )
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


def _refuse_stages(model: DecoderSettings, pretrain: PretrainSettings, layout: Layout) -> None:
    for number, (_, here) in enumerate(pretrain.in_stages):
        place = "pretrain" if number == 0 else f"pretrain.stages.{number - 1}"
        if here.sequence_tokens > model.context_tokens:
            raise FromScratchError(
                f"`{place}.sequence_tokens` = {here.sequence_tokens:,} is longer than `model.context_tokens` = "
                f"{model.context_tokens:,}",
                f"use at most {model.context_tokens:,}, or give the model a longer context",
            )
        if number and pretrain.stages[number - 1].rotary_base and model.positions.kind != "rotary":
            raise FromScratchError(
                f"`{place}.rotary_base`: the model has positions of the kind {model.positions.kind!r}",
                'leave it out, or set `model.positions.kind` = "rotary"',
            )
        sizes = here.batch_sequences, here.sequence_tokens, here.micro_batch_sequences
        refuse_what_does_not_divide(layout, model, *sizes)


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

    def plan(self) -> RunPlan:
        return RunPlan(self.tokens, self.seed, self.settings.batch_forms)


def _train_together(job: Pretraining, workplace: Workplace, ranks: Ranks) -> dict[str, Any]:
    """What one process of them does."""
    plan = job.plan()
    device = choose_device(workplace.machine)
    settings = job.settings
    with explained_when_memory_runs_out("pretrain", job.model, job.vocabulary, settings, device, ranks.layout):
        fill = partial(begin, seed=job.seed, init_from=settings.init_from, tokens=job.tokens)
        decoder = lay_out(job.model, job.vocabulary, ranks, device, settings.precision, fill)
    if settings.attend == "document":
        decoder.document_end = read_index(job.tokens)["end_of_document"]
    if ranks.alone or device.type == "cuda":
        tokens = sum(form.batches * form.sequences * form.sequence_tokens for form in settings.batch_forms)
        compile_where_it_pays(decoder, settings.compile, tokens)

    def batches(number: int) -> Batch:
        sequences = torch.from_numpy(plan.batch(number))
        return sequences[:, :-1], sequences[:, 1:]

    validation = open_validation(job.tokens, settings)
    try:
        return train_to_end(
            job.folder, decoder, batches, settings, workplace, "pretrain", plan.position, ranks, validation
        )
    except NonFinite as error:
        sources = plan.sources(error.batch)
        workplace.ledger.append("non_finite", stage="pretrain", batch=error.batch, sources=[asdict(s) for s in sources])
        raise FromScratchError(f"{error.message}; it holds {_in_words(sources)}", error.hint) from None


def _in_words(sources: Sequence[Source]) -> str:
    told = [
        f"tokens {each.first:,} to {each.end - 1:,} of {each.group} (document {', '.join(each.documents[:2])}"
        + (f" and {len(each.documents) - 2} more)" if len(each.documents) > 2 else ")")
        for each in sources[:2]
    ]
    rest = f", and {len(sources) - 2} more sequences, which the ledger names" if len(sources) > 2 else ""
    return ", ".join(told) + rest
