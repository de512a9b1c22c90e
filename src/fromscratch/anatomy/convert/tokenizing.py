"""The tokenizer of a model: read from whatever lies beside the weights, written so that every reader agrees."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fromscratch.anatomy.convert.sentencepiece import CONTROL, Pieces, added_token, read_sentencepiece, scored_bpe
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError
from fromscratch.core.files import atomic_write, write_json
from fromscratch.tokenizer.special import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    IM_END,
    PADDING,
    SPECIAL_TOKENS,
    START_OF_TEXT,
    UNKNOWN,
)

__all__ = ["Tokenizing", "our_tokenizing", "read_tokenizing", "tokenizer_text", "with_ends", "write_tokenizing"]

NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
ENDS_BY_FLAG = ("LlamaTokenizer", "LlamaTokenizerFast", "YiTokenizer", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast")
"""Classes that put tokens at the ends of a text as their config says, and not as ``tokenizer.json`` does."""


@dataclass(frozen=True)
class Tokenizing:
    """Text to ids and back, and what is said of it to programs."""

    text: str = field(repr=False)
    """``tokenizer.json``, to the byte as it was where nothing in it had to change."""
    named: Mapping[str, str]
    """``bos_token``, ``eos_token``, ``unk_token`` and ``pad_token``, as far as there are such."""
    ends: tuple[int, ...] = ()
    """Ids that end a generation."""
    template: str | None = field(default=None, repr=False)
    """Of a conversation, in Jinja."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """``generation_config.json``, where there is one."""

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """What ``text`` says."""
        parsed: Mapping[str, Any] = json.loads(self.text)
        return parsed

    def id_of(self, name: str) -> int | None:
        """The id of a named token, such as ``bos_token``; None where there is none."""
        text = self.named.get(name)
        added = {each["content"]: each["id"] for each in self.content["added_tokens"]}
        found: int | None = {**self.content["model"]["vocab"], **added}.get(text)
        return found

    @property
    def first_token(self) -> str | None:
        """What is put before every text, if anything is."""
        return _template_ends(self.content)[0]

    @property
    def last_token(self) -> str | None:
        """What is put after every text, if anything is."""
        return _template_ends(self.content)[1]


def our_tokenizing(text: str, *, chat: bool) -> Tokenizing:
    """A tokenizer that was trained here, for a base model or for one that was tuned for chat."""
    end = IM_END if chat else END_OF_TEXT
    numbers = {"bos_token": START_OF_TEXT, "eos_token": end, "unk_token": UNKNOWN, "pad_token": PADDING}
    named = {name: SPECIAL_TOKENS[number] for name, number in numbers.items()}
    # The first ends an answer, the second a document; either must stop an engine, and some know only the first.
    ends = (IM_END, END_OF_TEXT) if chat else (END_OF_TEXT,)
    return Tokenizing(text, named, ends, CHAT_TEMPLATE if chat else None)


def read_tokenizing(checkpoint: Checkpoint) -> Tokenizing | None:
    """The tokenizer beside the weights: ``tokenizer.json``, SentencePiece's file, or GPT-2's two; None without any.

    Raises FromScratchError for files that cannot be read.
    """
    config = _read(checkpoint, "tokenizer_config.json")
    special = _read(checkpoint, "special_tokens_map.json")
    text = None
    if "tokenizer.json" in checkpoint.other_files:
        content = _read(checkpoint, "tokenizer.json")
        text = checkpoint.read_file("tokenizer.json").decode()
    elif "tokenizer.model" in checkpoint.other_files:
        pieces = read_sentencepiece(checkpoint.read_file("tokenizer.model"), f"{checkpoint.place}/tokenizer.model")
        content = scored_bpe(_as_named(pieces, config))
    elif {"vocab.json", "merges.txt"} <= set(checkpoint.other_files):
        content = _gpt2(_read(checkpoint, "vocab.json"), checkpoint.read_file("merges.txt").decode(), special)
    else:
        return None
    if text is not None and _is_ours(content) and not config:
        return our_tokenizing(text, chat=_is_tuned(checkpoint))
    named = {name: told for name in NAMED if (told := _text(config.get(name) or special.get(name)))}
    if config.get("tokenizer_class") in ENDS_BY_FLAG:
        ended = with_ends(content, named, config.get("add_bos_token", True), config.get("add_eos_token", False))
        text, content = (text if _template_ends(ended) == _template_ends(content) else None), ended
    template = config.get("chat_template")
    if "chat_template.jinja" in checkpoint.other_files:
        template = checkpoint.read_file("chat_template.jinja").decode()
    if isinstance(template, list):  # several by name
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    made = Tokenizing(text or tokenizer_text(content), named, (), template, _read(checkpoint, "generation_config.json"))
    return replace(made, ends=_ends(made, checkpoint.config))


def write_tokenizing(folder: Path, tokenizing: Tokenizing, context_tokens: int) -> None:
    """Write ``tokenizer.json`` and beside it what transformers 4 and 5 ask for.

    Both then load the same fast tokenizer; there is no slow one that could disagree.
    """
    with atomic_write(folder / "tokenizer.json") as temporary:
        temporary.write_text(tokenizing.text, encoding="utf-8")
    write_json(folder / "special_tokens_map.json", dict(tokenizing.named))
    keep = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    added = {
        str(each["id"]): {key: each.get(key, False) for key in keep} for each in tokenizing.content["added_tokens"]
    }
    template = {} if tokenizing.template is None else {"chat_template": tokenizing.template}
    write_json(
        folder / "tokenizer_config.json",
        {
            # Version 5 would write the name of a class that version 4 does not have.
            "tokenizer_class": "PreTrainedTokenizerFast",
            **tokenizing.named,
            "added_tokens_decoder": added,
            "add_bos_token": tokenizing.first_token is not None,
            "add_eos_token": tokenizing.last_token is not None,
            "clean_up_tokenization_spaces": False,  # else decoding loses spaces before punctuation
            "model_input_names": ["input_ids", "attention_mask"],  # else token_type_ids come too, which Llama refuses
            "model_max_length": context_tokens,
            **template,
        },
    )
    if tokenizing.template is not None:
        with atomic_write(folder / "chat_template.jinja") as temporary:
            temporary.write_text(tokenizing.template, encoding="utf-8")


def tokenizer_text(content: Mapping[str, Any]) -> str:
    """The text of a ``tokenizer.json`` with this content."""
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def with_ends(content: Mapping[str, Any], named: Mapping[str, str], first: bool, last: bool) -> dict[str, Any]:
    """The same tokenizer with, or without, a token at either end of every text."""
    tokens = [named["bos_token"]] if first and "bos_token" in named else []
    after = [named["eos_token"]] if last and "eos_token" in named else []
    if not tokens and not after:
        return {**content, "post_processor": None}
    ids = content["model"]["vocab"] | {each["content"]: each["id"] for each in content["added_tokens"]}

    def pattern(sequence: str, kind: int) -> list[dict[str, Any]]:
        around = [[{"SpecialToken": {"id": text, "type_id": kind}} for text in end] for end in (tokens, after)]
        return [*around[0], {"Sequence": {"id": sequence, "type_id": kind}}, *around[1]]

    return {
        **content,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": pattern("A", 0),
            "pair": [*pattern("A", 0), *pattern("B", 1)],
            "special_tokens": {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in {*tokens, *after}},
        },
    }


def _template_ends(content: Mapping[str, Any]) -> tuple[str | None, str | None]:
    processor = content.get("post_processor") or {}
    steps = processor.get("processors", [processor])
    single: list[dict[str, Any]] = next(
        (each["single"] for each in steps if each.get("type") == "TemplateProcessing"), []
    )
    first, last = (single[0], single[-1]) if single else ({}, {})
    return first.get("SpecialToken", {}).get("id"), last.get("SpecialToken", {}).get("id")


def _ends(tokenizing: Tokenizing, config: Mapping[str, Any]) -> tuple[int, ...]:
    told = tokenizing.generation.get("eos_token_id", config.get("eos_token_id"))
    ids = told if isinstance(told, list) else [told if isinstance(told, int) else tokenizing.id_of("eos_token")]
    return tuple(each for each in ids if isinstance(each, int))


def _as_named(pieces: Pieces, config: Mapping[str, Any]) -> Pieces:
    """SentencePiece may call a token ``<s>`` that everybody else calls otherwise: the config's names count."""
    texts, types = list(pieces.texts), list(pieces.types)
    for number, told in config.get("added_tokens_decoder", {}).items():
        if int(number) < len(texts) and (text := _text(told)):
            texts[int(number)], types[int(number)] = text, CONTROL
    return replace(pieces, texts=texts, types=types)


