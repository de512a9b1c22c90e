"""The tuned model as a `LlamaForCausalLM` folder that every engine reads: weights, configuration, tokenizer."""

import shutil
from pathlib import Path
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, write_json
from fromscratch.model.llama_names import llama_config, tensor_names, to_llama_name
from fromscratch.model.settings import DecoderSettings
from fromscratch.release.settings import GenerationDefaults
from fromscratch.release.weights import read_header, rewrite
from fromscratch.tokenizer.chatml import CHAT_TEMPLATE
from fromscratch.tokenizer.special import END_OF_TEXT, IM_END, PADDING, SPECIAL_TOKENS, START_OF_TEXT, UNKNOWN

__all__ = ["END_IDS", "export_configuration", "export_tokenizer", "export_weights"]

END_IDS = (IM_END, END_OF_TEXT)  # the first ends an answer, the second a document; either must stop an engine


def export_weights(source: Path, folder: Path, settings: DecoderSettings, max_shard_bytes: int) -> dict[str, Any]:
    """Write the weights under Llama's names and return what there is to say of each tensor, with its SHA-256.

    Raises FromScratchError when the tensors are not those of a decoder with these settings.
    """
    expected = tensor_names(settings)
    found = {each.name for each in read_header(source)}
    if odd := sorted(found ^ set(expected)):
        raise FromScratchError(
            f"{source}: its tensors are not those of the model's settings, for example `{odd[0]}`",
            "weights and settings are of different models; remove the folder and run the same command again",
        )
    return rewrite(source, folder, {name: to_llama_name(name) for name in expected}, max_shard_bytes)


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
    with atomic_write(folder / "tokenizer.json") as temporary:
        shutil.copyfile(source, temporary)
    named = {
        "bos_token": SPECIAL_TOKENS[START_OF_TEXT],
        "eos_token": SPECIAL_TOKENS[IM_END],  # some engines know no other end than this one
        "pad_token": SPECIAL_TOKENS[PADDING],
        "unk_token": SPECIAL_TOKENS[UNKNOWN],
    }
    write_json(folder / "special_tokens_map.json", named)
    write_json(
        folder / "tokenizer_config.json",
        {
            # Version 5 would write the name of a class that version 4 does not have.
            "tokenizer_class": "PreTrainedTokenizerFast",
            **named,
            "added_tokens_decoder": {str(number): _added_token(text) for number, text in enumerate(SPECIAL_TOKENS)},
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,  # else decoding loses spaces before punctuation
            "model_input_names": ["input_ids", "attention_mask"],  # else token_type_ids come too, which Llama refuses
            "model_max_length": context_tokens,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    with atomic_write(folder / "chat_template.jinja") as temporary:
        temporary.write_text(CHAT_TEMPLATE, encoding="utf-8")


def _added_token(text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": text, **flags, "special": True}
