"""The tokenizer as GGUF's keys keep it, from and to the content of a `tokenizer.json`.

llama.cpp cuts text into words by rules that are built into it, and a file names one of them (``tokenizer.ggml.pre``).
"""

from collections.abc import Mapping
from typing import Any

from fromscratch.anatomy.convert.gguf_file import Typed
from fromscratch.anatomy.convert.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Pieces,
    added_token,
    scored_bpe,
)
from fromscratch.anatomy.convert.tokenizing import Tokenizing, tokenizer_text, with_ends
from fromscratch.core.errors import FromScratchError

__all__ = ["gguf_tokenizer_table", "tokenizing_of_gguf"]

NUMBERS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}


WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PRE: Mapping[str, dict[str, Any]] = {
    "gpt-2": _byte_level(True),
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level(True)],
    },
    "llama-bpe": _split(WORD + r"\p{N}{1,3}" + REST),
    "qwen2": _split(WORD + r"\p{N}" + REST),
}
"""llama.cpp's names of rules, as `tokenizers` writes the same rule."""

SAME_RULE = {"starcoder": "smollm", "refact": "smollm", "command-r": "smollm", "stablelm2": "qwen2"}
SAME_RULE |= {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "default": "gpt-2", "gpt2": "gpt-2"}
NEAREST = "qwen2"
"""For rules that llama.cpp has not: single digits, and letters with one character before them, as in ours and Yi's."""


def tokenizing_of_gguf(table: Mapping[str, Any], place: str) -> Tokenizing | None:
    """The tokenizer in a GGUF file's table, or None. Raises FromScratchError for one of an unknown kind."""
    kind, texts = table.get("tokenizer.ggml.model"), table.get("tokenizer.ggml.tokens")
    if kind is None or texts is None:
        return None
    types = table.get("tokenizer.ggml.token_type") or [NORMAL] * len(texts)
    if kind == "gpt2":
        content = _merging(texts, types, table, place)
    elif kind == "llama":
        scores = table.get("tokenizer.ggml.scores") or [0.0] * len(texts)
        content = scored_bpe(Pieces(texts, scores, types, bool(table.get("tokenizer.ggml.add_space_prefix", True))))
    else:
        raise FromScratchError(f"{place}: a tokenizer of the kind {kind!r} is not converted", "known: gpt2, llama")
    numbers = {name: table.get(f"tokenizer.ggml.{key}_token_id") for name, key in NUMBERS.items()}
    named = {name: texts[number] for name, number in numbers.items() if number is not None and number < len(texts)}
    first = table.get("tokenizer.ggml.add_bos_token", kind == "llama")
    last = table.get("tokenizer.ggml.add_eos_token", False)
    end = numbers["eos_token"]
    return Tokenizing(
        tokenizer_text(with_ends(content, named, bool(first), bool(last))),
        named,
        () if end is None else (end,),
        table.get("tokenizer.chat_template"),
    )


