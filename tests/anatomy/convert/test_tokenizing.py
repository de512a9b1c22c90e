"""A tokenizer in any form cuts text into the same ids once it was converted, with one token at its start at most."""

import itertools
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from fromscratch.anatomy.convert.gguf_tokenizer import PRE, gguf_tokenizer_table, tokenizing_of_gguf
from fromscratch.anatomy.convert.sentencepiece import Pieces, read_sentencepiece, scored_bpe
from fromscratch.anatomy.convert.tokenizing import Tokenizing, read_tokenizing, tokenizer_text, write_tokenizing
from fromscratch.anatomy.tensors import Checkpoint
from fromscratch.core.errors import FromScratchError

PAGES = Path(__file__).parent.parent.parent / "fixtures" / "pages"
ENGLISH = (PAGES / "text" / "en" / "sonnets_gut.txt").read_text(encoding="utf-8")
CHINESE = (PAGES / "chat" / "chinese" / "literature.yml").read_text(encoding="utf-8")
TEXTS = (
    ENGLISH[3000:9000],
    CHINESE[:3000],
    "def f(x):\n\treturn x  **  2  # don't\n\n\n12345 \N{GRINNING FACE}é́ <|end|>",
)


def byte_level(rule: str) -> Tokenizer:
    """A byte-level BPE learnt from a little text, with one of the rules that llama.cpp has."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=rule == "llama-bpe"))
    content = json.loads(tokenizer.to_str())
    tokenizer = Tokenizer.from_str(json.dumps({**content, "pre_tokenizer": PRE[rule]}))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|end|>", "<|start|>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([ENGLISH[:30000], CHINESE], trainer)
    return tokenizer


def folder_with(folder: Path, files: Mapping[str, str | bytes], config: Mapping[str, Any] | None = None) -> Checkpoint:
    """A checkpoint beside which these files lie."""
    contents = {name: each.encode() if isinstance(each, str) else each for name, each in files.items()}
    return Checkpoint(str(folder), "safetensors", {}, config or {}, tuple(contents), contents.__getitem__)


def plain(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each.value for key, each in table.items()}


@pytest.mark.parametrize("rule", PRE)
def test_byte_level_bpe_survives_gguf(rule: str, tmp_path: Path) -> None:
    tokenizer = byte_level(rule)
    names = {"bos_token": "<|start|>", "eos_token": "<|end|>", "unk_token": "<unk>"}
    files = {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(names)}
    made = read_tokenizing(folder_with(tmp_path, files))
    assert made is not None
    table, remarks = gguf_tokenizer_table(made, 640, "here")
    assert plain(table)["tokenizer.ggml.pre"] == rule and not remarks
    assert len(plain(table)["tokenizer.ggml.tokens"]) == 640, "a name for each row of the embedding"
    back = tokenizing_of_gguf(plain(table), "there")
    assert back is not None and back.named == made.named
    again = Tokenizer.from_str(back.text)
    for text in TEXTS:
        ids = again.encode(text).ids
        assert ids == tokenizer.encode(text).ids
        assert again.decode(ids, skip_special_tokens=False) == text


def test_a_rule_that_llama_cpp_has_not_is_told(tmp_path: Path) -> None:
    content = json.loads(byte_level("qwen2").to_str())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{Han}+|\p{L}+|\S|\s"
    made = read_tokenizing(folder_with(tmp_path, {"tokenizer.json": json.dumps(content)}))
    assert made is not None
    table, remarks = gguf_tokenizer_table(made, 600, "here")
    assert plain(table)["tokenizer.ggml.pre"] == "qwen2" and "some texts get other ids" in remarks[0]


# ---- SentencePiece: pieces with scores

WORDS = (
    "▁",
    "t",
    "h",
    "e",
    "a",
    "n",
    "d",
    "th",
    "he",
    "▁the",
    "▁th",
    "an",
    "and",
    "▁and",
    "▁a",
    "nd",
    "ha",
    "▁ha",
    "at",
)


def scored_pieces(space_first: bool) -> Pieces:
    """A vocabulary whose best joins are not the longest ones, with bytes for what it lacks."""
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{each:02X}>" for each in range(256)), *WORDS, "<|user|>"]
    scores = [0.0] * 259 + [-float(number * 7 % 19) for number in range(len(WORDS))] + [0.0]
    types = [2, 3, 3, *[6] * 256, *[1] * len(WORDS), 4]
    return Pieces(texts, scores, types, space_first)


def joined_by_score(pieces: Pieces, text: str) -> list[int]:
    """SentencePiece's BPE as its paper has it (Kudo & Richardson 2018): the best pair is joined until none is left."""
    numbers = {each: number for number, each in enumerate(pieces.texts)}
    parts = list(("▁" if pieces.space_first else "") + text.replace(" ", "▁"))
    while True:
        pairs = [(one + other, at) for at, (one, other) in enumerate(itertools.pairwise(parts))]
        known = [(pieces.scores[numbers[joint]], -at) for joint, at in pairs if joint in WORDS]
        if not known:
            break
        at = -max(known)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [
        number
        for part in parts
        for number in ([numbers[part]] if part in numbers else [numbers[f"<0x{each:02X}>"] for each in part.encode()])
    ]


