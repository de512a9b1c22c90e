"""Settings of the tokenizer."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = ["TokenizerSettings"]


class TokenizerSettings(Settings):
    """A byte-level BPE with Yi's conventions, trained on a sample of the train documents."""

    pieces: int = Field(default=8000, ge=272, le=1_000_000)
    """Size of the vocabulary, with the 16 special tokens and the 256 bytes."""

    sample_bytes: int = Field(default=24_000_000, gt=0)
    """UTF-8 bytes of train documents to learn the pieces from. Training takes about a second per megabyte."""

    language_weights: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Share of the sample by language, such as `{ zh = 1.5 }`; a language that is not named weighs 1, and 0 leaves one
    out. A language that has less than its share gives all, and the others fill up."""

    minimum_frequency: int = Field(default=2, gt=0)
    """How often a pair of pieces must occur in the sample to become a piece."""

    longest_piece_bytes: int = Field(default=24, gt=0)
    """Longest piece in UTF-8 bytes: 24 is the indentation of the fifth level of code, or 8 Han characters."""

    digits: Literal["single", "up_to_three"] = "single"
    """How numbers are cut: Yi's and Llama 2's single digits, or groups of up to three from the left as in Llama 3."""