def _merging(texts: list[str], types: list[int], table: Mapping[str, Any], place: str) -> dict[str, Any]:
    pre = str(table.get("tokenizer.ggml.pre", "default"))
    rule = SAME_RULE.get(pre, pre)
    if rule not in PRE:
        raise FromScratchError(
            f"{place}: how it cuts text into words, {pre!r}, is not known here",
            f"known: {', '.join(sorted({*PRE, *SAME_RULE}))}; or put the model's tokenizer.json into the result",
        )
    added = [
        added_token(number, text, kind == CONTROL)
        for number, (text, kind) in enumerate(zip(texts, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": PRE[rule],
        "post_processor": None,
        "decoder": _byte_level(True) | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": rule == "llama-bpe",
            "vocab": {text: number for number, text in enumerate(texts)},
            "merges": [each.split(" ") for each in table["tokenizer.ggml.merges"]],
        },
    }


def gguf_tokenizer_table(tokenizing: Tokenizing, vocabulary: int, place: str) -> tuple[dict[str, Typed], list[str]]:
    """The keys of a GGUF file, for ``vocabulary`` rows of the embedding, and what there is to remark on them.

    Raises FromScratchError for a tokenizer that is no BPE, and for one with more tokens than the embedding has rows.
    """
    content = tokenizing.content
    model = content["model"]
    if model.get("type", "BPE") != "BPE":
        raise FromScratchError(f"{place}: its tokenizer is {model['type']}, not BPE", "GGUF is written for BPE only")
    texts, types = _tokens(tokenizing, vocabulary, place)
    remarks: list[str] = []
    table = {"tokenizer.ggml.tokens": Typed("string", texts), "tokenizer.ggml.token_type": Typed("i32", types)}
    pairs = [each.split(" ", 1) if isinstance(each, str) else each for each in model["merges"]]
    if model.get("byte_fallback"):
        prefix = "Prepend" in str(content.get("normalizer")) or "Metaspace" in str(content.get("pre_tokenizer"))
        table |= {
            "tokenizer.ggml.model": Typed("string", "llama"),
            "tokenizer.ggml.pre": Typed("string", "default"),
            "tokenizer.ggml.scores": Typed("f32", _scores(texts, pairs)),
            "tokenizer.ggml.add_space_prefix": Typed("bool", prefix),
        }
    else:
        pre = next((name for name, rule in PRE.items() if _same(rule, content.get("pre_tokenizer"))), None)
        if pre is None:
            pre = NEAREST
            remarks.append(
                f"llama.cpp has no rule that cuts text as this tokenizer does; {NEAREST!r}, the nearest, is named: "
                "some texts get other ids there"
            )
        table |= {
            "tokenizer.ggml.model": Typed("string", "gpt2"),
            "tokenizer.ggml.pre": Typed("string", pre),
            "tokenizer.ggml.merges": Typed("string", [" ".join(each) for each in pairs]),
        }
    return table | _named_tokens(tokenizing), remarks


def _named_tokens(tokenizing: Tokenizing) -> dict[str, Typed]:
    """Which tokens have names, which stand at the ends of a text, and how a conversation is written."""
    table: dict[str, Typed] = {}
    for name, key in NUMBERS.items():
        if (number := tokenizing.id_of(name)) is not None:
            table[f"tokenizer.ggml.{key}_token_id"] = Typed("u32", number)
    table["tokenizer.ggml.add_bos_token"] = Typed("bool", tokenizing.first_token is not None)
    table["tokenizer.ggml.add_eos_token"] = Typed("bool", tokenizing.last_token is not None)
    if tokenizing.template is not None:
        table["tokenizer.chat_template"] = Typed("string", tokenizing.template)
    return table


def _tokens(tokenizing: Tokenizing, vocabulary: int, place: str) -> tuple[list[str], list[int]]:
    known = {number: text for text, number in tokenizing.content["model"]["vocab"].items()}
    added = {each["id"]: each for each in tokenizing.content["added_tokens"]}
    known |= {number: each["content"] for number, each in added.items()}
    if max(known) >= vocabulary:
        raise FromScratchError(
            f"{place}: its tokenizer has the id {max(known):,}, and its embedding {vocabulary:,} rows",
            "put the tokenizer there that the model was trained with",
        )
    unknown = tokenizing.content["model"].get("unk_token")
    texts = [known.get(number, f"[PAD{number}]") for number in range(vocabulary)]

    def kind(number: int, text: str) -> int:
        if number not in known:
            return UNUSED
        if number in added:
            special = CONTROL if added[number]["special"] else USER_DEFINED
            return UNKNOWN if text == unknown else special
        is_byte = len(text) == 6 and text.startswith("<0x") and tokenizing.content["model"].get("byte_fallback")
        return BYTE if is_byte else NORMAL

    return texts, [kind(number, text) for number, text in enumerate(texts)]


def _scores(texts: list[str], pairs: list[list[str]]) -> list[float]:
    """A higher score for what is joined earlier; pieces that nothing is joined to come last."""
    rank: dict[str, int] = {}
    for number, pair in enumerate(pairs):
        rank.setdefault("".join(pair), number)
    return [-float(rank.get(text, len(pairs))) for text in texts]


def _same(rule: Mapping[str, Any], other: Any) -> bool:
    """Whether two rules cut alike; where their offsets lie does not matter."""
    return isinstance(other, Mapping) and _plain(rule) == _plain(other)


def _plain(rule: Any) -> Any:
    if isinstance(rule, Mapping):
        return {key: _plain(value) for key, value in rule.items() if key != "trim_offsets"}
    return [_plain(each) for each in rule] if isinstance(rule, list) else rule
