"""A trained tokenizer: text to ids and back, to the byte."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import tokenizers

from fromscratch.core.errors import FromScratchError
from fromscratch.tokenizer.special import SPECIAL_TOKENS
from fromscratch.tokenizer.split import PART_CHARACTERS, bounded_parts

__all__ = ["FILE_NAME", "Tokenizer", "load_tokenizer"]

FILE_NAME = "tokenizer.json"
_SPECIAL = re.compile("(" + "|".join(re.escape(each) for each in SPECIAL_TOKENS) + ")")
_SPECIAL_IDS = {text: each for each, text in enumerate(SPECIAL_TOKENS)}


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back. ``pieces[i]`` are the UTF-8 bytes of id i, which may be a part of a character."""

    backend: tokenizers.Tokenizer = field(repr=False)
    pieces: tuple[bytes, ...] = field(repr=False)

    @property
    def vocabulary(self) -> int:
        """How many ids there are, special tokens included."""
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, none of them special: ``<|im_end|>`` in a document is ten letters like any others."""
        ids: list[int] = []
        for part in bounded_parts(text):
            ids += self.backend.encode_batch_fast([part], add_special_tokens=False)[0].ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of each text, mostly without the interpreter's lock."""
        short = [text for text in texts if len(text) <= PART_CHARACTERS]
        encoded = iter(self.backend.encode_batch_fast(short, add_special_tokens=False))
        return [next(encoded).ids if len(text) <= PART_CHARACTERS else self.encode(text) for text in texts]

    def encode_template(self, text: str) -> list[int]:
        """Ids of a text of ours, in which the names of special tokens stand for these tokens.

        Never for text from outside: what a user types could then end a turn or open one.
        """
        ids: list[int] = []
        for part in _SPECIAL.split(text):
            ids += [_SPECIAL_IDS[part]] if part in _SPECIAL_IDS else self.encode(part)
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of the ids; bytes that are no UTF-8, such as half a character at a cut, become U+FFFD."""
        return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """The UTF-8 bytes of the ids: what a stream of ids is decoded from, since a character may span several."""
        pieces = self._pieces_without_special if skip_special else self.pieces
        return b"".join([pieces[each] for each in ids])

    @cached_property
    def _pieces_without_special(self) -> tuple[bytes, ...]:
        return (b"",) * len(SPECIAL_TOKENS) + self.pieces[len(SPECIAL_TOKENS) :]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load ``tokenizer.json`` of a folder, as the tokenizer stage or a release wrote it.

    Raises FromScratchError when it is missing, damaged, or not one of ours.
    """
    path = folder / FILE_NAME
    try:
        return _from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FromScratchError(f"{path}: no such file", "train one with `fromscratch tokenizer RECIPE`") from None
    except Exception as error:  # the parser raises bare Exception
        raise FromScratchError(
            f"{path}: not a tokenizer of ours ({str(error).splitlines()[0]})",
            "remove its folder and run the same command again",
        ) from None


def _from_json(text: str) -> Tokenizer:
    """A tokenizer from the content of its ``tokenizer.json``. Raises ValueError when it is not one of ours."""
    backend = tokenizers.Tokenizer.from_str(text)
    backend.encode_special_tokens = True  # not kept in the file: documents are data, whatever they say
    names = [backend.id_to_token(each) or "" for each in range(backend.get_vocab_size())]
    if tuple(names[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise ValueError(f"its first ids are not the {len(SPECIAL_TOKENS)} special tokens")
    byte_of = _byte_of_character()
    ordinary = [bytes(byte_of[each] for each in name) for name in names[len(SPECIAL_TOKENS) :]]
    if not {bytes([each]) for each in range(0x100)} <= set(ordinary):
        raise ValueError("it lacks pieces for single bytes")
    return Tokenizer(backend, (*(each.encode() for each in SPECIAL_TOKENS), *ordinary))


def _byte_of_character() -> dict[str, int]:
    """The characters by which byte-level vocabularies write bytes: GPT-2's table (Radford et al. 2019).

    Bytes that print in Latin-1 stand for themselves, the other 68 for the characters from U+0100 on.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [each for each in range(0x100) if each not in printing]
    return {chr(each): each for each in printing} | {chr(0x100 + n): each for n, each in enumerate(others)}
