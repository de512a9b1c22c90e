"""The stage from token shards to a base model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fromscratch.core.artifact import Artifact, Draft
from fromscratch.core.errors import FromScratchError
from fromscratch.core.workplace import Workplace
from fromscratch.model.decoder import Decoder
from fromscratch.model.files import copy_weights
from fromscratch.model.initial import initialise
from fromscratch.model.settings import DecoderSettings
from fromscratch.tokens.batches import BatchPlan
from fromscratch.tokens.shards import read_index
from fromscratch.train.loop import Batch
from fromscratch.train.run import train_to_end
from fromscratch.train.settings import PretrainSettings
from fromscratch.train.start import refuse_other_tokenizer

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
    if pretrain.sequence_tokens > model.context_tokens:
        raise FromScratchError(
            f"`pretrain.sequence_tokens` = {pretrain.sequence_tokens:,} is longer than `model.context_tokens` = "
            f"{model.context_tokens:,}",
            f"use at most {model.context_tokens:,}, or give the model a longer context",
        )
    tokens = inputs["tokens"].path
    plan = BatchPlan(tokens, pretrain.mixture, seed, pretrain.sequence_tokens, pretrain.batch_sequences)
    decoder = Decoder(model, read_index(tokens)["vocabulary"])
    begin(decoder, seed, pretrain.init_from, tokens)

    def batches(number: int) -> Batch:
        sequences = torch.from_numpy(plan.batch(number))
        return sequences[:, :-1], sequences[:, 1:]

    facts = train_to_end(draft.folder, decoder, batches, pretrain, workplace, "pretrain", plan.position)
    epochs = plan.position(pretrain.steps)["epochs"]
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    summary = f"{facts['tokens']:,} tokens, loss {facts['final_loss']:.3f}, {facts['tokens_per_second']:,.0f} tokens/s"
    return {"summary": summary, **facts, "parameters": parameters, "mixture": plan.weights, "epochs": epochs}