@pytest.mark.parametrize("space_first", [True, False])
def test_scores_become_the_merges_that_join_alike(space_first: bool) -> None:
    pieces = scored_pieces(space_first)
    tokenizer = Tokenizer.from_str(tokenizer_text(scored_bpe(pieces)))
    drawn = random.Random(4)
    for _ in range(300):
        text = "".join(drawn.choice("theand  atX é中") for _ in range(drawn.randint(1, 24))).strip() or "the"
        ids = tokenizer.encode(text).ids
        assert ids == joined_by_score(pieces, text), text
        assert tokenizer.decode(ids) == text


def test_sentencepiece_survives_gguf_and_its_scores_join_alike() -> None:
    pieces = scored_pieces(True)
    made = Tokenizing(tokenizer_text(scored_bpe(pieces)), {"bos_token": "<s>", "unk_token": "<unk>"})
    table = plain(gguf_tokenizer_table(made, len(pieces.texts), "here")[0])
    assert table["tokenizer.ggml.token_type"] == pieces.types
    assert table["tokenizer.ggml.model"] == "llama" and table["tokenizer.ggml.add_space_prefix"] is True
    by_table = Pieces(
        table["tokenizer.ggml.tokens"], table["tokenizer.ggml.scores"], table["tokenizer.ggml.token_type"]
    )
    back = tokenizing_of_gguf(table, "there")
    assert back is not None
    for text in ("the and that", "hand  the", "X", "than the hat and then"):
        assert joined_by_score(by_table, text) == joined_by_score(pieces, text)
        assert Tokenizer.from_str(back.text).encode(text).ids == joined_by_score(pieces, text)


