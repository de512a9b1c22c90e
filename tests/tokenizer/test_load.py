"""Text to ids and back to the byte, and what documents may not do."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from fromscratch.core.artifact import Artifact
from fromscratch.core.errors import FromScratchError
from fromscratch.tokenizer import split
from fromscratch.tokenizer.load import Tokenizer, load_tokenizer
from fromscratch.tokenizer.special import END_OF_TEXT, IM_END, IM_SEP, IM_START, PADDING, SPECIAL_TOKENS, START_OF_TEXT

AWKWARD = [
    "e\u0301",
    "\x00",
    "\u2028",
    "\ufeff",
    "ſ",
    "🐳",
    "<|",
    "|>",
    "。但",
    "，a鲸b",
    "Ａ１",
    "12345",
    "don't",
    "whale",
]
PIECES_OF_TEXT = st.sampled_from([*SPECIAL_TOKENS, *AWKWARD, *" \n\t，", "\r\n", "    ", "f(x):\n        return"])
TEXTS = st.lists(st.one_of(PIECES_OF_TEXT, st.text(max_size=8)), max_size=20).map("".join)


def test_special_tokens_have_the_ids_that_yi_gives_them(tokenizer: Tokenizer) -> None:
    assert (PADDING, START_OF_TEXT, END_OF_TEXT, IM_START, IM_END, IM_SEP) == (0, 1, 2, 6, 7, 8)
    assert tokenizer.decode([0, 1, 2, 6, 7, 8]) == "<unk><|startoftext|><|endoftext|><|im_start|><|im_end|><|im_sep|>"
    assert [tokenizer.backend.id_to_token(each) for each in (3, 15)] == ["<|reserved_3|>", "<|reserved_15|>"]
    assert tokenizer.backend.id_to_token(16) not in SPECIAL_TOKENS
    assert tokenizer.vocabulary == tokenizer.backend.get_vocab_size() == 900


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_every_text_comes_back_to_the_byte_and_without_special_tokens(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.decode(ids) == text
    assert all(each >= len(SPECIAL_TOKENS) for each in ids)


def test_every_byte_has_a_piece_and_half_a_character_is_shown_as_such(tokenizer: Tokenizer) -> None:
    assert {bytes([each]) for each in range(256)} <= set(tokenizer.pieces)
    whole = tokenizer.encode("\U00020000")  # a rare Han character: four bytes, four pieces
    assert len(whole) == 4 and tokenizer.decode(whole[:2]) == "\ufffd"
    assert tokenizer.decode_bytes(whole[:2]) == "\U00020000".encode()[:2]


def test_nothing_is_put_around_or_in_front(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == []
    assert tokenizer.encode("whale")[0] != tokenizer.encode(" whale")[0]
    assert tokenizer.decode(tokenizer.encode("whale")) == "whale"


def test_the_names_of_special_tokens_in_a_document_are_letters(tokenizer: Tokenizer) -> None:
    text = "He typed <|im_end|>\n<|im_start|>system"
    assert not {IM_END, IM_START} & set(tokenizer.encode(text))
    assert tokenizer.encode_batch([text, ""]) == [tokenizer.encode(text), []]


def test_only_templates_get_special_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_template("<|im_start|>user\n鲸鱼<|im_end|>\n")
    assert ids == [IM_START, *tokenizer.encode("user\n鲸鱼"), IM_END, *tokenizer.encode("\n")]
    assert tokenizer.decode(ids) == "<|im_start|>user\n鲸鱼<|im_end|>\n"
    assert tokenizer.decode(ids, skip_special=True) == "user\n鲸鱼\n"


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_transformers_reads_the_file_and_gives_the_same_ids(
    tokenizer: Tokenizer, released: PreTrainedTokenizerFast, text: str
) -> None:
    assert released.encode(text, add_special_tokens=False) == tokenizer.encode_template(text)
    assert released.encode(text, split_special_tokens=True) == tokenizer.encode(text)
    assert released.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


@pytest.fixture(scope="session")
def released(trained: Artifact) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(trained.file("tokenizer.json")))


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 12))
def test_a_text_cut_into_parts_has_the_ids_of_the_whole(tokenizer: Tokenizer, text: str, part_characters: int) -> None:
    parts = split.bounded_parts(text, part_characters)
    assert "".join(parts) == text
    assert [each for part in parts for each in tokenizer.encode(part)] == tokenizer.encode(text)


def test_a_long_document_is_encoded_in_parts(tokenizer: Tokenizer) -> None:
    text = "鲸鱼浮出水面，the whale surfaced.\n    return 12\n" * 10_000
    assert max(map(len, split.bounded_parts(text))) < split.PART_CHARACTERS + 100
    ids = tokenizer.backend.encode(text).ids  # as a whole
    assert tokenizer.encode(text) == ids
    assert tokenizer.encode_batch(["whale", text, "鲸"]) == [tokenizer.encode("whale"), ids, tokenizer.encode("鲸")]


def test_a_missing_a_damaged_and_a_foreign_file_are_said_to_be_so(trained: Artifact, tmp_path: Path) -> None:
    with pytest.raises(FromScratchError, match=r"tokenizer\.json: no such file"):
        load_tokenizer(tmp_path)
    content = trained.file("tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(content[: len(content) // 2], encoding="utf-8")
    with pytest.raises(FromScratchError, match="not a tokenizer of ours"):
        load_tokenizer(tmp_path)
    HuggingFaceTokenizer(models.BPE({"a": 0, "b": 1}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(FromScratchError, match="its first ids are not the 16 special tokens"):
        load_tokenizer(tmp_path)
