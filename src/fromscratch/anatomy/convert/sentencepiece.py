"""SentencePiece models, and vocabularies with scores as GGUF keeps them, as the content of a `tokenizer.json`.

A SentencePiece file is a protocol buffer (sentencepiece_model.proto in github.com/google/sentencepiece); the few fields
that matter are read here. Its BPE joins the neighbours whose joint piece has the highest score; `tokenizers` joins by a
list of pairs, which follows from the scores.
"""

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fromscratch.core.errors import FromScratchError

__all__ = [
    "BYTE",
    "CONTROL",
    "NORMAL",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Pieces",
    "added_token",
    "read_sentencepiece",
    "scored_bpe",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces, numbered as in SentencePiece and in GGUF."""

SPACE = "▁"
BPE = 2  # of trainer_spec.model_type
Field = tuple[int, int | bytes]


@dataclass(frozen=True)
class Pieces:
    """A vocabulary with scores; the position is the id."""

    texts: Sequence[str]
    scores: Sequence[float]
    types: Sequence[int]
    space_first: bool = True
    """Whether a space is put before a text (SentencePiece's dummy prefix)."""
    one_space: bool = False
    """Whether runs of spaces become one."""
    character_map: bytes = b""
    """SentencePiece's compiled normalisation; empty for the identity."""


def read_sentencepiece(content: bytes, place: str) -> Pieces:
    """The pieces of a ``tokenizer.model``. Raises FromScratchError for damage and for other models than BPE."""
    texts, scores, types = [], [], []
    kind, prefix, one_space, character_map = 1, True, True, b""
    try:
        for number, value in _fields(content):
            if number == 1 and isinstance(value, bytes):
                piece = dict(_fields(value))
                texts.append(_bytes(piece.get(1, b"")).decode())
                scores.append(struct.unpack("<f", _bytes(piece.get(2, b"\0\0\0\0")))[0])
                types.append(int(piece.get(3, NORMAL)))
            elif number == 2 and isinstance(value, bytes):
                kind = int(dict(_fields(value)).get(3, 1))
            elif number == 3 and isinstance(value, bytes):
                rules = dict(_fields(value))
                character_map = _bytes(rules.get(2, b""))
                prefix, one_space = bool(rules.get(3, 1)), bool(rules.get(4, 1))
    except (ValueError, IndexError, struct.error) as error:
        raise FromScratchError(f"{place}: not a SentencePiece model ({error})", "fetch or write it again") from None
    if kind != BPE or not texts:
        raise FromScratchError(
            f"{place}: a SentencePiece model that is not BPE", "put the model's tokenizer.json beside it"
        )
    return Pieces(texts, scores, types, prefix, one_space, character_map)


def scored_bpe(pieces: Pieces) -> dict[str, Any]:
    """The content of a ``tokenizer.json`` that cuts text as these pieces do; bytes stand for what has no piece."""
    vocabulary = {text: number for number, text in enumerate(pieces.texts)}
    unknown = next((text for text, kind in zip(pieces.texts, pieces.types, strict=True) if kind == UNKNOWN), None)
    added = [
        (number, text, kind in (CONTROL, UNKNOWN))
        for number, (text, kind) in enumerate(zip(pieces.texts, pieces.types, strict=True))
        if kind in (CONTROL, UNKNOWN, USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(*each) for each in added],
        "normalizer": {"type": "Sequence", "normalizers": _normalisers(pieces)},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": _decoders(pieces)},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": BYTE in pieces.types,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": _merges(pieces, vocabulary),
        },
    }


def _normalisers(pieces: Pieces) -> list[dict[str, Any]]:
    normalise: list[dict[str, Any]] = []
    if pieces.character_map:
        encoded = base64.b64encode(pieces.character_map).decode()
        normalise.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if pieces.one_space:
        normalise.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if pieces.space_first:
        normalise.append({"type": "Prepend", "prepend": SPACE})
    normalise.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    return normalise


def _decoders(pieces: Pieces) -> list[dict[str, Any]]:
    decode: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    decode += [{"type": "ByteFallback"}, {"type": "Fuse"}]
    if pieces.space_first:
        decode.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return decode


def added_token(number: int, text: str, special: bool) -> dict[str, Any]:
    """A token that is found in a text before anything else, as a ``tokenizer.json`` lists it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, **flags, "special": special}


def _merges(pieces: Pieces, vocabulary: Mapping[str, int]) -> list[list[str]]:
    """Pairs in the order in which they are joined: by the score of what they make, then by their own ids."""
    joinable = {
        text for text, kind in zip(pieces.texts, pieces.types, strict=True) if kind in (NORMAL, USER_DEFINED, UNUSED)
    }
    ranked: list[tuple[float, int, int, int, list[str]]] = []
    for text in joinable:
        number = vocabulary[text]
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in joinable and right in joinable:
                ranked.append((-pieces.scores[number], number, vocabulary[left], vocabulary[right], [left, right]))
    return [pair for *_, pair in sorted(ranked)]


def _fields(content: bytes) -> Iterator[Field]:
    """The fields of a protocol-buffer message by number: integers, or the bytes of everything else."""
    at = 0
    while at < len(content):
        key, at = _integer(content, at)
        if key & 7 == 0:
            value, at = _integer(content, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 2:
            size, at = _integer(content, at)
        if size is None or at + size > len(content):
            raise ValueError(f"a field of kind {key & 7} at byte {at:,}")
        yield key >> 3, content[at : at + size]
        at += size


def _integer(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80 or shift > 63:
            return value, at


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ValueError("a number where bytes are meant to be")