def protobuf(pieces: Pieces, model_type: int = 2) -> bytes:
    """A SentencePiece file, written by the rules of protocol buffers."""

    def number(value: int) -> bytes:
        low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
        return low + number(value >> 7) if value > 0x7F else low

    def message(field: int, content: bytes) -> bytes:
        return number(field << 3 | 2) + number(len(content)) + content

    made = b""
    for text, score, kind in zip(pieces.texts, pieces.scores, pieces.types, strict=True):
        made += message(1, message(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + number(kind))
    made += message(2, b"\x18" + number(model_type))
    return made + message(3, message(1, b"identity") + b"\x18" + number(pieces.space_first) + b"\x20\x00")


def test_a_sentencepiece_file_is_read_without_its_library() -> None:
    read = read_sentencepiece(protobuf(scored_pieces(False)), "tokenizer.model")
    assert read == scored_pieces(False)


@pytest.mark.parametrize("content", [b"", b"\x0a\xff\xff\xff\xff\x0f", b"no such file", b"\x0a\x03\x0a\x05ab"])
def test_what_is_no_sentencepiece_file_is_refused(content: bytes) -> None:
    with pytest.raises(FromScratchError, match=r"tokenizer\.model"):
        read_sentencepiece(content, "tokenizer.model")
    with pytest.raises(FromScratchError, match="not BPE"):
        read_sentencepiece(protobuf(scored_pieces(True), model_type=1), "tokenizer.model")


def test_names_of_the_config_replace_those_inside_the_file(tmp_path: Path) -> None:
    """Yi's file calls the ids 1 and 2 <s> and </s>; everybody else calls them otherwise."""
    added = {"1": {"content": "<|startoftext|>"}, "2": {"content": "<|endoftext|>"}}
    config = {"tokenizer_class": "YiTokenizer", "add_bos_token": False, "add_eos_token": False}
    config |= {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "added_tokens_decoder": added}
    files = {"tokenizer.model": protobuf(scored_pieces(False)), "tokenizer_config.json": json.dumps(config)}
    made = read_tokenizing(folder_with(tmp_path, files))
    assert made is not None and (made.id_of("bos_token"), made.id_of("eos_token"), made.ends) == (1, 2, (2,))
    assert Tokenizer.from_str(made.text).encode("the<|endoftext|>").ids[-1] == 2
    assert made.first_token is None


# ---- What transformers makes of the folder


@pytest.mark.parametrize("adds", [None, True, False])
def test_a_text_gets_one_token_at_its_start_or_none(adds: bool | None, tmp_path: Path) -> None:
    """Llama's classes put it there by their config, whatever tokenizer.json says; nobody else must do it again."""
    config: dict[str, Any] = {"tokenizer_class": "LlamaTokenizer", "bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    config |= {} if adds is None else {"add_bos_token": adds}
    files = {"tokenizer.model": protobuf(scored_pieces(True)), "tokenizer_config.json": json.dumps(config)}
    made = read_tokenizing(folder_with(tmp_path, files))
    assert made is not None
    write_tokenizing(tmp_path, made, 512)
    for fast in (True, False):
        read = AutoTokenizer.from_pretrained(tmp_path, use_fast=fast)
        expected = ([] if adds is False else [1]) + joined_by_score(scored_pieces(True), "the hat")
        assert read("the hat")["input_ids"] == expected
        assert read.decode(expected, skip_special_tokens=True) == "the hat"
    written = plain(gguf_tokenizer_table(made, 300, "here")[0])
    assert written["tokenizer.ggml.add_bos_token"] is (adds is not False)
    assert read.model_max_length == 512


def test_the_template_goes_along(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ '<|user|>' + message['content'] }}{% endfor %}"
    config = {"bos_token": "<s>", "chat_template": template}
    files = {"tokenizer.model": protobuf(scored_pieces(True)), "tokenizer_config.json": json.dumps(config)}
    made = read_tokenizing(folder_with(tmp_path, files))
    assert made is not None
    write_tokenizing(tmp_path, made, 64)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert read.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False) == "<|user|>the"
    assert plain(gguf_tokenizer_table(made, 300, "here")[0])["tokenizer.chat_template"] == template
    beside = read_tokenizing(folder_with(tmp_path, {**files, "chat_template.jinja": "other"}))
    assert beside is not None and beside.template == "other", "the file counts, as it does for transformers"


def test_gpt2s_two_files_are_one_tokenizer(tmp_path: Path) -> None:
    tokenizer = byte_level("gpt-2")
    model = json.loads(tokenizer.to_str())["model"]
    merges = "#version: 0.2\n" + "\n".join(" ".join(each) for each in model["merges"]) + "\n"
    files = {"vocab.json": json.dumps(model["vocab"]), "merges.txt": merges}
    files["special_tokens_map.json"] = json.dumps({"bos_token": "<|end|>", "eos_token": "<|end|>"})
    made = read_tokenizing(folder_with(tmp_path, files))
    assert made is not None and made.id_of("eos_token") == 0
    assert all(Tokenizer.from_str(made.text).encode(text).ids == tokenizer.encode(text).ids for text in TEXTS)


def test_more_tokens_than_rows_are_refused_and_no_tokenizer_is_none(tmp_path: Path) -> None:
    made = Tokenizing(tokenizer_text(scored_bpe(scored_pieces(True))), {})
    with pytest.raises(FromScratchError, match="has the id 278, and its embedding 200 rows"):
        gguf_tokenizer_table(made, 200, "here")
    assert read_tokenizing(folder_with(tmp_path, {})) is None
    with pytest.raises(FromScratchError, match=r"tokenizer\.json: not readable"):
        read_tokenizing(folder_with(tmp_path, {"tokenizer.json": "{"}))


def test_a_gguf_file_of_another_kind_is_refused() -> None:
    for changes, message in (({"model": "t5"}, "kind 't5'"), ({"pre": "tekken"}, "'tekken', is not known")):
        table = {"model": "gpt2", "tokens": ["a"], "merges": [], **changes}
        with pytest.raises(FromScratchError, match=message):
            tokenizing_of_gguf({f"tokenizer.ggml.{key}": each for key, each in table.items()}, "there")