def _gpt2(vocabulary: Mapping[str, int], merges: str, special: Mapping[str, Any]) -> dict[str, Any]:
    """GPT-2's ``vocab.json`` and ``merges.txt`` as one file."""
    pairs = [line.split(" ") for line in merges.splitlines() if line and not line.startswith("#version")]
    texts = {text for each in special.values() if (text := _text(each)) is not None} or {"<|endoftext|>"}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(vocabulary[text], text, True) for text in sorted(texts & set(vocabulary))],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "unk_token": None, "vocab": dict(vocabulary), "merges": pairs},
    }


def _is_ours(content: Mapping[str, Any]) -> bool:
    texts = [each["content"] for each in content.get("added_tokens", [])]
    return tuple(texts[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS


def _is_tuned(checkpoint: Checkpoint) -> bool:
    return _read(checkpoint, "manifest.json").get("kind") == "tune"


def _text(told: Any) -> str | None:
    if isinstance(told, Mapping):
        told = told.get("content")
    return told if isinstance(told, str) else None


def _read(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    if name not in checkpoint.other_files:
        return {}
    try:
        content = json.loads(checkpoint.read_file(name))
        if isinstance(content, dict):
            return content
        raise ValueError("no JSON object")
    except ValueError as error:
        raise FromScratchError(f"{checkpoint.place}/{name}: not readable ({error})", "fetch it again") from None
