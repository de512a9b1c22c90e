"""How well a tokenizer packs: bytes per token and tokens per Han character on held-out documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from fromscratch.tokenizer.load import Tokenizer
from fromscratch.tokenizer.sample import read_split
from fromscratch.tokenizer.special import SPECIAL_TOKENS
from fromscratch.tokenizer.split import bounded_parts

__all__ = ["measure"]

GROUP_BYTES = 4_000_000  # enough of a group for three digits; held-out sets of large corpora are far larger
LONGEST_PIECES = 12

# First code points of the stretches of the script Han (Unicode 16, Scripts.txt) and the first ones past their ends.
# fmt: off
_HAN_EDGES = np.array([
    0x2E80, 0x2E9A, 0x2E9B, 0x2EF4, 0x2F00, 0x2FD6, 0x3005, 0x3006, 0x3007, 0x3008, 0x3021, 0x302A, 0x3038, 0x303C,
    0x3400, 0x4DC0, 0x4E00, 0xA000, 0xF900, 0xFA6E, 0xFA70, 0xFADA, 0x16FE2, 0x16FE4, 0x16FF0, 0x16FF2,
    0x20000, 0x2A6E0, 0x2A700, 0x2EE5E, 0x2F800, 0x2FA1E, 0x30000, 0x323B0,
])
# fmt: on


@dataclass
class _Tally:
    """What one language or group took. ``used`` is how often each id occurred."""

    used: npt.NDArray[np.int64]
    documents: int = 0
    bytes: int = 0
    han_characters: int = 0
    han_tokens: int = 0  # tokens that hold a Han character or a part of one

    def add(self, text: str, encoding: tokenizers.Encoding) -> None:
        """Count a part of a document."""
        codepoints = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        han_before = np.concatenate([[0], np.cumsum(np.searchsorted(_HAN_EDGES, codepoints, side="right") % 2)])
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)  # first character and past the last
        np.add.at(self.used, np.array(encoding.ids, dtype=np.int64), 1)
        self.bytes += len(text.encode())
        self.han_characters += int(han_before[-1])
        self.han_tokens += int((han_before[spans[:, 1]] > han_before[spans[:, 0]]).sum())

    def as_json(self) -> dict[str, Any]:
        tokens, characters = int(self.used.sum()), self.han_characters
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "tokens": tokens,
            "bytes_per_token": round(self.bytes / max(1, tokens), 4),
            "han_characters": characters,
            "tokens_per_han_character": round(self.han_tokens / characters, 4) if characters else None,
            "pieces_used": int((self.used > 0).sum()),
        }


def measure(tokenizer: Tokenizer, corpus_folder: Path) -> dict[str, Any]:
    """Figures of the held-out documents by language and by group (``language/domain``), plain JSON.

    Of each group the first 4 MB are read. ``longest_pieces`` are the longest pieces with a letter in them that occur
    in each language.
    """
    languages: dict[str, _Tally] = {}
    groups: dict[str, _Tally] = {}
    for language, domain, text in _held_out(corpus_folder):
        group = groups.setdefault(f"{language}/{domain}", _Tally(np.zeros(tokenizer.vocabulary, dtype=np.int64)))
        if group.bytes >= GROUP_BYTES:
            continue
        tallies = [group, languages.setdefault(language, _Tally(np.zeros_like(group.used)))]
        for part in bounded_parts(text):
            encoding = tokenizer.backend.encode(part, add_special_tokens=False)
            for tally in tallies:
                tally.add(part, encoding)
        for tally in tallies:
            tally.documents += 1
    return {
        "pieces": tokenizer.vocabulary,
        "by_language": {name: tally.as_json() for name, tally in languages.items()},
        "by_group": {name: tally.as_json() for name, tally in groups.items()},
        "longest_pieces": {name: _longest_pieces(tokenizer, tally.used) for name, tally in languages.items()},
    }


def _held_out(corpus_folder: Path) -> Iterator[tuple[str, str, str]]:
    for table in read_split(corpus_folder, "heldout", ["language", "domain", "text"]):
        yield from zip(*(table[name].to_pylist() for name in ("language", "domain", "text")), strict=True)


def _longest_pieces(tokenizer: Tokenizer, used: npt.NDArray[np.int64]) -> list[str]:
    ordinary = np.flatnonzero(used)[np.flatnonzero(used) >= len(SPECIAL_TOKENS)]
    longest_first = sorted(ordinary.tolist(), key=lambda each: (-len(tokenizer.pieces[each]), each))
    texts = (tokenizer.pieces[each].decode("utf-8", errors="ignore") for each in longest_first)
    return [text for text in texts if any(each.isalpha() for each in text)][:LONGEST_PIECES]
