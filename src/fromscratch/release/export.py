"""The tuned model as a `LlamaForCausalLM` folder that every engine reads: weights, configuration, tokenizer."""

import hashlib
from pathlib import Path
from typing import Any

from fromscratch.anatomy.convert.convert import apply_plan
from fromscratch.anatomy.convert.planning import Decided, make_plan
from fromscratch.anatomy.convert.tokenizing import our_tokenizing, write_tokenizing
from fromscratch.anatomy.opening.open import open_checkpoint
from fromscratch.anatomy.structure.find import find_structure
from fromscratch.anatomy.tensors import StoredTensor
from fromscratch.core.files import write_json
from fromscratch.model.llama_names import llama_config
from fromscratch.model.settings import DecoderSettings
from fromscratch.release.settings import GenerationDefaults
from fromscratch.tokenizer.special import END_OF_TEXT, IM_END, PADDING, START_OF_TEXT

__all__ = ["END_IDS", "export_configuration", "export_tokenizer", "export_weights"]

BLOCK_BYTES = 1 << 24
END_IDS = (IM_END, END_OF_TEXT)  # the first ends an answer, the second a document; either must stop an engine


def export_weights(
    source: Path, folder: Path, settings: DecoderSettings, vocabulary: int, max_shard_bytes: int
) -> dict[str, Any]:
    """Write the weights under Llama's names and return what there is to say of each tensor, with its SHA-256.

    The digests are of what stands on the disk afterwards. Raises FromScratchError when the tensors are not those of a
    decoder with these settings.
    """
    checkpoint = open_checkpoint(source)
    decided = Decided(settings, vocabulary, "llama", max_shard_bytes=max_shard_bytes)
    plan = make_plan(checkpoint, find_structure(checkpoint), decided)
    apply_plan(plan, checkpoint, folder)
    written = open_checkpoint(folder).tensors
    trained_as = {new: old for old, new in (plan.renames(checkpoint) or {}).items()}
    return {name: _record(written[name], trained_as[name]) for name in (each.name for each in plan.outputs)}


def _record(tensor: StoredTensor, trained_as: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    for first in range(0, tensor.nbytes, BLOCK_BYTES):
        digest.update(tensor.read_raw(first, min(BLOCK_BYTES, tensor.nbytes - first)))
    about = {"dtype": tensor.kind, "shape": list(tensor.shape), "sha256": digest.hexdigest()}
    return {**about, "trained_as": trained_as}


def export_configuration(
    folder: Path, settings: DecoderSettings, vocabulary: int, generation: GenerationDefaults
) -> None:
    """Write `config.json` and `generation_config.json`."""
    config = llama_config(settings, vocabulary, beginning_id=START_OF_TEXT, end_ids=END_IDS, padding_id=PADDING)
    write_json(folder / "config.json", config)
    # A sampling field beside do_sample = false makes transformers warn, so greedy decoding has none.
    sampling = {"temperature": generation.temperature, "top_p": generation.top_p} if generation.temperature else {}
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": START_OF_TEXT,
            "eos_token_id": list(END_IDS),
            "pad_token_id": PADDING,
            "do_sample": bool(sampling),
            **sampling,
            "max_new_tokens": min(generation.max_new_tokens, settings.context_tokens // 2),  # a prompt needs room too
            "repetition_penalty": generation.repetition_penalty,
        },
    )


def export_tokenizer(source: Path, folder: Path, context_tokens: int) -> None:
    """Write `tokenizer.json` as it was trained, and beside it what transformers 4 and 5 ask for."""
    write_tokenizing(folder, our_tokenizing(source.read_text(encoding="utf-8"), chat=True), context_tokens)
